// Comparison of the shown time with the present.

import { signal } from "@preact/signals";
import { json } from "../net/rest.ts";
import { type Json, isObject, listOf, member, textOf } from "../parts/json.ts";
import { compared, type Difference } from "./marks.ts";
import { model } from "./session.ts";

export interface Compared {
  id: string;
  /** Stable id, to select the node. */
  key: string;
  name: string;
  type: string;
  difference: Difference;
}

/** Differences of the present to the shown time; `undefined` without a comparison. */
export const comparison = signal<Compared[] | undefined>(undefined);

/** Members of metadata that change all the time. */
const VOLATILE = new Set(["Metric", "LastUpdateMetric", "Captures", "PacketInjections"]);

/** Compares the shown graph with the present one. Throws a `RequestError` if that cannot be read. */
export async function compareWithNow(): Promise<void> {
  const present = graphOf(await json("GET", "/api/topology"));
  const found: Compared[] = [];
  const known = new Set<string>();
  for (const node of listOf(present, "Nodes")) {
    const metadata = member(node, "Metadata");
    const [id, key] = [textOf(node, "ID"), textOf(metadata, "TID") || textOf(node, "ID")];
    known.add(id);
    const past = model.nodes.get(id);
    if (!past || stable(past.metadata) !== stable(metadata)) {
      const difference = past ? "changed" : "added";
      found.push({ id, key, name: textOf(metadata, "Name") || id, type: textOf(metadata, "Type"), difference });
    }
  }
  for (const node of model.nodes.values()) {
    if (!known.has(node.id)) {
      found.push({ id: node.id, key: node.tid, name: node.name, type: node.type, difference: "removed" });
    }
  }
  comparison.value = found;
  compared.value = new Map(found.map(({ id, difference }) => [id, difference]));
}

/** Ends the comparison. */
export function endComparison(): void {
  comparison.value = undefined;
  compared.value = new Map();
}

function graphOf(answer: Json): Json {
  return Array.isArray(answer) ? (answer[0] ?? null) : answer;
}

/** Returns metadata without what changes all the time, as text. */
function stable(metadata: Json | undefined): string {
  const entries = isObject(metadata) ? Object.entries(metadata).filter(([key]) => !VOLATILE.has(key)) : [];
  return JSON.stringify(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}
