// Positions of nested boxes. Pure, on plain arrays, so that a worker can compute them.
//
// Position is ownership: the box of an owner contains rows of interfaces, and below them boxes of
// namespaces and containers; the host's end of a veth pair is above the box of its peer. Deterministic:
// the same shapes have the same positions. O(n log n). The width of a box is quantized, so that a change
// inside one box rarely changes how the rows of its owner are broken.

/** Boxes without their positions, each before those inside it. */
export interface Shapes {
  /** Number of boxes directly inside. */
  children: Int32Array;
  /** Row inside the owner (`ROW` in scene.ts). */
  rows: Uint8Array;
  /** 1 if the box has the size of a closed box, although nothing is inside. */
  closed: Uint8Array;
  /** Index of the box that contains the other end of a veth pair; -1 for none. */
  peers: Int32Array;
}

/** Left, top, width, and height of each box, in the order of the shapes; then those of all together. */
export type Positions = Float64Array;

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
/** First row of the boxes that are columns, with the interfaces of their peers above them. */
export const FIRST_COLUMN_ROW = 4;

interface Size {
  width: number;
  height: number;
}

/** A box while it is positioned, relative to its owner. */
interface Cell extends Size {
  index: number;
  row: number;
  peer: number;
  x: number;
  y: number;
  children: Cell[];
}

/** A box, and the interfaces that are above it because their peers are inside. */
interface Column {
  box: Cell;
  heads: Cell[];
  width: number;
}

/** Returns the positions of boxes. */
export function positionsOf(shapes: Shapes): Positions {
  const count = shapes.children.length;
  let next = 0;
  const read = (): Cell => {
    const index = next;
    next += 1;
    const children: Cell[] = [];
    for (let left = shapes.children[index] ?? 0; left > 0; left -= 1) {
      children.push(read());
    }
    const [row, peer] = [shapes.rows[index] ?? 0, shapes.peers[index] ?? -1];
    return { index, row, peer, x: 0, y: 0, children, ...sizeOf(children, shapes.closed[index] === 1) };
  };
  const roots: Cell[] = [];
  while (next < count) {
    roots.push(read());
  }
  const all = arrange(roots, 0, 0);
  const positions = new Float64Array(4 * count + 2);
  const settle = (cell: Cell, left: number, top: number) => {
    const [x, y] = [left + cell.x, top + cell.y];
    positions.set([x, y, cell.width, cell.height], 4 * cell.index);
    cell.children.forEach((child) => settle(child, x, y));
  };
  roots.forEach((root) => settle(root, 0, 0));
  positions.set([all.width, all.height], 4 * count);
  return positions;
}

/** Positions what is inside a box, and returns the size of the box. */
function sizeOf(children: Cell[], isClosed: boolean): Size {
  if (children.length === 0) {
    return isClosed ? { width: CLOSED_WIDTH, height: CLOSED_HEIGHT } : { width: LEAF_WIDTH, height: LEAF_HEIGHT };
  }
  const inner = arrange(children, PADDING, TITLE_HEIGHT + PADDING);
  const width = Math.max(inner.width + 2 * PADDING, CLOSED_WIDTH);
  return { width, height: inner.height + TITLE_HEIGHT + 2 * PADDING };
}

/** Positions siblings in rows below each other, relative to (`left`, `top`). Returns the size used. */
function arrange(cells: Cell[], left: number, top: number): Size {
  const { columns, rows } = sort(cells);
  const limit = widthLimit(cells);
  let [y, width] = [top, 0];
  const advance = (size: Size, gap: number) => {
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
function sort(cells: Cell[]): { rows: Cell[][]; columns: Column[] } {
  const columnOf = new Map<number, Column>();
  for (const box of cells) {
    if (box.row >= FIRST_COLUMN_ROW) {
      const column = { box, heads: [], width: box.width };
      eachIndex(box, (index) => columnOf.set(index, column));
    }
  }
  const rows: Cell[][] = [];
  for (const cell of cells) {
    if (cell.row < FIRST_COLUMN_ROW) {
      const column = cell.peer < 0 ? undefined : columnOf.get(cell.peer);
      column ? column.heads.push(cell) : (rows[cell.row] ??= []).push(cell);
    }
  }
  const byRow = (a: Column, b: Column) => a.box.row - b.box.row;
  const columns = [...new Set(columnOf.values())].sort(byRow);
  return { rows: rows.filter((row) => row !== undefined), columns };
}

function eachIndex(cell: Cell, use: (index: number) => void): void {
  use(cell.index);
  cell.children.forEach((child) => eachIndex(child, use));
}

/** Returns the width at which rows are broken, in steps of a factor of √2. */
function widthLimit(cells: Cell[]): number {
  const area = cells.reduce((sum, cell) => sum + (cell.width + GAP) * (cell.height + ROW_GAP), 0);
  const widest = cells.reduce((most, cell) => Math.max(most, cell.width), 0);
  const quantized = 2 ** (Math.ceil(Math.log2(Math.sqrt(area * ASPECT) + 1) * 2) / 2);
  return Math.max(widest, quantized, 4 * (LEAF_WIDTH + GAP));
}

/** Positions a row of interfaces; breaks it at the limit. */
function fill(row: Cell[], limit: number, left: number, top: number): Size {
  let [x, y, height, width] = [0, 0, 0, 0];
  for (const cell of row) {
    if (x > 0 && x + cell.width > limit) {
      [x, y, height] = [0, y + height + GAP, 0];
    }
    cell.x = left + x;
    cell.y = top + y;
    x += cell.width + GAP;
    height = Math.max(height, cell.height);
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
    const isSameRow = line?.[0]?.box.row === column.box.row;
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
  const target = new Map(column.heads.map((head) => [head, peerOffset(column.box, head.peer)]));
  column.heads.sort((a, b) => (target.get(a) ?? 0) - (target.get(b) ?? 0) || a.index - b.index);
  let next = 0;
  for (const head of column.heads) {
    head.x = Math.max(next, target.get(head) ?? 0);
    next = head.x + head.width + GAP;
  }
  column.width = Math.max(column.box.width, next - GAP);
}

/** Returns the horizontal offset of a cell inside a box; the middle if the box itself is meant. */
function peerOffset(box: Cell, index: number): number {
  const find = (inner: Cell, x: number): number | undefined => {
    for (const child of inner.children) {
      const found = child.index === index ? x + child.x : find(child, x + child.x);
      if (found !== undefined) {
        return found;
      }
    }
    return undefined;
  };
  return find(box, 0) ?? Math.max(0, (box.width - LEAF_WIDTH) / 2);
}

/** Positions a line of columns: interfaces on top, boxes below them. */
function stand(line: Column[], left: number, top: number): Size {
  const headHeight = line.some(({ heads }) => heads.length > 0) ? LEAF_HEIGHT + ROW_GAP : 0;
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
