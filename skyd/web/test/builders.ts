// Builders of graphs for tests.

import { GraphModel } from "../src/graph/model.ts";
import type { Json, JsonObject } from "../src/parts/json.ts";

/** Returns a node as the daemon sends it. */
export function node(id: string, type: string, metadata: JsonObject = {}): JsonObject {
  return {
    ID: id,
    Host: "h",
    Metadata: { Name: id, Type: type, TID: id, ...metadata },
    CreatedAt: 1,
    UpdatedAt: 1,
    Revision: 1,
  };
}

/** Returns an edge as the daemon sends it. */
export function edge(parent: string, child: string, relation = "ownership", metadata: JsonObject = {}): JsonObject {
  return {
    ID: `${parent}-${child}-${relation}`,
    Parent: parent,
    Child: child,
    Metadata: { RelationType: relation, ...metadata },
  };
}

/** Returns a model with some nodes and edges. */
export function modelOf(nodes: Json[], edges: Json[]): GraphModel {
  const model = new GraphModel();
  model.reset({ Nodes: nodes, Edges: edges });
  return model;
}

/** Returns a host with a bridge and namespaces, each connected by a veth pair. */
export function hostOf(name: string, namespaces: number): { nodes: Json[]; edges: Json[] } {
  const nodes: Json[] = [node(name, "host"), node(`${name}/br0`, "bridge", { State: "UP" })];
  const edges: Json[] = [edge(name, `${name}/br0`)];
  for (let index = 0; index < namespaces; index += 1) {
    const [space, outer, inner] = [`${name}/ns${index}`, `${name}/v${index}`, `${name}/ns${index}/eth0`];
    nodes.push(node(space, "netns"), node(outer, "veth", { State: "UP" }), node(inner, "veth", { State: "UP" }));
    edges.push(edge(name, space), edge(name, outer), edge(space, inner));
    edges.push(edge(outer, inner, "layer2", { Type: "veth" }), edge(`${name}/br0`, outer, "layer2"));
  }
  return { nodes, edges };
}
