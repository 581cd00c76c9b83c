// Fields of a flow record. Pure.

import { type Json, member, numberOf, textOf } from "../parts/json.ts";
import { label } from "../parts/names.ts";

/** Row of the flow table. */
export interface FlowRow {
  uuid: string;
  a: string;
  b: string;
  protocol: string;
  application: string;
  /** Bytes per second in both directions, in the newest update; 0 if the flow rests. */
  rate: number;
  bytes: number;
  packets: number;
  /** Round-trip time, in nanoseconds; 0 if unknown. */
  rtt: number;
  start: number;
  last: number;
  /** Bytes from A to B, and back. */
  sent: number;
  received: number;
  layers: string;
  /** Stable id of the node on which the flow was captured. */
  node: string;
  /** Lower-case text that a filter looks through. */
  text: string;
  record: Json;
}

/** Returns an end of a flow: `192.0.2.1:53`, `[2001:db8::1]:53`, or its link-layer address. */
export function flowEnd(flow: Json, end: "A" | "B"): string {
  const address = textOf(member(flow, "Network"), end);
  const port = numberOf(member(flow, "Transport"), end);
  if (address === "") {
    return label(textOf(member(flow, "Link"), end), 60) || "–";
  }
  const host = label(address, 60);
  return port === 0 ? host : host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Returns the name of a flow: both ends. */
export function flowName(flow: Json): string {
  return `${flowEnd(flow, "A")} – ${flowEnd(flow, "B")}`;
}

/** Returns the innermost protocol that addresses the flow: `UDP`, `ICMPV4`, `ARP`. */
export function flowProtocol(flow: Json): string {
  const transport = textOf(member(flow, "Transport"), "Protocol");
  if (transport !== "") {
    return label(transport, 20);
  }
  const layers = textOf(flow, "LayersPath").split("/");
  return label(layers.at(-1) ?? "", 30);
}

/** A flow without an update for longer than this many of its own update intervals rests. */
const RESTING_INTERVALS = 2.5;
const SHORTEST_INTERVAL_MS = 1000;

/** Returns the bytes per second of the newest update. */
export function flowRate(flow: Json, now: number): number {
  const metric = member(flow, "LastUpdateMetric");
  const [start, last] = [numberOf(metric, "Start"), numberOf(metric, "Last")];
  const interval = Math.max(last - start, SHORTEST_INTERVAL_MS);
  if (last === 0 || now - last > Math.max(RESTING_INTERVALS * interval, 10_000)) {
    return 0;
  }
  return ((numberOf(metric, "ABBytes") + numberOf(metric, "BABytes")) * 1000) / interval;
}

/** Returns the row of a flow. */
export function flowRow(flow: Json, now: number): FlowRow {
  const metric = member(flow, "Metric");
  const row = {
    uuid: textOf(flow, "UUID"),
    a: flowEnd(flow, "A"),
    b: flowEnd(flow, "B"),
    protocol: flowProtocol(flow),
    application: label(textOf(flow, "Application"), 40),
    rate: flowRate(flow, now),
    bytes: numberOf(metric, "ABBytes") + numberOf(metric, "BABytes"),
    packets: numberOf(metric, "ABPackets") + numberOf(metric, "BAPackets"),
    rtt: numberOf(metric, "RTT"),
    start: numberOf(flow, "Start"),
    last: numberOf(flow, "Last"),
    sent: numberOf(metric, "ABBytes"),
    received: numberOf(metric, "BABytes"),
    layers: label(textOf(flow, "LayersPath"), 80),
    node: label(textOf(flow, "NodeTID"), 60),
    record: flow,
  };
  const text = [row.a, row.b, row.protocol, row.application, textOf(flow, "LayersPath"), row.uuid];
  return { ...row, text: text.join(" ").toLowerCase() };
}

export type FlowColumn = Exclude<keyof FlowRow, "uuid" | "text" | "record">;

/** Counters of one direction of a flow. */
export interface Direction {
  from: string;
  to: string;
  packets: number;
  bytes: number;
  /** Bytes per second in the newest update. */
  rate: number;
}

/** Returns the counters of both directions of a flow. */
export function flowDirections(flow: Json, now: number): Direction[] {
  const [total, update] = [member(flow, "Metric"), member(flow, "LastUpdateMetric")];
  const both = numberOf(update, "ABBytes") + numberOf(update, "BABytes");
  const rate = flowRate(flow, now);
  const direction = (from: "A" | "B", to: "A" | "B"): Direction => ({
    from: flowEnd(flow, from),
    to: flowEnd(flow, to),
    packets: numberOf(total, `${from}${to}Packets`),
    bytes: numberOf(total, `${from}${to}Bytes`),
    rate: both === 0 ? 0 : (rate * numberOf(update, `${from}${to}Bytes`)) / both,
  });
  return [direction("A", "B"), direction("B", "A")];
}

/** Returns rows that contain each word of a filter, sorted by a column. */
export function arrangeFlows(rows: FlowRow[], filter: string, column: FlowColumn, isDescending: boolean): FlowRow[] {
  const words = filter
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== "");
  const shown = rows.filter((row) => words.every((word) => row.text.includes(word)));
  const sign = isDescending ? -1 : 1;
  return shown.sort((x, y) => {
    const [a, b] = [x[column], y[column]];
    const order =
      typeof a === "number" && typeof b === "number"
        ? a - b
        : String(a).localeCompare(String(b), "en", { numeric: true });
    return sign * order || (x.uuid < y.uuid ? -1 : 1);
  });
}
