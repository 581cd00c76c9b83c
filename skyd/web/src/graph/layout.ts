// The boxes of a scene with their positions. Pure.

import { type Positions, type Shapes, TITLE_HEIGHT, positionsOf } from "./positions.ts";
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

/** Distance by which a user has moved a box, in layout units. */
export interface Offset {
  dx: number;
  dy: number;
}

/** Returns the key of an item for what a browser remembers about it. */
export function itemKey(item: Item): string {
  return item.rack || item.folded > 1 ? item.id : item.node.tid;
}

/** Returns the boxes of a scene at positions that were computed for its shapes, with the offsets of moved
 * boxes, by `itemKey`. A moved box takes along what is inside, and stays inside its owner. */
export function layoutAt(scene: Scene, positions: Positions, offsets: ReadonlyMap<string, Offset> = NONE): Layout {
  const boxes = new Map<string, Box>();
  let at = 0;
  let shift = { dx: 0, dy: 0 };
  const add = (item: Item, parent: Box | undefined): Box => {
    const [left = 0, top = 0, width = 0, height = 0] = [0, 1, 2, 3].map((offset) => positions[at + offset]);
    at += 4;
    const outer = shift;
    let [x, y] = [left + outer.dx, top + outer.dy];
    const moved = offsets.size > 0 ? offsets.get(itemKey(item)) : undefined;
    if (moved) {
      [x, y] = limited(x + moved.dx, y + moved.dy, width, height, parent);
      shift = { dx: x - left, dy: y - top };
    }
    const box: Box = { item, x, y, width, height, children: [], parent };
    boxes.set(item.id, box);
    for (const child of item.children) {
      box.children.push(add(child, box));
    }
    shift = outer;
    return box;
  };
  const roots = scene.roots.map((item) => add(item, undefined));
  const extent = (size: number, ends: number[]) => (offsets.size > 0 ? Math.max(size, ...ends) : size);
  return {
    roots,
    boxes,
    width: extent(
      positions[at] ?? 0,
      roots.map((box) => box.x + box.width),
    ),
    height: extent(
      positions[at + 1] ?? 0,
      roots.map((box) => box.y + box.height),
    ),
  };
}

const NONE: ReadonlyMap<string, Offset> = new Map();
/** Distance between a moved box and the border of its owner. */
const BORDER = 4;

/** Returns the position nearest to (`x`, `y`) at which a box is inside its owner, or not left of or above
 * the origin. */
function limited(x: number, y: number, width: number, height: number, owner: Box | undefined): [number, number] {
  if (!owner) {
    return [Math.max(0, x), Math.max(0, y)];
  }
  const within = (value: number, least: number, most: number) => Math.max(least, Math.min(value, most));
  return [
    within(x, owner.x + BORDER, owner.x + owner.width - width - BORDER),
    within(y, owner.y + TITLE_HEIGHT, owner.y + owner.height - height - BORDER),
  ];
}

/** Lays out a scene. */
export function layOut(scene: Scene): Layout {
  return layoutAt(scene, positionsOf(shapesOf(scene)));
}

export const EMPTY_LAYOUT: Layout = { roots: [], boxes: new Map(), width: 0, height: 0 };
