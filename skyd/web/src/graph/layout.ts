// Nested layout: position means ownership. Each owner is a box whose rows are, from top to bottom,
// physical interfaces, bridges, their ports, other interfaces, containers, and namespaces. The host's
// end of a veth pair is directly above its peer in a namespace.
//
// Deterministic: the same scene has the same layout. O(n log n). The width of a box is quantized, so
// a change inside one box rarely changes how the rows of its owner are broken.

import { type Item, ROW, type Scene } from "./scene.ts";

export interface Box {
  readonly item: Item;
  /** Top left corner, relative to the layout, in units of one pixel at zoom 1. */
  x: number;
  y: number;
  readonly width: number;
  readonly height: number;
  readonly children: Box[];
  parent: Box | undefined;
}

export interface Layout {
  roots: Box[];
  boxes: Map<string, Box>;
  width: number;
  height: number;
}

export const LEAF_WIDTH = 84;
export const LEAF_HEIGHT = 56;
/** Height of the title of a box. */
export const TITLE_HEIGHT = 26;
const CLOSED_WIDTH = 176;
const CLOSED_HEIGHT = 52;
/** Space between a box and what it contains. */
export const PADDING = 14;
const GAP = 14;
/** Distance between rows: links need space there. */
export const ROW_GAP = 30;
/** Width of an area divided by its height. */
const ASPECT = 1.9;

/** A box, and the interfaces that are placed above it because their peers are inside. */
interface Column {
  box: Box;
  heads: Box[];
  width: number;
}

/** Lays out a scene. */
export function layOut(scene: Scene): Layout {
  const boxes = new Map<string, Box>();
  const roots = scene.roots.map(place);
  const size = arrange(roots, scene.itemOf, 0, 0);
  const settle = (box: Box, x: number, y: number, parent: Box | undefined) => {
    box.x += x;
    box.y += y;
    box.parent = parent;
    boxes.set(box.item.id, box);
    box.children.forEach((child) => settle(child, box.x, box.y, box));
  };
  roots.forEach((box) => settle(box, 0, 0, undefined));
  return { roots, boxes, ...size };

  function place(item: Item): Box {
    if (item.children.length === 0) {
      const isClosed = item.hidden > 0 || item.node.family === "host" || item.node.family === "namespace";
      const [width, height] = isClosed ? [CLOSED_WIDTH, CLOSED_HEIGHT] : [LEAF_WIDTH, LEAF_HEIGHT];
      return { item, x: 0, y: 0, width, height, children: [], parent: undefined };
    }
    const children = item.children.map(place);
    const inner = arrange(children, scene.itemOf, PADDING, TITLE_HEIGHT + PADDING);
    const width = Math.max(inner.width + 2 * PADDING, CLOSED_WIDTH);
    const height = inner.height + TITLE_HEIGHT + 2 * PADDING;
    return { item, x: 0, y: 0, width, height, children, parent: undefined };
  }
}

/** Positions siblings in rows below each other, relative to (`left`, `top`). Returns the size used. */
function arrange(
  boxes: Box[],
  itemOf: Map<string, string>,
  left: number,
  top: number,
): { width: number; height: number } {
  const { columns, rows } = sort(boxes, itemOf);
  const limit = widthLimit(boxes);
  let [y, width] = [top, 0];
  const advance = (size: { width: number; height: number }, gap: number) => {
    if (size.height > 0) {
      y += size.height + gap;
      width = Math.max(width, size.width);
    }
  };
  for (const row of rows) {
    advance(fill(row, limit, left, y), ROW_GAP);
  }
  for (const line of lines(columns, limit)) {
    advance(stand(line, left, y), ROW_GAP);
  }
  return { width, height: Math.max(0, y - top - ROW_GAP) };
}

/** Divides siblings into rows of interfaces and columns of boxes. */
function sort(boxes: Box[], itemOf: Map<string, string>): { rows: Box[][]; columns: Column[] } {
  const columnOf = new Map<string, Column>();
  for (const box of boxes) {
    if (box.item.row >= ROW.container) {
      const column = { box, heads: [], width: box.width };
      eachId(box, (id) => columnOf.set(id, column));
    }
  }
  const rows: Box[][] = [];
  for (const box of boxes) {
    if (box.item.row < ROW.container) {
      const peer = box.item.peer === undefined ? undefined : itemOf.get(box.item.peer);
      const column = peer === undefined ? undefined : columnOf.get(peer);
      column ? column.heads.push(box) : (rows[box.item.row] ??= []).push(box);
    }
  }
  const byRow = (a: Column, b: Column) => a.box.item.row - b.box.item.row;
  const columns = [...new Set(columnOf.values())].sort(byRow);
  return { rows: rows.filter((row) => row !== undefined), columns };
}

function eachId(box: Box, use: (id: string) => void): void {
  use(box.item.id);
  box.children.forEach((child) => eachId(child, use));
}

/** Returns the width at which rows are broken, in steps of a factor of √2. */
function widthLimit(boxes: Box[]): number {
  const area = boxes.reduce((sum, box) => sum + (box.width + GAP) * (box.height + ROW_GAP), 0);
  const widest = Math.max(...boxes.map((box) => box.width), 0);
  const quantized = 2 ** (Math.ceil(Math.log2(Math.sqrt(area * ASPECT) + 1) * 2) / 2);
  return Math.max(widest, quantized, 4 * (LEAF_WIDTH + GAP));
}

/** Positions a row of interfaces; breaks it at the limit. */
function fill(row: Box[], limit: number, left: number, top: number): { width: number; height: number } {
  let [x, y, height, width] = [0, 0, 0, 0];
  for (const box of row) {
    if (x > 0 && x + box.width > limit) {
      [x, y, height] = [0, y + height + GAP, 0];
    }
    box.x = left + x;
    box.y = top + y;
    x += box.width + GAP;
    height = Math.max(height, box.height);
    width = Math.max(width, x - GAP);
  }
  return { width, height: y + height };
}

/** Breaks columns into lines at the limit. A line ends where the next row of families begins. */
function lines(columns: Column[], limit: number): Column[][] {
  const found: Column[][] = [];
  let x = 0;
  for (const column of columns) {
    alignHeads(column);
    const line = found.at(-1);
    const isSameRow = line?.[0]?.box.item.row === column.box.item.row;
    if (line && isSameRow && x + column.width <= limit) {
      line.push(column);
    } else {
      found.push([column]);
      x = 0;
    }
    x += column.width + GAP;
  }
  return found;
}

/** Positions the interfaces above a box over their peers, from left to right, relative to the box. */
function alignHeads(column: Column): void {
  const target = new Map(column.heads.map((head) => [head, peerOffset(column.box, head.item.peer)]));
  column.heads.sort((a, b) => (target.get(a) ?? 0) - (target.get(b) ?? 0));
  let next = 0;
  for (const head of column.heads) {
    head.x = Math.max(next, target.get(head) ?? 0);
    next = head.x + head.width + GAP;
  }
  column.width = Math.max(column.box.width, next - GAP);
}

/** Returns the horizontal offset of a node inside a box that is laid out relative to its parts. */
function peerOffset(box: Box, id: string | undefined): number {
  const find = (inner: Box, x: number): number | undefined => {
    if (inner.item.id === id) {
      return x;
    }
    for (const child of inner.children) {
      const found = find(child, x + child.x);
      if (found !== undefined) {
        return found;
      }
    }
    return undefined;
  };
  return find(box, 0) ?? Math.max(0, (box.width - LEAF_WIDTH) / 2);
}

/** Positions a line of columns: interfaces on top, boxes below them. */
function stand(line: Column[], left: number, top: number): { width: number; height: number } {
  const headHeight = Math.max(...line.map(({ heads }) => (heads.length > 0 ? LEAF_HEIGHT + ROW_GAP : 0)));
  let [x, height] = [0, 0];
  for (const { box, heads, width } of line) {
    box.x = left + x;
    box.y = top + headHeight;
    heads.forEach((head) => {
      head.x += left + x;
      head.y = top;
    });
    height = Math.max(height, headHeight + box.height);
    x += width + GAP;
  }
  return { width: x - GAP, height };
}
