// Keys that act anywhere on the page, except in fields and dialogs.

import { signal } from "@preact/signals";
import { readStored, store } from "../parts/storage.ts";
import { returnToPresent } from "./comparison.ts";
import { openDialog } from "./dialogs.ts";
import { actionsOf } from "./node_actions.ts";
import { notify } from "./notices.ts";
import { reduceSelection, selectedNodes } from "./selected.ts";
import { panel, selection } from "./view.ts";

/** Whether single letters are shortcuts. */
export const hasLetterKeys = signal(readStored("letterKeys") !== false);

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

/** Elements that use keys themselves. */
const FIELDS = "input:not([type=checkbox], [type=range]), textarea, select, dialog";

/** Actions of letters that need no selected node; those of selected nodes come first. */
const PAGE_ACTIONS: ReadonlyMap<string, () => void> = new Map([
  ["/", () => document.getElementById("query")?.focus()],
  ["?", () => void (openDialog.value = "keys")],
  ["f", () => void (panel.value = "Flows")],
  ["l", returnToPresent],
]);

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
    // The tree and the graph stop the keys that they use themselves.
    const isModified = event.ctrlKey || event.altKey || event.metaKey;
    const isInField = (event.target as Element | null)?.closest(FIELDS);
    if (!isModified && !isInField && act(event.key)) {
      event.preventDefault();
    }
  });
}

/** Performs the action of a key. Returns whether it has one. */
function act(key: string): boolean {
  if (key === "Escape" && selection.value !== null) {
    reduceSelection();
    return true;
  }
  if (!hasLetterKeys.value) {
    return false;
  }
  const letter = key.toLowerCase();
  const action = actionsOf(selectedNodes.value).find((offered) => offered.key === letter);
  if (action?.refusal) {
    notify(action.refusal);
    return true;
  }
  const run = action?.run ?? PAGE_ACTIONS.get(letter);
  run?.();
  return run !== undefined;
}

function focusNextArea(step: number): void {
  const targets = AREAS.flatMap((selector) => document.querySelector<HTMLElement>(selector) ?? []);
  const areaOf = (target: Element) =>
    target.closest("header, nav, .tree-panel, .graph, .details, .time, section.panel");
  const current = targets.findIndex((target) => areaOf(target)?.contains(document.activeElement));
  // From outside of all areas, the first one is next, and the last one is before.
  const next = current < 0 && step < 0 ? -1 : (current + step) % targets.length;
  targets.at(next)?.focus();
}
