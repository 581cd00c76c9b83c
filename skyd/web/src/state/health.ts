// Status of the daemon: losses, probes, how far history reaches, and who the user is.

import { computed, signal } from "@preact/signals";
import { RequestError, errorText, json, needsLogin } from "../net/rest.ts";
import { type Json, listOf, member, membersOf, numberOf, textOf, valueAt } from "../parts/json.ts";
import { type Loss, lossesOf } from "./losses.ts";
import { connection, contentVersion, dropConnection, eventsSkipped, model } from "./session.ts";

/** Name of the daemon's host. */
export const host = signal("");
/** Version of the daemon when the page was loaded, and now. */
export const loadedVersion = signal("");
export const version = signal("");
/** Newest status; `null` before the first one. */
export const status = signal<Json>(null);

/** Why the newest status could not be read; empty if it was. */
export const statusError = signal("");

const INTERVAL_MS = 5000;
const HIDDEN_INTERVAL_MS = 15_000;
/** A daemon that does not answer within this time counts as unreachable. */
const TIMEOUT_MS = 4000;

/** Reads the status regularly. */
export function startHealth(): void {
  const next = async () => {
    await readStatus();
    setTimeout(next, document.visibilityState === "visible" ? INTERVAL_MS : HIDDEN_INTERVAL_MS);
  };
  void next();
}

/** Reads the status once. */
export async function readStatus(): Promise<void> {
  if (needsLogin.value) {
    return;
  }
  try {
    const root = await json("GET", "/api", undefined, TIMEOUT_MS);
    host.value = textOf(root, "Host");
    version.value = textOf(root, "Version");
    loadedVersion.value ||= version.value;
    status.value = await json("GET", "/api/status", undefined, TIMEOUT_MS);
    statusError.value = "";
  } catch (error) {
    statusError.value = errorText(error);
    const isUnreachable = error instanceof RequestError && error.status === 0;
    if (isUnreachable && !needsLogin.value && connection.value !== "connecting") {
      dropConnection();
    }
  }
}

/** Name and count of each kind of loss. */
export const losses = computed<Loss[]>(() => {
  contentVersion.value;
  return lossesOf(status.value ?? undefined, model.nodes.values(), eventsSkipped.value);
});

export interface Probe {
  name: string;
  state: string;
  error: string;
}

/** Probes and their states. */
export const probes = computed<Probe[]>(() => {
  return membersOf(status.value ?? undefined, "Probes").map(([name, probe]) => ({
    name,
    state: textOf(probe, "Status"),
    error: textOf(probe, "Error") || textOf(probe, "Message"),
  }));
});

export interface Agent {
  name: string;
  address: string;
  /** ISO 8601; empty if the daemon reports none. */
  since: string;
  isConnected: boolean;
  /** Whether it did not answer its last flow query. */
  isSilent: boolean;
}

/** Connected agents and other analyzers. */
export const agents = computed<Agent[]>(() => {
  const all = status.value ?? undefined;
  const silent = listOf(all, "AgentsSilent");
  const peers = member(all, "Peers");
  const clients = [...membersOf(all, "Agents"), ...membersOf(peers, "Incomers"), ...membersOf(peers, "Outgoers")];
  return clients.map(([name, client]) => ({
    name: textOf(client, "RemoteHost") || name,
    address: `${textOf(client, "Addr")}:${numberOf(client, "Port")}`,
    since: textOf(client, "ConnectTime"),
    isConnected: member(client, "IsConnected") === true,
    isSilent: silent.includes(name),
  }));
});

/** Errors of stores and sockets, with what has them. */
export const faults = computed<[string, string][]>(() => {
  const all = status.value ?? undefined;
  const found: [string, string][] = [
    ["Status of the daemon", statusError.value],
    ["Store of captures, alerts, and rules", textOf(member(all, "Store"), "Error")],
    ["Flows of agents", textOf(member(all, "FlowIngestion"), "Error")],
    ["History on the local disk", textOf(member(all, "History"), "Error")],
  ];
  for (const collector of listOf(all, "Collectors")) {
    found.push([`Collector on ${textOf(collector, "Listen")}`, textOf(collector, "Error")]);
  }
  for (const [key, wanted] of membersOf(all, "BackendsReplacedByLocal")) {
    found.push([key, `“${String(wanted)}” is not available; the history is on the local disk`]);
  }
  return found.filter(([, text]) => text !== "");
});

/** Number of problems: losses, probes that do not run, agents that do not answer, and errors. */
export const problems = computed(() => {
  const lost = losses.value.filter(([, count]) => count > 0).length;
  const stopped = probes.value.filter((probe) => probe.state !== "running").length;
  const away = agents.value.filter((agent) => !agent.isConnected || agent.isSilent).length;
  return lost + stopped + away + faults.value.length;
});

/** Oldest moment of the topology's history, in Unix milliseconds; `undefined` without history. */
export const oldest = computed<number | undefined>(() => {
  const time = numberOf(valueAt(status.value ?? undefined, "History.Topology"), "Oldest");
  return time > 0 ? time : undefined;
});
