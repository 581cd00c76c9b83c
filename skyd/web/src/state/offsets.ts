// Boxes of the graph that the user has moved, remembered in this browser.

import { signal } from "@preact/signals";
import { type Box, type Offset, itemKey } from "../graph/layout.ts";
import { readStored, store } from "../parts/storage.ts";

/** Most moved boxes that are remembered. */
const MAX_OFFSETS = 500;

/** Distances by `itemKey`. */
export const offsets = signal<ReadonlyMap<string, Offset>>(read());

function read(): Map<string, Offset> {
  const stored = readStored("offsets");
  const found = new Map<string, Offset>();
  for (const entry of Array.isArray(stored) ? stored.slice(0, MAX_OFFSETS) : []) {
    const [key, dx, dy] = Array.isArray(entry) ? entry : [];
    if (typeof key === "string" && Number.isFinite(dx) && Number.isFinite(dy)) {
      found.set(key, { dx, dy });
    }
  }
  return found;
}

/** Moves a box by a distance, in layout units. */
export function moveBox(box: Box, dx: number, dy: number): void {
  const key = itemKey(box.item);
  const old = offsets.value.get(key) ?? { dx: 0, dy: 0 };
  const next = new Map(offsets.value);
  next.delete(key);
  next.set(key, { dx: old.dx + dx, dy: old.dy + dy });
  offsets.value = new Map([...next].slice(-MAX_OFFSETS));
}

/** Remembers the moved boxes. */
export function storeOffsets(): void {
  store(
    "offsets",
    [...offsets.value].map(([key, { dx, dy }]) => [key, Math.round(dx), Math.round(dy)]),
  );
}

/** Moves all boxes back. */
export function resetLayout(): void {
  offsets.value = new Map();
  storeOffsets();
}
