// Which branches of the tree, and boxes of the graph, are open.

import { signal } from "@preact/signals";
import type { GraphModel, GraphNode } from "../graph/model.ts";
import { racksOf } from "../graph/racks.ts";

/** Branches without a choice of the user. */
type Default = "open" | "closed" | "hosts closed";

/** Above this number of nodes, hosts are closed at first. */
const MAX_NODES_OPEN = 200;

interface Branches {
  default: Default;
  /** Choices of the user, by stable id. */
  chosen: ReadonlyMap<string, boolean>;
}

export const branches = signal<Branches>({ default: "open", chosen: new Map() });
/** Groups of equal siblings, and racks, that the user has unfolded. */
export const unfolded = signal<ReadonlySet<string>>(new Set());

/** Returns whether a node shows its children. */
export function isOpen(node: GraphNode): boolean {
  const { default: initial, chosen } = branches.value;
  return chosen.get(node.tid) ?? (initial === "open" || (initial === "hosts closed" && node.family !== "host"));
}

/** Opens or closes nodes. */
export function setOpen(nodes: GraphNode[], open: boolean): void {
  if (nodes.some((node) => isOpen(node) !== open)) {
    const chosen = new Map(branches.value.chosen);
    nodes.forEach((node) => chosen.set(node.tid, open));
    branches.value = { ...branches.value, chosen };
  }
}

/** Opens or closes all nodes. */
export function setAllOpen(open: boolean): void {
  branches.value = { default: open ? "open" : "closed", chosen: new Map() };
}

/** Chooses what is open at first, by the size of the graph. */
export function initBranches(model: GraphModel): void {
  branches.value = { default: model.nodes.size > MAX_NODES_OPEN ? "hosts closed" : "open", chosen: new Map() };
}

/** Opens the way to a node. */
export function openWayTo(model: GraphModel, node: GraphNode): void {
  const owners = model.owners(node);
  setOpen(owners, true);
  const host = owners.at(-1) ?? node;
  const rack = racksOf(model).find(({ hosts }) => hosts.includes(host));
  rack && unfold(rack.id);
}

/** Unfolds a group of equal siblings, or a rack. */
export function unfold(id: string): void {
  if (!unfolded.value.has(id)) {
    unfolded.value = new Set([...unfolded.value, id]);
  }
}

/** Folds a rack. */
export function fold(id: string): void {
  unfolded.value = new Set([...unfolded.value].filter((other) => other !== id));
}
