// Status of the daemon: losses, probes, how far history reaches, and who the user is.

import { droppedBy } from "../graph/model.ts";
import { computed, signal } from "@preact/signals";
import { json, needsLogin } from "../net/rest.ts";
import { type Json, isObject, listOf, member, numberOf, textOf, valueAt } from "../parts/json.ts";
import { connection, contentVersion, dropConnection, eventsSkipped, model } from "./session.ts";

/** Name of the daemon's host. */
export const host = signal("");
/** Version of the daemon when the page was loaded, and now. */
export const loadedVersion = signal("");
export const version = signal("");
/** Newest status; `null` before the first one. */
export const status = signal<Json>(null);

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
  } catch {
    if (!needsLogin.value && connection.value !== "connecting") {
      dropConnection();
    }
  }
}

/** Counters of lost data: their name on the page and their path in the status. */
const LOSSES: [string, string][] = [
  ["Flow messages refused", "FlowIngestion.Refused"],
  ["Flow datagrams dropped by the kernel", "FlowIngestion.DroppedByKernel"],
  ["Flows dropped", "Queues.FlowsDropped"],
  ["Flow tables silent", "Queues.FlowTablesSilent"],
  ["Messages dropped", "Queues.MessagesDropped"],
  ["Graph subscribers cut off", "Queues.GraphSubscribersCutOff"],
  ["Flow subscribers cut off", "Queues.FlowSubscribersCutOff"],
  ["Connections refused", "Queues.ConnectionsRefused"],
  ["Uploads refused", "Queues.UploadsRefused"],
  ["Requests refused for memory", "Queues.IncomingRefused"],
  ["Live queries overrun", "Live.Overruns"],
];

/** Name and count of each kind of loss. */
export const losses = computed<[string, number][]>(() => {
  contentVersion.value;
  const counted = LOSSES.map(([name, path]): [string, number] => {
    const value = valueAt(status.value ?? undefined, path);
    return [name, typeof value === "number" ? value : 0];
  });
  const evicted = ["Topology", "Flows"].map((store) =>
    numberOf(valueAt(status.value ?? undefined, `History.${store}`), "Evicted"),
  );
  const early = evicted.reduce((sum, count) => sum + count, 0);
  return [
    ...counted,
    ["History evicted early", early],
    ["Packets dropped by captures", capturedDrops()],
    ["Events skipped by this page", eventsSkipped.value],
  ];
});

function capturedDrops(): number {
  let sum = 0;
  for (const node of model.nodes.values()) {
    if (node.isCaptured) {
      for (const capture of listOf(node.metadata, "Captures")) {
        sum += droppedBy(capture);
      }
    }
  }
  return sum;
}

export interface Probe {
  name: string;
  state: string;
  error: string;
}

/** Probes and their states. */
export const probes = computed<Probe[]>(() => {
  const found = member(status.value ?? undefined, "Probes");
  const entries = isObject(found) ? Object.entries(found) : [];
  return entries.map(([name, probe]) => ({
    name,
    state: textOf(probe, "Status"),
    error: textOf(probe, "Error") || textOf(probe, "Message"),
  }));
});

/** Number of problems: losses, and probes that do not run. */
export const problems = computed(() => {
  const lost = losses.value.filter(([, count]) => count > 0).length;
  return lost + probes.value.filter((probe) => probe.state !== "running").length;
});

/** Oldest moment of the topology's history, in Unix milliseconds; `undefined` without history. */
export const oldest = computed<number | undefined>(() => {
  const time = numberOf(valueAt(status.value ?? undefined, "History.Topology"), "Oldest");
  return time > 0 ? time : undefined;
});
