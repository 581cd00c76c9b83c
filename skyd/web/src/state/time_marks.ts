// Marks on the time slider: how much changed in each part of the history.
//
// They are read when the user turns to the slider, and at most once in half a minute, because the daemon
// reads the whole history for them.

import { signal } from "@preact/signals";
import { query } from "../net/rest.ts";
import { asArray, numberOf } from "../parts/json.ts";

/** Times of changes, in Unix milliseconds, oldest first. */
export const changeTimes = signal<readonly number[]>([]);

const INTERVAL_MS = 30_000;
/** Most changes that are read. */
const MAX_CHANGES = 20_000;
/** Parts of the slider. */
const SLOTS = 120;

let readAt = 0;

/** Reads the changes since a time. Without an answer, for example because there are too many, the slider has
 * no marks. */
export async function readChangeTimes(from: number): Promise<void> {
  const now = Date.now();
  if (now - readAt < INTERVAL_MS) {
    return;
  }
  readAt = now;
  const seconds = Math.max(1, Math.ceil((now - from) / 1000));
  const answer = await query(`G.At(NOW, ${seconds}).Changes().Limit(${MAX_CHANGES})`).catch(() => null);
  changeTimes.value = asArray(answer).map((change) => numberOf(change, "Time"));
}

/** Returns the heights of the marks from `from` to `to`, 0 to 1: each is the logarithm of the number of
 * changes in one part. */
export function markHeights(times: readonly number[], from: number, to: number): number[] {
  const counts = new Array<number>(SLOTS).fill(0);
  for (const time of times) {
    const slot = Math.min(SLOTS - 1, Math.floor(((time - from) / Math.max(to - from, 1)) * SLOTS));
    if (slot >= 0) {
      counts[slot] = (counts[slot] ?? 0) + 1;
    }
  }
  const most = Math.max(1, ...counts);
  return counts.map((count) => Math.log1p(count) / Math.log1p(most));
}
