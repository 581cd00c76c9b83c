// Differences between two graphs: nodes and links that were added, removed, or changed, and which keys.
// Pure.

import { type Json, isObject, listOf, member, textOf } from "../parts/json.ts";
import { valueText } from "../parts/value_text.ts";
import type { GraphModel } from "./model.ts";

export type Difference = "added" | "removed" | "changed";

export interface Compared {
  id: string;
  /** Stable id, to select the node. */
  key: string;
  name: string;
  type: string;
  difference: Difference;
  /** Changed keys as `State: UP → DOWN`; empty unless the node is in both graphs. */
  keys: string[];
}

/** Members of metadata that change all the time. */
const VOLATILE = new Set(["Metric", "LastUpdateMetric", "Captures", "PacketInjections"]);

/** Returns the differences of another graph, as the daemon sends it, to a model. */
export function compareGraphs(model: GraphModel, other: Json): Compared[] {
  const found: Compared[] = [];
  const known = new Set<string>();
  for (const node of listOf(other, "Nodes")) {
    const metadata = member(node, "Metadata");
    const [id, key] = [textOf(node, "ID"), textOf(metadata, "TID") || textOf(node, "ID")];
    known.add(id);
    const before = model.nodes.get(id);
    const keys = before ? changedKeys(before.metadata, metadata) : [];
    if (!before || keys.length > 0) {
      const difference = before ? "changed" : "added";
      found.push({ id, key, name: textOf(metadata, "Name") || id, type: textOf(metadata, "Type"), difference, keys });
    }
  }
  for (const node of model.nodes.values()) {
    if (!known.has(node.id)) {
      const { id, tid, name, type } = node;
      found.push({ id, key: tid, name, type, difference: "removed", keys: [] });
    }
  }
  return [...found, ...compareLinks(model, other)];
}

/** Returns the links that were added or removed between nodes that both graphs have. */
function compareLinks(model: GraphModel, other: Json): Compared[] {
  const found: Compared[] = [];
  const known = new Set<string>();
  const names = new Map(
    listOf(other, "Nodes").map((node) => [textOf(node, "ID"), textOf(member(node, "Metadata"), "Name")]),
  );
  const add = (id: string, ends: string[], type: string, difference: Difference) => {
    if (ends.every((end) => names.has(end) && model.nodes.has(end))) {
      const name = ends.map((end) => names.get(end) || end).join(" – ");
      found.push({ id, key: `link:${id}`, name, type: `${type} link`, difference, keys: [] });
    }
  };
  for (const edge of listOf(other, "Edges")) {
    const id = textOf(edge, "ID");
    known.add(id);
    if (!model.edges.has(id)) {
      const ends = [textOf(edge, "Parent"), textOf(edge, "Child")];
      add(id, ends, textOf(member(edge, "Metadata"), "RelationType"), "added");
    }
  }
  for (const edge of model.edges.values()) {
    if (!known.has(edge.id)) {
      add(edge.id, [edge.parent, edge.child], edge.relation, "removed");
    }
  }
  return found;
}

/** Returns the keys whose values differ, with both values. */
function changedKeys(before: Json, after: Json | undefined): string[] {
  const [old, now] = [isObject(before) ? before : {}, isObject(after) ? after : {}];
  const keys = [...new Set([...Object.keys(old), ...Object.keys(now)])].filter((key) => !VOLATILE.has(key));
  return keys
    .filter((key) => stable(member(old, key)) !== stable(member(now, key)))
    .sort()
    .map((key) => `${key}: ${changeText(member(old, key), member(now, key))}`);
}

/** Returns an old and a new value as one text. */
export function changeText(old: Json | undefined, now: Json | undefined): string {
  const text = (value: Json | undefined) => (value === undefined ? "none" : valueText(value));
  return `${text(old)} → ${text(now)}`;
}

/** Returns a value as text in which the members of objects are in the order of their keys. */
function stable(value: Json | undefined): string {
  return JSON.stringify(value ?? null, (_, inner: Json) =>
    isObject(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1))) : inner,
  );
}
