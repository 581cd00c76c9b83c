// On which nodes the daemon can capture, and the captures that run.

import { type Json, listOf } from "../parts/json.ts";
import type { GraphNode } from "./model.ts";

const CAPTURABLE = new Set(
  (
    "ovsbridge ovsport dpdkport internal veth tun bridge dummy gre bond can hsr ifb macvlan macvtap vlan vxlan gretap " +
    "ip6gretap geneve ipoib vcan ipip ipvlan lowpan ip6tnl ip6gre sit device"
  ).split(" "),
);

/** Returns whether the daemon captures on nodes of this type. */
export function canCapture(node: GraphNode): boolean {
  return CAPTURABLE.has(node.type);
}

/** Returns the captures of a node, with their counters. */
export function capturesOf(node: GraphNode): Json[] {
  return node.isCaptured ? listOf(node.metadata, "Captures") : [];
}

/** Returns the captures of all nodes, one after the other. */
export function* allCaptures(nodes: Iterable<GraphNode>): Generator<Json> {
  for (const node of nodes) {
    yield* capturesOf(node);
  }
}
