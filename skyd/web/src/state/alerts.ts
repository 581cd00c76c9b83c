// Alerts that were reported while the page is open.

import { signal } from "@preact/signals";
import { resultText } from "../graph/result_text.ts";
import { json } from "../net/rest.ts";
import { type Json, isObject, member, textOf } from "../parts/json.ts";
import { label } from "../parts/names.ts";
import { alertCounts } from "./marks.ts";
import { notify } from "./notices.ts";
import { listen } from "./session.ts";

export interface Firing {
  time: number;
  name: string;
  /** Result of the expression: names of nodes, or JSON. */
  reason: string;
}

const MAX_FIRINGS = 200;

/** Reported alerts, newest first. */
export const firings = signal<Firing[]>([]);

/** Collects reported alerts, and shows a notice for each. */
export function followAlerts(): void {
  listen("Alert", async (message) => {
    const object = message.object as Json | undefined;
    const uuid = textOf(object, "UUID");
    const alert = await json("GET", `/api/alert/${encodeURIComponent(uuid)}`).catch(() => undefined);
    const name = textOf(alert, "Name") || uuid.slice(0, 8);
    const reason = resultText(member(object, "ReasonData") ?? null);
    countAlert(member(object, "ReasonData"));
    firings.value = [{ time: Date.now(), name, reason }, ...firings.value].slice(0, MAX_FIRINGS);
    notify(`Alert: ${label(name, 80)}`);
  });
}

/** Counts an alert on the nodes that it names: those of its result. */
function countAlert(reason: Json | undefined): void {
  const nodes = Array.isArray(reason) ? reason : [];
  const ids = nodes.filter((node) => isObject(member(node, "Metadata"))).map((node) => textOf(node, "ID"));
  if (ids.length > 0) {
    const counts = new Map(alertCounts.value);
    ids.forEach((id) => counts.set(id, (counts.get(id) ?? 0) + 1));
    alertCounts.value = counts;
  }
}
