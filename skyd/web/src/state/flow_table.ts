// The flows of a table: a live query in the present, one query in the past, and the recent rates of
// each flow for its sparkline.

import { flowRate } from "../flow/flow.ts";
import { atTime, isGremlin } from "../net/gremlin.ts";
import type { LiveAnswer } from "../net/live.ts";
import { errorText, query } from "../net/rest.ts";
import { type Json, asArray, textOf } from "../parts/json.ts";
import { liveQueries } from "./session.ts";

/** Most flows that a table shows. */
export const MAX_FLOWS = 100_000;
/** Time between two answers, in milliseconds; the daemon extends it for answers that take long. */
const INTERVAL_MS = 1000;
/** Rates of a sparkline. */
const HISTORY_LENGTH = 24;

const history = new Map<string, number[]>();

/** Returns the recent rates of a flow, oldest first. */
export function flowHistory(uuid: string): readonly number[] {
  return history.get(uuid) ?? [];
}

/** Calls `update` with the flows of a query, and again with each change in the present. Returns a
 * function that ends it. */
export function watchFlows(
  gremlin: string,
  time: number | null,
  update: (flows: Json[], error: string) => void,
): () => void {
  const isLive = time === null;
  return watchAnswer(atTime(gremlin, time), isLive, (items, error) => {
    isLive && remember(items);
    update(items, error);
  });
}

/** Calls `update` with the list that a query answers, and again with each change if the query is live.
 * Returns a function that ends it. */
export function watchAnswer(
  gremlin: string,
  isLive: boolean,
  update: (items: Json[], error: string) => void,
): () => void {
  if (!isGremlin(gremlin)) {
    return () => {};
  }
  if (isLive) {
    return liveQueries.watch(gremlin, ({ items, error }: LiveAnswer) => update(items, error), INTERVAL_MS);
  }
  let isStopped = false;
  query(gremlin)
    .then((answer) => isStopped || update(asArray(answer), ""))
    .catch((error: unknown) => isStopped || update([], errorText(error)));
  return () => {
    isStopped = true;
  };
}

/** Adds the current rate of each flow to its history; forgets the flows that are not in the table. */
function remember(flows: Json[]): void {
  const time = Date.now();
  const known = new Map(history);
  history.clear();
  for (const flow of flows) {
    const uuid = textOf(flow, "UUID");
    const rates = known.get(uuid) ?? [];
    history.set(uuid, [...rates, flowRate(flow, time)].slice(-HISTORY_LENGTH));
  }
}
