// The tree of hosts, namespaces, and interfaces as a flat list of rows. Pure.

import { FAMILY_ORDER } from "./family.ts";
import type { GraphModel, GraphNode } from "./model.ts";

export interface OutlineRow {
  node: GraphNode;
  /** Depth, counted from 1. */
  level: number;
  /** Position among its siblings, counted from 1, and their number. */
  position: number;
  siblings: number;
  /** Whether its children are shown; `undefined` if it has none. */
  isOpen: boolean | undefined;
}

/** Compares siblings: by family, then by name, then by id. */
export function compareNodes(a: GraphNode, b: GraphNode): number {
  const byFamily = FAMILY_ORDER[a.family] - FAMILY_ORDER[b.family];
  return byFamily || compareText(a.order, b.order) || compareText(a.id, b.id);
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Returns the roots: hosts first, then the other nodes without an owner. */
export function sortedRoots(model: GraphModel): GraphNode[] {
  const rank = (node: GraphNode) => (node.family === "host" ? 0 : 1);
  return model.roots().sort((a, b) => rank(a) - rank(b) || compareNodes(a, b));
}

/** Returns the rows that are visible if the nodes for which `isOpen` holds are open. */
export function outline(model: GraphModel, isOpen: (node: GraphNode) => boolean): OutlineRow[] {
  const rows: OutlineRow[] = [];
  const add = (nodes: GraphNode[], level: number) => {
    nodes.forEach((node, index) => {
      const hasChildren = model.hasChildren(node);
      const open = hasChildren ? isOpen(node) : undefined;
      rows.push({ node, level, position: index + 1, siblings: nodes.length, isOpen: open });
      if (open) {
        add(model.children(node).sort(compareNodes), level + 1);
      }
    });
  };
  add(sortedRoots(model), 1);
  return rows;
}
