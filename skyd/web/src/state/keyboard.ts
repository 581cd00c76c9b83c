// Keys that act anywhere on the page, except in fields and dialogs.

import { signal } from "@preact/signals";
import { nodeQuery } from "../net/gremlin.ts";
import { copyText } from "../parts/copy.tsx";
import { type DialogName, openDialog } from "./dialogs.ts";
import { notify } from "./notices.ts";
import { model } from "./session.ts";
import { panel, pastTime, select, selection, tab } from "./view.ts";
import { canCapture } from "../graph/capture.ts";

/** Key of the browser's storage for the choice below. */
const STORED = "skyd.letterKeys";

/** Whether single letters are shortcuts. */
export const hasLetterKeys = signal(readStored() !== "off");

/** All keys with what they do, for the help. */
export const KEYS: [string, string][] = [
  ["/", "Go to the search field"],
  ["F6", "Go to the next area"],
  ["Arrow keys", "In the tree: move, open, close; in the graph: go to a neighbor"],
  ["Enter", "Select in the tree; open or close in the graph"],
  ["+  −  0", "In the graph: zoom in, zoom out, show everything"],
  ["C", "Start a capture on the selected node"],
  ["I", "Inject packets from the selected node"],
  ["P", "Find a path from the selected node"],
  ["F", "Show the flows of the selected node"],
  ["G", "Copy the Gremlin query of the selected node"],
  ["L", "Return to the present"],
  ["Escape", "Close the details"],
  ["?", "Show these keys"],
];

/** Areas that F6 visits, in order. */
const AREAS = [
  "#query",
  "nav.panels button",
  "[role=treeitem][tabindex='0']",
  ".graph-canvas",
  ".details [role=tab][tabindex='0']",
  ".time input[type=range]",
  "section.panel button, section.panel input",
];

/** Turns single-letter shortcuts on or off, and remembers it in this browser. */
export function setLetterKeys(on: boolean): void {
  hasLetterKeys.value = on;
  try {
    localStorage.setItem(STORED, on ? "on" : "off");
  } catch {
    // Without storage, the choice lasts until the page is closed.
  }
}

function readStored(): string | null {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null;
  }
}

/** Listens to keys of the whole page. */
export function followKeys(): void {
  addEventListener("keydown", (event) => {
    if (event.key === "F6") {
      event.preventDefault();
      focusNextArea(event.shiftKey ? -1 : 1);
      return;
    }
    const target = event.target as HTMLElement | null;
    const isTyping = target?.closest("input:not([type=checkbox], [type=range]), textarea, select, dialog, [role=tree]");
    const isText = target?.closest("input:not([type=checkbox], [type=range]), textarea, select, dialog");
    if (
      event.ctrlKey ||
      event.altKey ||
      event.metaKey ||
      isText ||
      (isTyping && event.key !== "/" && event.key !== "?")
    ) {
      return;
    }
    if (act(event.key)) {
      event.preventDefault();
    }
  });
}

/** Performs the action of a key. Returns whether it has one. */
function act(key: string): boolean {
  const node = model.find(selection.value);
  const open = (name: DialogName) => {
    openDialog.value = name;
    return true;
  };
  if (key === "Escape" && selection.value !== null) {
    select(null);
    return true;
  }
  if (!hasLetterKeys.value) {
    return false;
  }
  const isPresent = pastTime.value === null;
  switch (key.toLowerCase()) {
    case "/":
      document.getElementById("query")?.focus();
      return true;
    case "?":
      return open("keys");
    case "l":
      pastTime.value = null;
      return true;
    case "c":
      return node !== undefined && isPresent && canCapture(node) && open("capture");
    case "i":
      return node !== undefined && isPresent && open("inject");
    case "p":
      return node !== undefined && open("path");
    case "f":
      if (node?.isCaptured) {
        tab.value = "Flows";
      } else {
        panel.value = "Flows";
      }
      return true;
    case "g":
      if (node) {
        void copyText(nodeQuery(node)).then(() => notify(`Copied ${nodeQuery(node)}`));
      }
      return node !== undefined;
    default:
      return false;
  }
}

function focusNextArea(step: number): void {
  const found = AREAS.map((selector) => document.querySelector<HTMLElement>(selector)).filter(
    (element) => element !== null,
  );
  const areas = AREAS.filter((selector) => document.querySelector(selector));
  const owner = (selector: string) =>
    document.querySelector(selector)?.closest("header, nav, .tree-panel, .graph, .details, .time, section.panel");
  const current = areas.findIndex((selector) => owner(selector)?.contains(document.activeElement));
  found[(current + step + found.length) % found.length]?.focus();
}
