// Rates of an interface over time, from the counters of its intervals. Pure.

import { type Json, numberOf } from "../parts/json.ts";

/** Rates per second at a time. */
export interface Point {
  /** Unix milliseconds. */
  time: number;
  rxBytes: number;
  txBytes: number;
  rxPackets: number;
  txPackets: number;
  errors: number;
  drops: number;
}

/** Adds the rates of an interval if it is new; zeros before it if the interface rested. */
export function append(points: Point[], metric: Json | undefined): void {
  const [start, end] = [numberOf(metric, "Start"), numberOf(metric, "Last")];
  const last = points.at(-1);
  if (end === 0 || end <= start || (last && end <= last.time)) {
    return;
  }
  const perSecond = (...keys: string[]) =>
    (keys.reduce((sum, key) => sum + numberOf(metric, key), 0) * 1000) / (end - start);
  if (!last || start - last.time > end - start) {
    points.push(zero(start));
  }
  points.push({
    time: end,
    rxBytes: perSecond("RxBytes"),
    txBytes: perSecond("TxBytes"),
    rxPackets: perSecond("RxPackets"),
    txPackets: perSecond("TxPackets"),
    errors: perSecond("RxErrors", "TxErrors"),
    drops: perSecond("RxDropped", "TxDropped"),
  });
}

/** Shortest and longest interval after which an interface without news counts as resting. */
const [SHORTEST_REST_MS, LONGEST_REST_MS] = [2500, 65_000];

/** Adds zeros if the newest interval is older than two of its lengths: an interface at rest sends no
 * news. */
export function rest(points: Point[], until: number): void {
  const last = points.at(-1);
  if (!last) {
    return;
  }
  const interval = last.time - (points.at(-2)?.time ?? last.time - 1000);
  const limit = Math.min(Math.max(2 * interval, SHORTEST_REST_MS), LONGEST_REST_MS);
  const isZero = last.rxBytes + last.txBytes + last.rxPackets + last.txPackets + last.errors + last.drops === 0;
  if (!isZero && until - last.time > limit) {
    points.push(zero(last.time + 1), zero(until));
  } else if (isZero && points.at(-2)?.rxBytes === 0 && points.at(-2)?.txBytes === 0) {
    last.time = Math.max(last.time, until);
  }
}

function zero(time: number): Point {
  return { time, rxBytes: 0, txBytes: 0, rxPackets: 0, txPackets: 0, errors: 0, drops: 0 };
}
