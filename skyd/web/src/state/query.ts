// The query of the search field and its answer.

import { effect, signal } from "@preact/signals";
import { atTime, errorOffset, isGremlin } from "../net/gremlin.ts";
import { type LiveAnswer, answerOf, failureOf } from "../net/live.ts";
import { query } from "../net/rest.ts";
import { type Json, isObject, member, textOf } from "../parts/json.ts";
import { openWayTo } from "./branches.ts";
import { found } from "./marks.ts";
import { rememberQuery } from "./query_history.ts";
import { liveQueries, model } from "./session.ts";
import { pastTime, queryText } from "./view.ts";

/** Answer to the query that runs; `undefined` before the first answer, and without a query. */
export const answer = signal<LiveAnswer | undefined>(undefined);
/** Text of the daemon about a wrong query, and the byte position of the mistake. */
export const queryError = signal<{ text: string; offset: number | undefined } | undefined>(undefined);

/** Runs the query of the view, again whenever it or the time changes. In the present, the answer
 * follows the graph. */
export function followQuery(): void {
  let stop = () => {};
  effect(() => {
    stop();
    stop = () => {};
    const [text, time] = [queryText.value, pastTime.value];
    queryError.value = undefined;
    if (!isGremlin(text)) {
      answer.value = undefined;
      found.value = new Set();
      return;
    }
    stop = time === null ? liveQueries.watch(text, show) : runOnce(atTime(text, time));
  });
}

/** Runs a query once and shows its answer unless it is stopped before. */
function runOnce(gremlin: string): () => void {
  let isStopped = false;
  query(gremlin)
    .then(answerOf)
    .catch(failureOf)
    .then((result) => isStopped || show(result));
  return () => {
    isStopped = true;
  };
}

function show(next: LiveAnswer): void {
  if (next.error !== "") {
    const offset = next.offset ?? errorOffset(next.error);
    queryError.value = { text: next.error, offset };
    return;
  }
  queryError.value = undefined;
  const isFirst = answer.value === undefined;
  answer.value = next;
  const ids = next.items.flatMap(nodesOf);
  found.value = new Set(ids);
  if (isFirst) {
    rememberQuery(queryText.value);
    for (const id of ids.slice(0, 50)) {
      const node = model.nodes.get(id);
      node && openWayTo(model, node);
    }
  }
}

/** Returns the ids of the nodes in an item: a node, or the nodes of a path. */
function nodesOf(item: Json): string[] {
  if (Array.isArray(item)) {
    return item.flatMap(nodesOf);
  }
  const isNode = isObject(member(item, "Metadata")) && member(item, "Parent") === undefined;
  return isNode ? [textOf(item, "ID")] : [];
}
