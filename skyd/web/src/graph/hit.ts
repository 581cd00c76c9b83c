// Which box is at a point, and which box is next to another one. Pure.

import type { Box, Layout } from "./layout.ts";

/** Returns the innermost box at a layout point. */
export function boxAt(layout: Layout, x: number, y: number): Box | undefined {
  let found: Box | undefined;
  let inside = layout.roots;
  for (;;) {
    // A moved box may be on others; the last one is painted on top.
    let next: Box | undefined;
    for (const box of inside) {
      if (x >= box.x && y >= box.y && x <= box.x + box.width && y <= box.y + box.height) {
        next = box;
      }
    }
    if (!next) {
      return found;
    }
    found = next;
    inside = next.children;
  }
}

export type Direction = "up" | "down" | "left" | "right";

const center = (box: Box) => ({ x: box.x + box.width / 2, y: box.y + Math.min(box.height, 56) / 2 });

/** Returns the nearest of some boxes in a direction; distances across the direction count double. */
export function nearest(from: Box, boxes: Iterable<Box>, direction: Direction): Box | undefined {
  const start = center(from);
  let [found, best]: [Box | undefined, number] = [undefined, Number.POSITIVE_INFINITY];
  for (const box of boxes) {
    const end = center(box);
    const [dx, dy] = [end.x - start.x, end.y - start.y];
    const along = { up: -dy, down: dy, left: -dx, right: dx }[direction];
    const across = Math.abs(direction === "up" || direction === "down" ? dx : dy);
    if (box !== from && along > 1 && along + 2 * across < best) {
      [found, best] = [box, along + 2 * across];
    }
  }
  return found;
}
