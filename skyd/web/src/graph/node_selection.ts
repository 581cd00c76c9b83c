// Several selected nodes as a list of their stable ids, in the order of their selection. Pure.

/** Most nodes that are selected together: queries and addresses name each of them. */
export const MAX_SELECTED = 100;

export type NodeKeys = readonly string[];

/** Returns the selection with a node added at the end, or without it if it was selected. */
export function toggled(keys: NodeKeys, key: string): NodeKeys {
  return keys.includes(key) ? keys.filter((other) => other !== key) : [...keys, key];
}

/** Returns the selection with nodes added at the end; those that are selected keep their position. */
export function extended(keys: NodeKeys, more: NodeKeys): NodeKeys {
  return [...new Set([...keys, ...more])];
}

/** Returns the selection of the first node alone. */
export function reduced(keys: NodeKeys): NodeKeys {
  return keys.slice(0, 1);
}

/** Returns what Shift-click on an item of a list adds to the selection: all from the item that was selected
 * last to it, or only it if the list does not show that item. */
export function rangeTo<T>(list: readonly T[], last: T | undefined, item: T): T[] {
  const from = last === undefined ? -1 : list.indexOf(last);
  return from < 0 ? [item] : between(list, from, list.indexOf(item));
}

/** Returns what lies between two positions of a list, both included, from the first to the second. */
export function between<T>(list: readonly T[], from: number, to: number): T[] {
  const part = list.slice(Math.min(from, to), Math.max(from, to) + 1);
  return from <= to ? part : part.reverse();
}
