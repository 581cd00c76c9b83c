// Racks: groups of hosts, so that more hosts than fit on a screen can be looked at. Pure; linear in the
// number of hosts and their links.
//
// Hosts that are linked to the same switch are a rack. The others are grouped by the order of their names.

import { type GraphModel, type GraphNode, OWNERSHIP } from "./model.ts";
import { compareNodes } from "./outline.ts";

export interface Rack {
  id: string;
  name: string;
  hosts: GraphNode[];
}

/** Up to this number of hosts, there are no racks. */
const MAX_HOSTS = 300;
/** Hosts of a rack without a switch. */
const RACK_SIZE = 40;

/** Returns the racks of a graph; none if it has few hosts. */
export function racksOf(model: GraphModel): Rack[] {
  const hosts: GraphNode[] = [];
  for (const node of model.nodes.values()) {
    if (node.family === "host" && node.type !== "switch" && !model.owner(node)) {
      hosts.push(node);
    }
  }
  if (hosts.length <= MAX_HOSTS) {
    return [];
  }
  hosts.sort(compareNodes);
  const bySwitch = new Map<GraphNode, GraphNode[]>();
  const others: GraphNode[] = [];
  for (const host of hosts) {
    const found = switchOf(model, host);
    const group = found ? bySwitch.get(found) : others;
    group ? group.push(host) : found && bySwitch.set(found, [host]);
  }
  const racks = [...bySwitch].map(([node, members]) => ({ id: `rack\0${node.tid}`, name: node.name, hosts: members }));
  for (let start = 0; start < others.length; start += RACK_SIZE) {
    const members = others.slice(start, start + RACK_SIZE);
    const name = `${members[0]?.name} – ${members.at(-1)?.name}`;
    racks.push({ id: `rack\0${start}`, name, hosts: members });
  }
  return racks;
}

/** Returns the switch to which a host, or one of its physical interfaces, is linked. */
function switchOf(model: GraphModel, host: GraphNode): GraphNode | undefined {
  const ends = [host, ...model.children(host).filter((node) => node.family === "physical")];
  for (const end of ends) {
    for (const edge of model.edgesOf(end.id)) {
      const other = model.nodes.get(edge.parent === end.id ? edge.child : edge.parent);
      const owner = other && model.owner(other);
      const found = [other, owner].find((node) => node?.type === "switch");
      if (edge.relation !== OWNERSHIP && found) {
        return found;
      }
    }
  }
  return undefined;
}
