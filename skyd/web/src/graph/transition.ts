// How boxes get from one layout to the next: they slide, so that the eye can follow what moves. Pure.

import type { Box, Layout } from "./layout.ts";

/** Duration of the movement, in milliseconds. */
export const MOVE_MS = 200;
/** Larger layouts, in boxes, change at once: each frame of the movement costs time for each box. */
const MAX_BOXES = 1500;

/** Returns whether boxes slide from one layout to the next: some that both have are elsewhere. */
export function slides(from: Layout, to: Layout): boolean {
  if (Math.max(from.boxes.size, to.boxes.size) > MAX_BOXES) {
    return false;
  }
  for (const [id, box] of to.boxes) {
    const before = from.boxes.get(id);
    if (before && (before.x !== box.x || before.y !== box.y)) {
      return true;
    }
  }
  return false;
}

/** Returns the layout between two others, from the first (`part` 0) to the second (`part` 1). A new box moves
 * with its owner. */
export function layoutBetween(from: Layout, to: Layout, part: number): Layout {
  const boxes = new Map<string, Box>();
  const eased = 1 - (1 - part) ** 2;
  const mix = (start: number, end: number) => start + (end - start) * eased;
  const add = (box: Box, parent: Box | undefined): Box => {
    const before = from.boxes.get(box.item.id);
    const position = before
      ? { x: mix(before.x, box.x), y: mix(before.y, box.y) }
      : { x: box.x + shiftOf(parent, box.parent, "x"), y: box.y + shiftOf(parent, box.parent, "y") };
    const size = before
      ? { width: mix(before.width, box.width), height: mix(before.height, box.height) }
      : { width: box.width, height: box.height };
    const moved: Box = { item: box.item, ...position, ...size, children: [], parent };
    boxes.set(box.item.id, moved);
    for (const child of box.children) {
      moved.children.push(add(child, moved));
    }
    return moved;
  };
  return { ...to, roots: to.roots.map((box) => add(box, undefined)), boxes };
}

function shiftOf(moved: Box | undefined, end: Box | undefined, axis: "x" | "y"): number {
  return moved && end ? moved[axis] - end[axis] : 0;
}
