// Comparison of the shown time with another one.

import { batch, signal } from "@preact/signals";
import { type Compared, compareGraphs } from "../graph/difference.ts";
import { graphOf } from "../net/live.ts";
import { query, json } from "../net/rest.ts";
import { compared } from "./marks.ts";
import { model } from "./session.ts";
import { pastTime, savedGraph } from "./view.ts";

/** Differences of another time to the shown time; `undefined` without a comparison. */
export const comparison = signal<{ time: number | null; differences: Compared[] } | undefined>(undefined);

/** Compares the shown graph with that of another time, `null` for the present. Throws a `RequestError` if
 * that cannot be read. */
export async function compareWith(time: number | null): Promise<void> {
  const answer = await (time === null ? json("GET", "/api/topology") : query(`G.At(${Math.round(time)})`));
  const differences = compareGraphs(model, graphOf(answer));
  comparison.value = { time, differences };
  compared.value = new Map(differences.map(({ id, difference }) => [id, difference]));
}

/** Leaves the past, a saved graph, and a comparison. */
export function returnToPresent(): void {
  batch(() => {
    endComparison();
    savedGraph.value = null;
    pastTime.value = null;
  });
}

/** Ends the comparison. */
export function endComparison(): void {
  comparison.value = undefined;
  compared.value = new Map();
}
