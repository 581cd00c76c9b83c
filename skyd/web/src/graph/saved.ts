// The graph as a file, in the form of `GET /api/topology`. Pure.

import { type Json, isObject, listOf } from "../parts/json.ts";
import type { GraphModel } from "./model.ts";

/** Returns a graph as the text of a file. */
export function graphText(model: GraphModel): string {
  const nodes = [...model.nodes.values()].map((node) => ({
    ID: node.id,
    Metadata: node.metadata,
    Host: node.host,
    CreatedAt: node.createdAt,
    UpdatedAt: node.updatedAt,
    Revision: node.revision,
  }));
  const edges = [...model.edges.values()].map((edge) => ({
    ID: edge.id,
    Metadata: edge.metadata,
    Parent: edge.parent,
    Child: edge.child,
  }));
  return JSON.stringify([{ Nodes: nodes, Edges: edges }], null, 1);
}

/** Returns the graph of a file: an object with `Nodes`, or a list of one. Throws an `Error` if the text is
 * something else. */
export function parseGraph(text: string): Json {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch {
    throw new Error("The file is not a saved graph: it is not JSON.");
  }
  const graph = Array.isArray(value) && value.length === 1 ? (value[0] ?? null) : value;
  if (!isObject(graph) || listOf(graph, "Nodes").length === 0) {
    throw new Error("The file is not a saved graph: it has no Nodes.");
  }
  return graph;
}
