// The open menu of the selected node.

import { signal } from "@preact/signals";

export interface MenuPosition {
  /** Pixels from the left and from the top of the window. */
  x: number;
  y: number;
}

export const openMenu = signal<MenuPosition | null>(null);
