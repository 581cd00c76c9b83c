// Keys that mean the same in the tree and in the graph. Pure.

/** What a key press is, as in a `KeyboardEvent`. */
type Press = Pick<KeyboardEvent, "key" | "ctrlKey" | "shiftKey">;

/** Returns whether a key adds a node to the selected ones, or takes it away. */
export function isSelectKey({ key, ctrlKey }: Press): boolean {
  return key === " " || (key === "Enter" && ctrlKey);
}

/** Returns whether a key opens the menu of the selected nodes. */
export function isMenuKey({ key, shiftKey }: Press): boolean {
  return key === "ContextMenu" || (key === "F10" && shiftKey);
}
