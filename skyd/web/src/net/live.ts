// Live queries: answers that the daemon keeps up to date (docs/gremlin.md, "Live queries").

import { type Json, type JsonObject, isObject, listOf, member, numberOf, textOf } from "../parts/json.ts";
import { errorOffset } from "./gremlin.ts";
import { errorText } from "./rest.ts";
import type { Message } from "./socket.ts";

/** State of a live query. */
export interface LiveAnswer {
  /** Kind of the answer, such as `nodes` or `flows`; empty before the first one. */
  kind: string;
  items: Json[];
  /** Second list of a graph. */
  edges: Json[];
  /** Text of the daemon if the query has no answer. */
  error: string;
  /** Byte position of the error in the query. */
  offset: number | undefined;
}

/** Applies a message of a live query to its state; returns a new state. */
export function applyLive(answer: LiveAnswer, message: Message): LiveAnswer {
  const object = message.object as Json | undefined;
  switch (message.type) {
    case "Answer": {
      const value = graphOf(member(object, "Answer") ?? null);
      const [items, edges] = isGraph(value) ? [listOf(value, "Nodes"), listOf(value, "Edges")] : [asList(value), []];
      return { kind: textOf(object, "Kind"), items, edges, error: "", offset: undefined };
    }
    case "Changes": {
      const [items, edges] = [[...answer.items], [...answer.edges]];
      for (const change of listOf(object, "Changes")) {
        applyChange(textOf(change, "List") === "Edges" ? edges : items, change);
      }
      return { ...answer, items, edges, error: "", offset: undefined };
    }
    case "Failed":
    case "Error": {
      const offset = member(object, "Offset");
      const error = textOf(object, "Error") || "The query failed.";
      return { ...answer, error, offset: typeof offset === "number" ? offset : undefined };
    }
    default:
      return answer;
  }
}

function applyChange(list: Json[], change: Json): void {
  const item = member(change, "Item") ?? null;
  const at = numberOf(change, "At");
  switch (textOf(change, "Change")) {
    case "Entered":
      list.splice(at, 0, item);
      break;
    case "Changed":
      list.splice(numberOf(change, "From"), 1);
      list.splice(at, 0, item);
      break;
    case "Left":
      list.splice(at, 1);
      break;
  }
}

/** Returns the graph of a list of one graph; any other value as it is. */
export function graphOf(value: Json): Json {
  const [only] = Array.isArray(value) && value.length === 1 ? value : [];
  return only !== undefined && isGraph(only) ? only : value;
}

function isGraph(value: Json): value is JsonObject {
  return isObject(value) && Object.hasOwn(value, "Nodes");
}

function asList(value: Json): Json[] {
  return Array.isArray(value) ? value : [value];
}

export const NO_ANSWER: LiveAnswer = { kind: "", items: [], edges: [], error: "", offset: undefined };

/** Returns the state of a query that was answered by a request. */
export function answerOf(value: Json): LiveAnswer {
  const shown = graphOf(value);
  const [items, edges] = isGraph(shown) ? [listOf(shown, "Nodes"), listOf(shown, "Edges")] : [asList(shown), []];
  return { ...NO_ANSWER, kind: isGraph(shown) ? "graph" : kindOf(shown), items, edges };
}

/** Returns the state of a query whose request failed. */
export function failureOf(error: unknown): LiveAnswer {
  const text = errorText(error);
  return { ...NO_ANSWER, error: text, offset: errorOffset(text) };
}

/** Returns the kind of an answer from its first item. */
function kindOf(value: Json): string {
  const first = Array.isArray(value) ? value[0] : value;
  if (Array.isArray(first)) {
    return "paths";
  }
  if (!isObject(first)) {
    return Array.isArray(value) ? "values" : "number";
  }
  if (Object.hasOwn(first, "TrackingID")) {
    return "flows";
  }
  if (!Object.hasOwn(first, "ID")) {
    return "values";
  }
  return Object.hasOwn(first, "Parent") ? "edges" : "nodes";
}

interface Watched {
  gremlin: string;
  /** Time between two runs if the query reads flows, in milliseconds. */
  interval: number | undefined;
  answer: LiveAnswer;
  update: (answer: LiveAnswer) => void;
}

/** The live queries of a connection. */
export class LiveQueries {
  readonly #watched = new Map<string, Watched>();
  #next = 1;

  constructor(readonly send: (type: string, uuid: string, object: unknown) => void) {}

  /** Starts a query and calls `update` with each new answer. Returns a function that ends it. */
  watch(gremlin: string, update: (answer: LiveAnswer) => void, interval?: number): () => void {
    const uuid = `live-${this.#next}`;
    this.#next += 1;
    const watched = { gremlin, interval, answer: NO_ANSWER, update };
    this.#watched.set(uuid, watched);
    this.#start(uuid, watched);
    return () => {
      if (this.#watched.delete(uuid)) {
        this.send("Cancel", uuid, null);
      }
    };
  }

  /** Starts all queries again on a new connection. */
  restart(): void {
    this.#watched.forEach((watched, uuid) => this.#start(uuid, watched));
  }

  #start(uuid: string, { gremlin, interval }: Watched): void {
    this.send("Query", uuid, { GremlinQuery: gremlin, ...(interval && { Interval: interval }) });
  }

  /** Runs all queries once by requests, without a connection. */
  async poll(query: (gremlin: string) => Promise<Json>): Promise<void> {
    for (const watched of [...this.#watched.values()]) {
      watched.answer = await query(watched.gremlin).then(answerOf).catch(failureOf);
      watched.update(watched.answer);
    }
  }

  /** Applies the messages of a batch; each query is updated once. */
  receive(messages: Message[]): void {
    const changed = new Set<Watched>();
    for (const message of messages) {
      const watched = this.#watched.get(message.uuid);
      if (watched) {
        watched.answer = applyLive(watched.answer, message);
        changed.add(watched);
      }
    }
    changed.forEach(({ update, answer }) => update(answer));
  }
}
