// Families of node types: shape, color, and row of the layout.

export type Family = "host" | "namespace" | "container" | "bridge" | "physical" | "virtual" | "tunnel" | "other";

const TYPES: [Family, string][] = [
  ["host", "host switch node"],
  ["namespace", "netns namespace pod"],
  ["container", "container libvirt process"],
  ["bridge", "bridge ovsbridge bond team"],
  ["physical", "switchport"],
  ["virtual", "veth tun tap macvlan macvtap ipvlan vlan dummy ovsport internal ifb"],
  ["tunnel", "vxlan geneve gre gretap ip6gre ip6gretap ipip sit ip6tnl wireguard erspan"],
];

const FAMILY_OF = new Map(TYPES.flatMap(([family, types]) => types.split(" ").map((type) => [type, family])));

/** Returns the family of a node type; devices without a known type are physical. */
export function familyOf(type: string): Family {
  return (FAMILY_OF.get(type) as Family | undefined) ?? (type === "device" ? "physical" : "other");
}

/** Order of families below one owner, in the tree and in the graph. */
export const FAMILY_ORDER: Record<Family, number> = {
  physical: 0,
  bridge: 1,
  virtual: 2,
  tunnel: 3,
  other: 4,
  container: 5,
  namespace: 6,
  host: 7,
};

/** Colors of families on a light and on a dark background: contrast at least 3.2 to 1, and
 * distinguishable with each kind of color blindness (`test/palette.test.ts`). */
export const FAMILY_COLORS: Record<Family, { light: string; dark: string }> = {
  host: { light: "#045DD9", dark: "#41A7F6" },
  namespace: { light: "#4C5158", dark: "#D7DADC" },
  container: { light: "#07A467", dark: "#40FE93" },
  bridge: { light: "#6D3A0A", dark: "#BF6722" },
  physical: { light: "#0B054D", dark: "#554CF5" },
  virtual: { light: "#949421", dark: "#EECA1A" },
  tunnel: { light: "#F419AA", dark: "#E81294" },
  other: { light: "#4C5158", dark: "#D7DADC" },
};

/** Names of families in the legend, with examples. */
export const FAMILY_TEXT: Record<Family, string> = {
  host: "Host, switch",
  namespace: "Namespace",
  container: "Container, machine",
  bridge: "Bridge, bond",
  physical: "Physical interface",
  virtual: "Virtual interface",
  tunnel: "Tunnel",
  other: "Other",
};
