// Flows added up by what they have in common: who talks to whom. Pure.

import { type Json, type JsonObject, isObject, numberOf } from "../parts/json.ts";
import { label } from "../parts/names.ts";
import { isGremlin } from "../net/gremlin.ts";

/** A way to group flows. */
export interface Grouping {
  /** Name in addresses. */
  id: string;
  title: string;
  /** Keys of the step `GroupBy` with their titles. */
  keys: [string, string][];
  /** Whether the text filter of the flow table finds the flows of a group by the values of its keys. */
  isFilter: boolean;
}

export const GROUPINGS: Grouping[] = [
  group("pairs", "Address pairs", true, ["Network.A", "A"], ["Network.B", "B"]),
  group("addresses", "Addresses", true, ["Network", "Address"]),
  group("applications", "Applications", true, ["Application", "Application"]),
  group("ports", "Server ports", false, ["Port", "Port"]),
  group("networks", "Networks /24", false, ["Network.A/24", "A"], ["Network.B/24", "B"]),
  group("namespaces", "Namespaces", false, ["Namespace.A", "A"], ["Namespace.B", "B"]),
  group("containers", "Containers", false, ["Container.A", "A"], ["Container.B", "B"]),
  group("hosts", "Hosts", false, ["Host.A", "A"], ["Host.B", "B"]),
  group("interfaces", "Captured interfaces", false, ["Node", "Interface"]),
];

function group(id: string, title: string, isFilter: boolean, ...keys: [string, string][]): Grouping {
  return { id, title, keys, isFilter };
}

/** Columns of numbers, with their titles. */
export const MEASURES = [
  ["Bytes", "Bytes"],
  ["Bytes/s", "Rate"],
  ["Packets", "Packets"],
  ["Connections", "Connections"],
] as const;
export type Measure = (typeof MEASURES)[number][0];

/** Most groups that are shown. */
const MAX_GROUPS = 200;

export interface GroupRow {
  /** Values of the keys. */
  values: string[];
  numbers: Record<Measure, number>;
}

/** Returns the query of the largest groups.
 *
 * `filter` is the text of the flow table's filter: a query of flows, or words, which groups ignore.
 * `seconds` before `time` (`null`: now) are counted; with 0, the flows that are open then. */
export function groupQuery(
  grouping: Grouping,
  filter: string,
  order: Measure,
  seconds: number,
  time: number | null,
): string {
  const flows = isGremlin(filter) ? filter.trim() : "G.Flows()";
  const at = time === null ? "NOW" : String(Math.round(time));
  const isPast = seconds > 0 || time !== null;
  const source = isPast ? `G.At(${at}${seconds > 0 ? `, ${seconds}` : ""})` : "G";
  const keys = grouping.keys.map(([key]) => `'${key}'`).join(", ");
  const steps = `GroupBy(${keys}).Sum('Bytes', 'Packets').Rate('Bytes').Sort(DESC, '${order}').Limit(${MAX_GROUPS})`;
  return `${flows.replace(/^[Gg]\b/, source)}.${steps}`;
}

/** Returns the rows of an answer; skips what is not a group. */
export function groupRows(grouping: Grouping, answer: Json[]): GroupRow[] {
  return answer.filter(isObject).map((item) => ({
    values: grouping.keys.map(([key]) => valueOf(item, key)),
    numbers: {
      Bytes: numberOf(item, "Bytes"),
      "Bytes/s": numberOf(item, "Bytes/s"),
      Packets: numberOf(item, "Packets"),
      Connections: numberOf(item, "Connections"),
    },
  }));
}

function valueOf(item: JsonObject, key: string): string {
  const value = item[key];
  return value === null || value === undefined || value === "" ? "–" : label(String(value), 80);
}
