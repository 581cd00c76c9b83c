// Traffic of the interfaces whose metrics are shown: a window of rates per interface, filled from the
// daemon's history when it is opened and continued from graph events.

import { signal } from "@preact/signals";
import type { GraphNode } from "../graph/model.ts";
import { atTime, nodeQuery } from "../net/gremlin.ts";
import { query } from "../net/rest.ts";
import { asArray, isObject, listOf, member } from "../parts/json.ts";
import { type Point, append, rest } from "./metrics_series.ts";
import { pastTime } from "./view.ts";

/** Length of the shown window. */
export const WINDOW_MS = 10 * 60_000;
/** Most interfaces whose rates are stored. */
const MAX_SERIES = 32;

const series = new Map<string, Point[]>();
/** Incremented when rates arrive from the history. */
const loaded = signal(0);

/** Returns the rates of an interface up to a time, with zeros while it rests. */
export function seriesOf(node: GraphNode, until: number): Point[] {
  loaded.value;
  const end = pastTime.value ?? until;
  const key = `${node.tid}@${pastTime.value ?? ""}`;
  let points = series.get(key);
  if (!points) {
    points = [];
    series.set(key, points);
    if (series.size > MAX_SERIES) {
      const [oldest] = series.keys();
      oldest !== undefined && series.delete(oldest);
    }
    void load(node, key, end);
  }
  if (pastTime.value === null) {
    append(points, member(node.metadata, "LastUpdateMetric"));
    rest(points, until);
  }
  const start = end - WINDOW_MS;
  while (points[0] && points[0].time < start) {
    points.shift();
  }
  return points;
}

/** Reads the window from the daemon's history; without history, the window stays empty. */
async function load(node: GraphNode, key: string, end: number): Promise<void> {
  const gremlin = atTime(`${nodeQuery(node)}.Metrics()`, end).replace(/At\((\d+)\)/, `At($1, ${WINDOW_MS / 1000})`);
  const answer = await query(gremlin).catch(() => null);
  const past: Point[] = [];
  for (const byNode of asArray(answer)) {
    const lists = isObject(byNode) ? Object.keys(byNode).map((id) => listOf(byNode, id)) : [];
    for (const metric of lists.flat()) {
      append(past, metric);
    }
  }
  const current = series.get(key) ?? [];
  const first = current[0]?.time ?? Number.POSITIVE_INFINITY;
  current.unshift(...past.filter((point) => point.time < first));
  loaded.value += 1;
}
