// What the graph shows: the open part of the ownership tree as items to lay out, and the links
// between them. Pure; linear in the number of visible nodes and their edges.

import { type GraphEdge, type GraphModel, type GraphNode, OWNERSHIP } from "./model.ts";
import { compareNodes, sortedRoots } from "./outline.ts";
import { FIRST_COLUMN_ROW } from "./positions.ts";
import { type Rack, racksOf } from "./racks.ts";

/** Something with a position in the graph: a node, or a group of equal siblings. */
export interface Item {
  readonly id: string;
  /** The node, or the first node of a group. */
  readonly node: GraphNode;
  /** Number of nodes that a group stands for; 1 for a node. */
  readonly folded: number;
  /** Items inside; empty for a closed node. */
  readonly children: Item[];
  /** Nodes below a closed node. */
  readonly hidden: number;
  /** Nodes below a closed node, or in a group, that are down. */
  readonly down: number;
  /** Row inside the owner, counted from the top. */
  readonly row: number;
  /** Id of the node at the other end of a veth pair. */
  readonly peer: string | undefined;
  /** The rack that the item is, if it is one. */
  readonly rack?: Rack;
}

export interface Link {
  readonly id: string;
  readonly from: string;
  readonly to: string;
  readonly relation: string;
  /** Interfaces whose traffic is that of the link: one for each edge that it stands for. */
  readonly carriers: GraphNode[];
}

export interface Scene {
  roots: Item[];
  links: Link[];
  /** Visible item of each node: itself, its group, or its nearest closed owner. */
  itemOf: Map<string, string>;
}

export interface SceneOptions {
  isOpen: (node: GraphNode) => boolean;
  /** Groups and racks that the user has unfolded. */
  unfolded: ReadonlySet<string>;
  /** Hidden relation types and node types. */
  hidden: ReadonlySet<string>;
}

/** More equal siblings than this are folded into one item. */
const MAX_EQUAL_SIBLINGS = 12;

/** Rows inside an owner. */
export const ROW = {
  wire: 0,
  bridge: 1,
  port: 2,
  virtual: 3,
  container: FIRST_COLUMN_ROW,
  namespace: FIRST_COLUMN_ROW + 1,
  last: FIRST_COLUMN_ROW + 2,
};

/** Builds the scene of a graph. */
export function buildScene(model: GraphModel, options: SceneOptions): Scene {
  const itemOf = new Map<string, string>();
  const build = (node: GraphNode): Item => {
    itemOf.set(node.id, node.id);
    const hasChildren = model.hasChildren(node);
    const open = hasChildren && options.isOpen(node);
    const children = open ? items(model.children(node), node.id) : [];
    const closed = hasChildren && !open ? hide(model, node, itemOf) : { count: 0, down: 0 };
    const row = rowOf(model, node);
    return {
      id: node.id,
      node,
      folded: 1,
      children,
      hidden: closed.count,
      down: closed.down,
      row,
      peer: peerOf(model, node),
    };
  };
  const items = (nodes: GraphNode[], owner: string): Item[] => {
    const shown = nodes.filter((node) => !options.hidden.has(node.type));
    return fold(shown.sort(compareNodes), owner, options.unfolded, model).flatMap((group) => {
      const [first] = group.nodes;
      if (!first || group.id === undefined) {
        return group.nodes.map(build);
      }
      group.nodes.forEach((node) => itemOf.set(node.id, group.id as string));
      const [folded, down] = [group.nodes.length, group.nodes.filter(isDown).length];
      return [
        { id: group.id, node: first, folded, children: [], hidden: 0, down, row: rowOf(model, first), peer: undefined },
      ];
    });
  };
  const racks = racksOf(model).map((rack) => rackItem(model, rack, options, build, itemOf));
  const inRacks = new Set(racks.flatMap(({ rack }) => rack?.hosts ?? []));
  const others = sortedRoots(model).filter((node) => !inRacks.has(node));
  const roots = [...items(others, ""), ...racks];
  return { roots, links: links(model, itemOf, options.hidden), itemOf };
}

/** Returns the item of a rack: closed until the user unfolds it. */
function rackItem(
  model: GraphModel,
  rack: Rack,
  options: SceneOptions,
  build: (node: GraphNode) => Item,
  itemOf: Map<string, string>,
): Item {
  const common = {
    id: rack.id,
    node: rack.hosts[0] as GraphNode,
    folded: 1,
    row: ROW.namespace,
    peer: undefined,
    rack,
  };
  if (options.unfolded.has(rack.id)) {
    return { ...common, children: rack.hosts.map(build), hidden: 0, down: 0 };
  }
  let [hidden, down] = [0, 0];
  for (const host of rack.hosts) {
    const inside = hide(model, host, itemOf, rack.id);
    itemOf.set(host.id, rack.id);
    hidden += 1 + inside.count;
    down += inside.down + (isDown(host) ? 1 : 0);
  }
  return { ...common, children: [], hidden, down };
}

interface Group {
  /** Id of the folded group; `undefined` if its nodes are shown one by one. */
  id: string | undefined;
  nodes: GraphNode[];
}

/** Groups siblings without children that differ only in the digits of their names. The host's end of a
 * veth pair is not grouped: it is shown above the namespace of its peer. */
function fold(nodes: GraphNode[], owner: string, unfolded: ReadonlySet<string>, model: GraphModel): Group[] {
  if (nodes.length <= MAX_EQUAL_SIBLINGS) {
    return [{ id: undefined, nodes }];
  }
  const groups = new Map<string, GraphNode[]>();
  for (const node of nodes) {
    const isAlone = model.hasChildren(node) || peerOf(model, node) !== undefined;
    const own = isAlone ? node.id : `${node.type}\0${node.name.replace(/\d+/g, "#")}`;
    const group = groups.get(own);
    group ? group.push(node) : groups.set(own, [node]);
  }
  return [...groups].map(([key, members]) => {
    const id = `fold\0${owner}\0${key}`;
    const isFolded = members.length > MAX_EQUAL_SIBLINGS && !unfolded.has(id);
    return { id: isFolded ? id : undefined, nodes: members };
  });
}

/** Maps all nodes below a closed node to an item, and counts them. */
function hide(
  model: GraphModel,
  node: GraphNode,
  itemOf: Map<string, string>,
  item = node.id,
): { count: number; down: number } {
  let [count, down] = [0, 0];
  const pending = model.children(node);
  for (let child = pending.pop(); child; child = pending.pop()) {
    itemOf.set(child.id, item);
    count += 1;
    down += isDown(child) ? 1 : 0;
    pending.push(...model.children(child));
  }
  return { count, down };
}

/** Returns the title of the box of an item. */
export function titleOf(item: Item): string {
  return item.rack?.name ?? item.node.name;
}

/** Returns whether an item is shown as down: a node that is, or a group in which all are. */
export function isItemDown(item: Item): boolean {
  return item.folded > 1 ? item.down === item.folded : !item.rack && isDown(item.node);
}

/** Returns whether an interface cannot carry traffic. */
export function isDown(node: GraphNode): boolean {
  return node.state !== "" && node.state !== "up" && node.state !== "unknown";
}

function rowOf(model: GraphModel, node: GraphNode): number {
  switch (node.family) {
    case "physical":
      return model.owner(node)?.family === "namespace" ? ROW.virtual : ROW.wire;
    case "bridge":
      return ROW.bridge;
    case "container":
      return ROW.container;
    case "namespace":
      return ROW.namespace;
    case "host":
      return node.type === "switch" ? ROW.wire : ROW.namespace;
    default:
      return model.owner(node) ? (isPort(model, node) ? ROW.port : ROW.virtual) : ROW.last;
  }
}

/** Returns whether a node is connected to a bridge of the same owner. */
function isPort(model: GraphModel, node: GraphNode): boolean {
  for (const edge of model.edgesOf(node.id)) {
    const other = model.nodes.get(edge.parent === node.id ? edge.child : edge.parent);
    if (edge.relation === "layer2" && other?.family === "bridge" && model.owner(other) === model.owner(node)) {
      return true;
    }
  }
  return false;
}

/** Returns the other end of a veth pair. */
function peerOf(model: GraphModel, node: GraphNode): string | undefined {
  if (node.type !== "veth") {
    return undefined;
  }
  for (const edge of model.edgesOf(node.id)) {
    const other = edge.parent === node.id ? edge.child : edge.parent;
    if (edge.relation === "layer2" && model.nodes.get(other)?.type === "veth") {
      return other;
    }
  }
  return undefined;
}

/** Returns one link for each pair of visible items and relation. */
function links(model: GraphModel, itemOf: Map<string, string>, hidden: ReadonlySet<string>): Link[] {
  const found = new Map<string, Link>();
  for (const edge of model.edges.values()) {
    if (edge.relation === OWNERSHIP || hidden.has(edge.relation)) {
      continue;
    }
    const [from, to] = [itemOf.get(edge.parent), itemOf.get(edge.child)];
    if (from === undefined || to === undefined || from === to) {
      continue;
    }
    const pair = from < to ? `${from}\0${to}\0${edge.relation}` : `${to}\0${from}\0${edge.relation}`;
    let link = found.get(pair);
    if (!link) {
      link = { id: edge.id, from, to, relation: edge.relation, carriers: [] };
      found.set(pair, link);
    }
    const carrier = edge.relation === "layer2" ? carrierOf(model, edge) : undefined;
    carrier && link.carriers.push(carrier);
  }
  return [...found.values()];
}

/** Returns the interface whose traffic is that of an edge: the port rather than the bridge. */
function carrierOf(model: GraphModel, edge: GraphEdge): GraphNode | undefined {
  const ends = [edge.parent, edge.child].map((id) => model.nodes.get(id));
  return ends.find((node) => node && node.family !== "bridge" && node.family !== "host") ?? ends[0];
}
