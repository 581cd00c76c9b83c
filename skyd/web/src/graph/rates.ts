// How much traffic links carry: from the counters of the interfaces at their ends. Pure.

import { member, numberOf } from "../parts/json.ts";
import type { GraphNode } from "./model.ts";
import type { Link } from "./scene.ts";

/** Traffic of a link. */
export interface LinkRate {
  /** Bytes per second in both directions. */
  bytes: number;
  /** Steps of width that it reaches, 0 to 3. */
  step: number;
}

/** Limits of the steps, from `ui.bandwidth_*` of the configuration. */
export interface Thresholds {
  /** Whether limits are fractions of the interface's speed; otherwise kilobits per second. */
  isRelative: boolean;
  limits: readonly [number, number, number];
}

export const DEFAULT_THRESHOLDS: Thresholds = { isRelative: false, limits: [1, 100, 1000] };

/** Shortest and longest age of counters after which an interface counts as resting, in milliseconds. */
const [SHORTEST_REST_MS, LONGEST_REST_MS] = [2500, 65_000];

/** Returns the bytes per second of an interface in both directions; 0 if it rests: it sends no news
 * then. */
export function nodeRate(node: GraphNode, now: number): number {
  const metric = member(node.metadata, "LastUpdateMetric");
  const [start, last] = [numberOf(metric, "Start"), numberOf(metric, "Last")];
  const interval = last - start;
  if (interval <= 0 || now - last > Math.min(Math.max(2 * interval, SHORTEST_REST_MS), LONGEST_REST_MS)) {
    return 0;
  }
  return ((numberOf(metric, "RxBytes") + numberOf(metric, "TxBytes")) * 1000) / interval;
}

/** Returns the traffic of the links that carry some, by link id. A link between closed boxes carries the
 * sum of what it stands for. */
export function linkRates(links: readonly Link[], now: number, thresholds: Thresholds): Map<string, LinkRate> {
  const found = new Map<string, LinkRate>();
  for (const link of links) {
    let [bytes, speed] = [0, 0];
    for (const carrier of link.carriers) {
      bytes += nodeRate(carrier, now);
      speed += Math.max(numberOf(carrier.metadata, "Speed"), 0);
    }
    if (bytes > 0) {
      found.set(link.id, { bytes, step: stepOf(bytes, speed, thresholds) });
    }
  }
  return found;
}

/** Returns how many limits a rate reaches; `speed` is in megabits per second, 0 if unknown. */
function stepOf(bytes: number, speed: number, { isRelative, limits }: Thresholds): number {
  const bits = bytes * 8;
  const value = isRelative && speed > 0 ? bits / (speed * 1e6) : bits / 1000;
  const used = isRelative && speed === 0 ? DEFAULT_THRESHOLDS.limits : limits;
  return used.filter((limit) => value >= limit).length;
}
