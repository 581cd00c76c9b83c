// The connection to the daemon and the graph that it fills.
//
// The model is one mutable object; `structureVersion` and `contentVersion` signal its changes, at most
// 20 times per second.

import { batch, effect, signal } from "@preact/signals";
import { GraphModel } from "../graph/model.ts";
import { atTime } from "../net/gremlin.ts";
import { LiveQueries, graphOf } from "../net/live.ts";
import { Polling } from "../net/polling.ts";
import { needsLogin, query } from "../net/rest.ts";
import { LiveSocket, type Message } from "../net/socket.ts";
import type { Json } from "../parts/json.ts";
import { initBranches } from "./branches.ts";
import { markChanges, shownByKey } from "./marks.ts";
import { graphFilter, pastTime, savedGraph } from "./view.ts";

export type Connection = "connecting" | "live" | "past" | "saved" | "lost";

export const model = new GraphModel();
/** Incremented when nodes, edges, names, types, states, or capture marks change. */
export const structureVersion = signal(0);
/** Incremented when any metadata changes. */
export const contentVersion = signal(0);
/** Number of the current connection's sync; 0 before the first graph. */
export const syncCount = signal(0);
export const connection = signal<Connection>("connecting");
/** Why the daemon cannot show a time in the past; empty if it can. */
export const timeError = signal("");
/** Events that this page discarded because too many waited. */
export const eventsSkipped = signal(0);

/** Handlers of messages of other namespaces. */
const listeners = new Map<string, Set<(message: Message) => void>>();

const NAMESPACES = ["Graph", "Live", "Alert", "OnDemandCaptureNotification", "OnDemandPacketInjectionNotification"];
const PATH = `/ws/subscriber?x-client-type=webui&x-update-policy=partial${NAMESPACES.map((name) => `&x-websocket-namespace=${name}`).join("")}`;

/** Number of the newest sync request; replies to older ones are ignored. */
let requested = 0;
/** Whether the model has the graph of the newest sync request. */
let isSynced = false;
let isFirstSync = true;

const socket = new LiveSocket(PATH, {
  opened: () => {
    polling.stop();
    requestGraph();
    liveQueries.restart();
  },
  received: (messages) => batch(() => receive(messages)),
  closed: (failures) => {
    isSynced = false;
    if (needsLogin.value || savedGraph.value !== null) {
      return;
    }
    if (failures >= FAILURES_BEFORE_POLLING) {
      void polling.start();
    } else {
      connection.value = "lost";
    }
  },
  overrun: (count) => {
    eventsSkipped.value += count;
    requestGraph();
    liveQueries.restart();
  },
});

export const liveQueries = new LiveQueries((type, uuid, object) => socket.send("Live", type, uuid, object));

/** Failures to open the socket after which requests are tried instead: a proxy may block it. */
const FAILURES_BEFORE_POLLING = 3;

/** Reads the graph by requests while the socket cannot be opened. */
const polling = new Polling(
  async () => {
    const shown = graphOf(await query(atTime(graphQuery(), pastTime.value)));
    batch(() => {
      resetModel(shown);
      connection.value = pastTime.value === null ? "live" : "past";
    });
    await liveQueries.poll(query);
  },
  () => {
    connection.value = "lost";
  },
);
export const isPolling = polling.isActive;

/** Connects to the daemon; requests another graph when the time or the filter of the view changes. */
export function startSession(): void {
  socket.open();
  let shown = [pastTime.value, graphFilter.value, savedGraph.value];
  effect(() => {
    const next = [pastTime.value, graphFilter.value, savedGraph.value];
    if (next.some((value, index) => value !== shown[index])) {
      shown = next;
      requestGraph();
      polling.isActive.peek() && void polling.start();
    }
  });
  effect(() => {
    if (needsLogin.value) {
      socket.close();
    }
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible" && connection.value === "lost") {
      socket.open();
    }
  });
}

/** Connects again at once, for example after a login. */
export function reconnect(): void {
  connection.value = "connecting";
  socket.open();
}

/** Ends the connection, for example after a logout. */
export function disconnect(): void {
  socket.close();
}

/** Treats the connection as lost: the daemon does not answer although the socket is open. */
export function dropConnection(): void {
  if (connection.value !== "lost") {
    socket.drop();
  }
}

/** Calls a function with each message of a namespace. Returns a function that ends it. */
export function listen(namespace: string, use: (message: Message) => void): () => void {
  const all = listeners.get(namespace) ?? new Set();
  listeners.set(namespace, all.add(use));
  return () => void all.delete(use);
}

/** Returns the query of the graph that the page shows. */
function graphQuery(): string {
  return graphFilter.value === "" ? "G" : `${graphFilter.value}.SubGraph()`;
}

function requestGraph(): void {
  isSynced = false;
  requested += 1;
  const filter = graphFilter.value === "" ? "" : graphQuery();
  const object =
    pastTime.value === null ? { GremlinFilter: filter } : { Time: Math.round(pastTime.value), GremlinFilter: filter };
  socket.send("Graph", "SyncRequest", `sync-${requested}`, object);
}

function receive(messages: Message[]): void {
  const changes = { structure: false, nodes: new Set<string>() };
  for (const message of messages) {
    if (message.namespace !== "Graph") {
      listeners.get(message.namespace)?.forEach((use) => use(message));
    } else if (message.type === "SyncReply") {
      synchronize(message);
    } else if (isSynced && pastTime.value === null && savedGraph.value === null) {
      model.apply(message.type, message.object as Json, changes);
    }
  }
  liveQueries.receive(messages.filter(({ namespace }) => namespace === "Live"));
  structureVersion.value += changes.structure ? 1 : 0;
  contentVersion.value += changes.structure || changes.nodes.size > 0 ? 1 : 0;
}

function synchronize(message: Message): void {
  if (message.uuid !== `sync-${requested}` || savedGraph.value !== null) {
    return;
  }
  if (message.status >= 400) {
    const text = typeof message.object === "string" ? message.object : "The daemon has no history of this time.";
    timeError.value = text;
    // The view that the daemon refuses is left; the change requests another graph.
    if (graphFilter.value !== "") {
      graphFilter.value = "";
    } else {
      pastTime.value = null;
    }
    return;
  }
  isSynced = true;
  const before = connection.value === "lost" ? shownByKey(model) : undefined;
  resetModel(message.object as Json);
  before && markChanges(before, model);
  connection.value = pastTime.value === null ? "live" : "past";
  timeError.value = pastTime.value === null ? timeError.value : "";
}

function resetModel(graph: Json): void {
  model.reset(graph);
  if (isFirstSync) {
    isFirstSync = false;
    initBranches(model);
  }
  syncCount.value += 1;
  structureVersion.value += 1;
  contentVersion.value += 1;
}

/** Shows a graph that is not the daemon's. */
export function showGraph(graph: Json): void {
  isSynced = false;
  resetModel(graph);
  initBranches(model);
  connection.value = "saved";
}
