// On which nodes the daemon can capture.

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
