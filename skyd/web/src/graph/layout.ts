// The boxes of a scene with their positions. Pure.

import { type Positions, type Shapes, positionsOf } from "./positions.ts";
import type { Item, Scene } from "./scene.ts";

export { LEAF_HEIGHT, LEAF_WIDTH, PADDING, ROW_GAP, TITLE_HEIGHT } from "./positions.ts";

export interface Box {
  readonly item: Item;
  /** Top left corner, relative to the layout, in units of one pixel at zoom 1. */
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly children: Box[];
  readonly parent: Box | undefined;
}

export interface Layout {
  roots: Box[];
  boxes: Map<string, Box>;
  width: number;
  height: number;
}

/** Returns the shapes of a scene, from which positions are computed. */
export function shapesOf(scene: Scene): Shapes {
  const items: Item[] = [];
  const add = (item: Item) => {
    items.push(item);
    item.children.forEach(add);
  };
  scene.roots.forEach(add);
  const indexOf = new Map(items.map((item, index) => [item.id, index]));
  const peer = (item: Item) => (item.peer === undefined ? undefined : indexOf.get(scene.itemOf.get(item.peer) ?? ""));
  return {
    children: Int32Array.from(items, (item) => item.children.length),
    rows: Uint8Array.from(items, (item) => item.row),
    closed: Uint8Array.from(items, (item) => (isClosedBox(item) ? 1 : 0)),
    peers: Int32Array.from(items, (item) => peer(item) ?? -1),
  };
}

/** Returns whether an item without visible children has a title like a box. */
function isClosedBox(item: Item): boolean {
  const { family } = item.node;
  return item.hidden > 0 || (item.folded === 1 && (family === "host" || family === "namespace"));
}

/** Returns whether two scenes have the same shapes, and therefore the same positions. */
export function areEqual(a: Shapes, b: Shapes): boolean {
  const same = (x: ArrayLike<number>, y: ArrayLike<number>) => {
    if (x.length !== y.length) {
      return false;
    }
    for (let index = 0; index < x.length; index += 1) {
      if (x[index] !== y[index]) {
        return false;
      }
    }
    return true;
  };
  return same(a.children, b.children) && same(a.rows, b.rows) && same(a.closed, b.closed) && same(a.peers, b.peers);
}

/** Returns the boxes of a scene at positions that were computed for its shapes. */
export function layoutAt(scene: Scene, positions: Positions): Layout {
  const boxes = new Map<string, Box>();
  let at = 0;
  const place = (item: Item, parent: Box | undefined): Box => {
    const [x = 0, y = 0, width = 0, height = 0] = [0, 1, 2, 3].map((offset) => positions[at + offset]);
    at += 4;
    const box: Box = { item, x, y, width, height, children: [], parent };
    boxes.set(item.id, box);
    for (const child of item.children) {
      box.children.push(place(child, box));
    }
    return box;
  };
  const roots = scene.roots.map((item) => place(item, undefined));
  return { roots, boxes, width: positions[at] ?? 0, height: positions[at + 1] ?? 0 };
}

/** Lays out a scene. */
export function layOut(scene: Scene): Layout {
  return layoutAt(scene, positionsOf(shapesOf(scene)));
}

export const EMPTY_LAYOUT: Layout = { roots: [], boxes: new Map(), width: 0, height: 0 };
