// Lost data: every counter of the daemon's status, of the captures, and of the page. Pure.

import { allCaptures } from "../graph/capture.ts";
import { type GraphNode, droppedBy } from "../graph/model.ts";
import { type Json, listOf, member, membersOf, numberOf, valueAt } from "../parts/json.ts";

/** Name of a kind of loss on the page, and its count. */
export type Loss = [string, number];

/** Paths of counters in the status by their name on the page; a loss with several is their sum. */
const COUNTERS: [string, string[]][] = [
  ["Flow messages refused", ["FlowIngestion.Refused"]],
  ["Flow datagrams dropped by the kernel", ["FlowIngestion.DroppedByKernel"]],
  ["Flows dropped", ["Queues.FlowsDropped"]],
  ["Flow tables silent", ["Queues.FlowTablesSilent"]],
  ["Packets too late for their flows", ["FlowTables.LatePackets"]],
  ["Requests without a measured round-trip time", ["FlowTables.RequestsUnmeasured"]],
  ["TCP streams cut", ["FlowTables.StreamsCut"]],
  ["Messages of application protocols dropped", ["FlowTables.MessagesDropped"]],
  ["Details of flows dropped", ["FlowTables.DetailsDropped"]],
  ["Messages dropped", ["Queues.MessagesDropped"]],
  ["Graph subscribers cut off", ["Queues.GraphSubscribersCutOff"]],
  ["Flow subscribers cut off", ["Queues.FlowSubscribersCutOff"]],
  ["Connections refused", ["Queues.ConnectionsRefused"]],
  ["Uploads refused", ["Queues.UploadsRefused"]],
  ["Requests refused for memory", ["Memory.Refused"]],
  ["Live queries overrun", ["Live.Overruns"]],
  ["Requests to agents dropped", ["Queues.AgentRequestsDropped"]],
  ["Flow queries that agents did not answer", ["Queues.AgentQueriesUnanswered"]],
  ["Invalid answers of agents", ["Queues.AgentAnswersInvalid"]],
  ["Events lost by rules", ["Automation.RuleOverruns"]],
  ["Rules suspended", ["Automation.RuleSuspensions"]],
  ["Rules failed", ["Automation.RuleFailures"]],
  ["Evaluations of alerts failed", ["Automation.AlertFailures"]],
  ["Messages of alerts dropped", ["Automation.ActionsDropped"]],
  ["Messages of alerts failed", ["Automation.ActionsFailed"]],
  ["Damaged files of the history", ["History.Flows.Damaged"]],
  ["Bytes of the flow history lost", ["History.Flows.LostLogBytes"]],
  ["Bytes of the topology history lost", ["History.Disk.Graph.LostLogBytes"]],
  ["Rows of the flow history lost", droppedRows("Flow")],
  ["Rows of the topology history lost", droppedRows("Graph")],
  ["Failed writes of the history", ["History.Disk.Flow.Failures", "History.Disk.Graph.Failures"]],
  ["History evicted early", ["History.Topology.Evicted", "History.Flows.Evicted"]],
];

/** Returns the counters of rows that left the history for other reasons than its limits. */
function droppedRows(table: string): string[] {
  return ["disk", "slow", "damage"].map((reason) => `History.Disk.${table}.Dropped.${reason}`);
}

/** Counters of a collector of flow exports that mean lost data. */
const COLLECTOR_COUNTERS = [
  "ReceiveFailures",
  "NotAllowed",
  "DroppedByKernel",
  "Cut",
  "UnknownFormat",
  "Malformed",
  "Lost",
  "UnreadableSets",
  "FlowsEvicted",
];

/** Returns all kinds of losses, also those with the count 0. */
export function lossesOf(status: Json | undefined, nodes: Iterable<GraphNode>, eventsSkipped: number): Loss[] {
  const counted = COUNTERS.map(([name, paths]): Loss => [name, sum(paths, (path) => countAt(status, path))]);
  const collectors = sum(listOf(status, "Collectors"), (collector) =>
    sum(COLLECTOR_COUNTERS, (key) => numberOf(collector, key)),
  );
  const ofCaptures = { dropped: 0, errors: 0, skipped: 0 };
  for (const capture of allCaptures(nodes)) {
    ofCaptures.dropped += droppedBy(capture);
    ofCaptures.errors += numberOf(capture, "TargetErrors");
    ofCaptures.skipped += numberOf(capture, "TargetSkipped");
  }
  const recorders = membersOf(status, "SPP");
  return [
    ...counted,
    ["Flow exports lost by collectors", collectors],
    ["Packets dropped by captures", ofCaptures.dropped],
    ["Datagrams that captures could not send", ofCaptures.errors],
    ["Flows that NetFlow 5 cannot express", ofCaptures.skipped],
    [
      "Packets dropped by SPP recorders",
      sum(recorders, ([, recorder]) => numberOf(member(recorder, "totals"), "drop")),
    ],
    ["Events skipped by this page", eventsSkipped],
  ];
}

function countAt(status: Json | undefined, path: string): number {
  const value = valueAt(status, path);
  return typeof value === "number" ? value : 0;
}

function sum<T>(items: readonly T[], count: (item: T) => number): number {
  return items.reduce((total, item) => total + count(item), 0);
}
