// Marks on the graph: found nodes, a path, the result of a comparison. All by node id.

import { signal } from "@preact/signals";

export type Difference = "added" | "removed" | "changed";

/** Nodes that a query or a search has found. */
export const found = signal<ReadonlySet<string>>(new Set());
/** Nodes of the shown path, in order. */
export const path = signal<readonly string[]>([]);
/** Result of a comparison of two times. */
export const compared = signal<ReadonlyMap<string, Difference>>(new Map());

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
