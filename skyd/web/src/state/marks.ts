// Marks on the graph: found nodes, a path, the result of a comparison. All by node id.

import { batch, signal } from "@preact/signals";
import type { Difference } from "../graph/difference.ts";
import { type GraphModel, shownFields } from "../graph/model.ts";
import type { Route } from "../graph/route.ts";

/** Nodes that a query or a search has found. */
export const found = signal<ReadonlySet<string>>(new Set());
/** Nodes of the shown path, in order. */
export const path = signal<readonly string[]>([]);
/** The way of a packet to which the shown path belongs; `undefined` for another path. */
export const route = signal<Route | undefined>(undefined);

/** Shows a path on the graph and in its panel. */
export function showPath(nodes: readonly string[], way?: Route): void {
  batch(() => {
    path.value = nodes;
    route.value = way;
  });
}
/** Result of a comparison of two times. */
export const compared = signal<ReadonlyMap<string, Difference>>(new Map());

/** Number of alerts that were reported on each node while the page is open. */
export const alertCounts = signal<ReadonlyMap<string, number>>(new Map());

/** Time for which changes are marked that happened while the daemon was not reachable. */
const CHANGED_MS = 5000;

/** Returns what tree and graph show of each node, by stable id. */
export function shownByKey(model: GraphModel): Map<string, string> {
  return new Map([...model.nodes.values()].map((node) => [node.tid, shownFields(node)]));
}

/** Marks for some seconds what is not as before. */
export function markChanges(before: ReadonlyMap<string, string>, model: GraphModel): void {
  const changes = new Map<string, Difference>();
  for (const node of model.nodes.values()) {
    const known = before.get(node.tid);
    if (known !== shownFields(node)) {
      changes.set(node.id, known === undefined ? "added" : "changed");
    }
  }
  compared.value = changes;
  setTimeout(() => {
    if (compared.value === changes) {
      compared.value = new Map();
    }
  }, CHANGED_MS);
}

type ItemOf = ReadonlyMap<string, string>;

/** Returns the visible items of the found nodes. */
export function foundItems(itemOf: ItemOf): ReadonlySet<string> {
  return new Set([...found.value].flatMap((id) => itemOf.get(id) ?? []));
}

/** Returns the visible items of the path, without repetitions. */
export function pathItems(itemOf: ItemOf): string[] {
  const items = path.value.flatMap((id) => itemOf.get(id) ?? []);
  return items.filter((item, index) => item !== items[index - 1]);
}

/** Returns the visible items of the nodes on which alerts were reported. */
export function alertedItems(itemOf: ItemOf): ReadonlySet<string> {
  return new Set([...alertCounts.value.keys()].flatMap((id) => itemOf.get(id) ?? []));
}

/** Returns the visible items of the compared nodes. */
export function comparedItems(itemOf: ItemOf): ReadonlyMap<string, Difference> {
  const items = new Map<string, Difference>();
  for (const [id, difference] of compared.value) {
    const item = itemOf.get(id);
    if (item !== undefined) {
      items.set(item, item === id ? difference : "changed");
    }
  }
  return items;
}
