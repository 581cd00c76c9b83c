// The query of the search field and its answer.

import { effect, signal } from "@preact/signals";
import { atTime, errorOffset, isGremlin } from "../net/gremlin.ts";
import { type LiveAnswer, answerOf, failureOf } from "../net/live.ts";
import { ask } from "../net/rest.ts";
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

/** Notes of the daemon about the answer, such as a key that no node has. */
export const answerNotes = signal<readonly string[]>([]);

/** Runs the query of the view, again whenever it or the time changes. In the present, the answer
 * follows the graph. */
export function followQuery(): void {
  let stop = () => {};
  effect(() => {
    stop();
    stop = () => {};
    const [text, time] = [queryText.value, pastTime.value];
    queryError.value = undefined;
    answerNotes.value = [];
    if (!isGremlin(text)) {
      answer.value = undefined;
      found.value = new Set();
      return;
    }
    stop = time === null ? watch(text) : runOnce(atTime(text, time), show);
  });
}

/** Shows the answer to a query and each change. Live answers have no notes, so a query that finds nothing
 * at first also runs once: a key in it may be unknown. */
function watch(gremlin: string): () => void {
  let stopOnce = () => {};
  let isFirst = true;
  const stop = liveQueries.watch(gremlin, (next) => {
    show(next);
    if (isFirst && next.error === "" && next.items.length === 0) {
      stopOnce = runOnce(gremlin, () => {});
    }
    isFirst = false;
  });
  return () => {
    stop();
    stopOnce();
  };
}

/** Runs a query once. Uses its answer, and shows its notes, unless it is stopped before. */
function runOnce(gremlin: string, use: (answer: LiveAnswer) => void): () => void {
  let isStopped = false;
  ask(gremlin)
    .then(({ value, notes }) => ({ result: answerOf(value), notes }))
    .catch((error: unknown) => ({ result: failureOf(error), notes: [] as string[] }))
    .then(({ result, notes }) => {
      if (!isStopped) {
        answerNotes.value = notes;
        use(result);
      }
    });
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
