// What changed in a period: a live query in the present, one query in the past.

import { signal } from "@preact/signals";
import { type ChangeRow, changeRows } from "../graph/changes.ts";
import { ask, errorText } from "../net/rest.ts";
import { asArray } from "../parts/json.ts";
import { label } from "../parts/names.ts";
import { liveQueries, model } from "./session.ts";

/** Periods that can be chosen, with their lengths in seconds. */
export const PERIODS: [string, number][] = [
  ["10 minutes", 600],
  ["1 hour", 3600],
  ["6 hours", 21_600],
  ["24 hours", 86_400],
];

/** Words that the shown changes contain. */
export const changeFilter = signal("");

/** Time between two answers, in milliseconds; the daemon extends it for answers that take long. */
const INTERVAL_MS = 2000;

export interface ShownChanges {
  rows: ChangeRow[];
  notes: string[];
  error: string;
}

/** Calls `update` with the changes in the `seconds` before a time, `null` for the present, and again with
 * each change in the present. Returns a function that ends it. */
export function watchChanges(
  time: number | null,
  seconds: number,
  update: (changes: ShownChanges) => void,
): () => void {
  const rows = (answer: unknown) => changeRows(asArray(answer), nameOf);
  if (time === null) {
    const show = ({ items, error }: { items: unknown; error: string }) =>
      update({ rows: rows(items), notes: [], error });
    return liveQueries.watch(`G.At(NOW, ${seconds}).Changes()`, show, INTERVAL_MS);
  }
  let isStopped = false;
  ask(`G.At(${Math.round(time)}, ${seconds}).Changes()`)
    .then(({ value, notes }) => isStopped || update({ rows: rows(value), notes, error: "" }))
    .catch((error: unknown) => isStopped || update({ rows: [], notes: [], error: errorText(error) }));
  return () => {
    isStopped = true;
  };
}

function nameOf(id: string): string {
  return label(model.nodes.get(id)?.name ?? id, 60);
}
