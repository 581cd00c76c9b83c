// Keys that act anywhere on the page, except in fields and dialogs.

import { signal } from "@preact/signals";
import { readStored, store } from "../parts/storage.ts";
import { openDialog } from "./dialogs.ts";
import { actionsOf } from "./node_actions.ts";
import { notify } from "./notices.ts";
import { reduceSelection, selectedNodes } from "./selected.ts";
import { panel, pastTime, selection } from "./view.ts";

/** Whether single letters are shortcuts. */
export const hasLetterKeys = signal(readStored("letterKeys") !== false);

/** All keys with what they do, for the help. */
export const KEYS: [string, string][] = [
  ["/", "Go to the search field"],
  ["F6", "Go to the next area"],
  ["Arrow keys", "In the tree: move, open, close; in the graph: go to a neighbor"],
  ["Enter", "Select in the tree; open or close in the graph"],
  ["Space, Ctrl-Enter, Shift-click", "In the tree and the graph: add to the selected nodes, or take away"],
  ["Ctrl-arrow keys", "In the graph: go to a neighbor without selecting it"],
  ["Shift-arrow keys, Shift-drag", "In the graph: move the selected box"],
  ["+  −  0", "In the graph: zoom in, zoom out, show everything"],
  ["C", "Start a capture on the selected nodes"],
  ["I", "Inject packets from the selected node, or from the first to the second of two"],
  ["P", "Find a path from the selected node, or between two"],
  ["F", "Show the flows of the selected nodes"],
  ["G", "Copy the Gremlin query of the selected nodes"],
  ["Shift-F10, M", "The menu of the selected nodes; M only in the graph"],
  ["L", "Return to the present"],
  ["Escape", "Select only the first of several nodes; close the details"],
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
  store("letterKeys", on);
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
    const isInTree = target?.closest("[role=tree]") && event.key.length > 1;
    const isText = target?.closest("input:not([type=checkbox], [type=range]), textarea, select, dialog");
    if (
      event.ctrlKey ||
      event.altKey ||
      event.metaKey ||
      isText ||
      (isTyping && !isInTree && event.key !== "/" && event.key !== "?")
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
  const nodes = selectedNodes.value;
  if (key === "Escape" && selection.value !== null) {
    reduceSelection();
    return true;
  }
  if (!hasLetterKeys.value) {
    return false;
  }
  switch (key.toLowerCase()) {
    case "/":
      document.getElementById("query")?.focus();
      return true;
    case "?":
      openDialog.value = "keys";
      return true;
    case "l":
      pastTime.value = null;
      return true;
  }
  if (key.toLowerCase() === "f" && nodes.length === 0) {
    panel.value = "Flows";
    return true;
  }
  const action = actionsOf(nodes).find((offered) => offered.key === key.toLowerCase());
  if (action?.refusal) {
    notify(action.refusal);
  } else {
    action?.run();
  }
  return action !== undefined;
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
