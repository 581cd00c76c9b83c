// Traffic of the links that the graph shows.

import { computed, signal } from "@preact/signals";
import { DEFAULT_THRESHOLDS, type LinkRate, type Thresholds, linkRates } from "../graph/rates.ts";
import { now } from "../parts/clock.ts";
import { type Json, member, textOf } from "../parts/json.ts";
import { scene } from "./layout.ts";
import { pastTime, savedGraph } from "./view.ts";

const thresholds = signal<Thresholds>(DEFAULT_THRESHOLDS);

/** Sets the limits of the steps from the configuration; without it, the defaults remain. */
export function setThresholds(ui: Json): void {
  const kind = textOf(ui, "bandwidth_threshold") === "relative" ? "relative" : "absolute";
  const limit = (name: string, initial: number) => {
    const value = Number(member(ui, `bandwidth_${kind}_${name}`));
    return Number.isFinite(value) && value > 0 ? value : initial;
  };
  const [active, warning, alert] = kind === "relative" ? [0.1, 0.5, 0.8] : DEFAULT_THRESHOLDS.limits;
  thresholds.value = {
    isRelative: kind === "relative",
    limits: [limit("active", active), limit("warning", warning), limit("alert", alert)],
  };
}

const NONE: ReadonlyMap<string, LinkRate> = new Map();

/** Rates by link id, computed once a second; the same map while nothing carries traffic. In the past,
 * rates are those of that time. */
export const rates = computed<ReadonlyMap<string, LinkRate>>(() => {
  const time = savedGraph.value === null ? (pastTime.value ?? now.value) : Number.POSITIVE_INFINITY;
  const found = linkRates(scene.value.links, time, thresholds.value);
  return found.size === 0 ? NONE : found;
});
