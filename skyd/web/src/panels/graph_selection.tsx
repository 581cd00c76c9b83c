// What is selected in the graph, in words for screen readers.

import type { ReadonlySignal } from "@preact/signals";
import { treeName } from "../graph/search.ts";
import { label } from "../parts/names.ts";
import { layout } from "../state/layout.ts";
import { alertCounts } from "../state/marks.ts";
import { selectedIds, selectedNodes } from "../state/selected.ts";
import { nodeOf } from "./graph_pointer.ts";

/** Most selected nodes that are named. */
const MAX_NAMED = 10;

/** Describes the selected nodes, and the item to which Ctrl and an arrow key went. */
export function GraphSelection({ id, cursor }: { id: string; cursor: ReadonlySignal<string | undefined> }) {
  const at = cursor.value === undefined ? undefined : nodeOf(layout.value.boxes.get(cursor.value));
  const isSelected = at !== undefined && selectedIds.value.has(at.id);
  return (
    <p id={id} class="visually-hidden" aria-live="polite">
      {at && `At ${treeName(at)}, ${isSelected ? "selected" : "not selected"}. `}
      {selectionText()}
    </p>
  );
}

function selectionText(): string {
  const nodes = selectedNodes.value;
  const [first] = nodes;
  if (!first) {
    return "Nothing is selected. Arrow keys go to a neighbor.";
  }
  if (nodes.length === 1) {
    return treeName(first, alertCounts.value.get(first.id));
  }
  const names = nodes.slice(0, MAX_NAMED).map(({ name }) => label(name, 60));
  const more = nodes.length > MAX_NAMED ? `, and ${nodes.length - MAX_NAMED} more` : "";
  return `${nodes.length} nodes are selected: ${names.join(", ")}${more}.`;
}
