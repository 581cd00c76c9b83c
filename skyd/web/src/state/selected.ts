// What is selected: one flow, one link, or nodes.

import { batch, computed, signal } from "@preact/signals";
import type { GraphNode } from "../graph/model.ts";
import { MAX_SELECTED, type NodeKeys, extended, reduced, toggled } from "../graph/node_selection.ts";
import { type Json, textOf } from "../parts/json.ts";
import { notify } from "./notices.ts";
import { model, structureVersion } from "./session.ts";
import { alsoSelected, select, selection, tab } from "./view.ts";

/** Selected nodes that exist, in the order of their selection. */
export const selectedNodes = computed<readonly GraphNode[]>(() => {
  structureVersion.value;
  const found = [selection.value, ...alsoSelected.value].flatMap((key) => model.find(key) ?? []);
  return [...new Set(found)];
});

/** Ids of the selected nodes. */
export const selectedIds = computed<ReadonlySet<string>>(() => new Set(selectedNodes.value.map(({ id }) => id)));

/** Adds a node to the selected ones, or takes it away. */
export function toggleSelected(node: GraphNode): void {
  write(toggled(keysOfNodes(), node.tid));
}

/** Adds nodes to the selected ones. */
export function addSelected(nodes: readonly GraphNode[]): void {
  write(
    extended(
      keysOfNodes(),
      nodes.map(({ tid }) => tid),
    ),
  );
}

/** Selects a node whose menu opens, unless it is among the selected ones: their menu opens then. */
export function selectAlone(node: GraphNode): void {
  selectedIds.value.has(node.id) || select(node.tid);
}

/** Ends the selection of all nodes but the first one; of that too if it is the only one. */
export function reduceSelection(): void {
  alsoSelected.value.length > 0 ? write(reduced(keysOfNodes())) : select(null);
}

function keysOfNodes(): NodeKeys {
  return selectedNodes.value.map(({ tid }) => tid);
}

function write(keys: NodeKeys): void {
  const [first = null, ...more] = keys.slice(0, MAX_SELECTED);
  batch(() => {
    selection.value = first;
    alsoSelected.value = more;
  });
  if (keys.length > MAX_SELECTED) {
    notify(`At most ${MAX_SELECTED} nodes can be selected.`);
  }
}

/** Prefix of the selection of a flow, as opposed to a node. */
const PREFIX = "flow:";

/** Record of the flow that was selected last. */
export const selectedFlow = signal<Json | null>(null);

/** Selects a flow. */
export function selectFlow(flow: Json): void {
  batch(() => {
    selectedFlow.value = flow;
    select(`${PREFIX}${textOf(flow, "UUID")}`);
    tab.value = "Overview";
  });
}

/** Returns the UUID of the selected flow; `undefined` if the selection is not a flow. */
export function flowOf(key: string | null): string | undefined {
  return key?.startsWith(PREFIX) ? key.slice(PREFIX.length) : undefined;
}

/** Prefix of the selection of a link. */
const LINK_PREFIX = "link:";

/** Returns the selection of a link. */
export function linkKey(id: string): string {
  return `${LINK_PREFIX}${id}`;
}

/** Returns the id of the selected link; `undefined` if the selection is not a link. */
export function linkOf(key: string | null): string | undefined {
  return key?.startsWith(LINK_PREFIX) ? key.slice(LINK_PREFIX.length) : undefined;
}
