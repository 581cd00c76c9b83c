// Search of nodes by name, address, or identifier. Linear in the number of nodes, over one cached
// lower-case text per node.

import { textOf, valueAt } from "../parts/json.ts";
import { counted, label } from "../parts/names.ts";
import { type GraphModel, type GraphNode, addressesOf } from "./model.ts";
import { compareNodes } from "./outline.ts";

/** Most nodes that a search returns. */
export const MAX_FOUND = 50;

/** Line of the type in the text of a node: a type is not the whole name of its nodes. */
const TYPE_LINE = 1;

function searchText(node: GraphNode): string {
  if (node.searchText === "") {
    const container = valueAt(node.metadata, "Docker.ContainerID");
    const id = typeof container === "string" ? container : textOf(node.metadata, "Path");
    const texts = [node.name, node.type, ...addressesOf(node), node.tid, node.id, id];
    node.searchText = texts.join("\n").toLowerCase();
  }
  return node.searchText;
}

/** Returns whether a text is the whole name, identifier, or address of a node, with or without the length of
 * its prefix. */
function isWhole(node: GraphNode, wanted: string): boolean {
  return searchText(node)
    .split("\n")
    .some((line, index) => index !== TYPE_LINE && (line === wanted || line.startsWith(`${wanted}/`)));
}

/** Returns the nodes that contain a text; first those of which it is the whole name or address, then those
 * whose name begins with it. */
export function search(model: GraphModel, text: string): GraphNode[] {
  const wanted = text.trim().toLowerCase();
  if (wanted === "") {
    return [];
  }
  const ranks = new Map<GraphNode, number>();
  for (const node of model.nodes.values()) {
    if (searchText(node).includes(wanted)) {
      ranks.set(node, isWhole(node, wanted) ? 0 : node.name.toLowerCase().startsWith(wanted) ? 1 : 2);
    }
  }
  const rank = (node: GraphNode) => ranks.get(node) ?? 2;
  return [...ranks.keys()].sort((a, b) => rank(a) - rank(b) || compareNodes(a, b)).slice(0, MAX_FOUND);
}

/** Returns the accessible name of a node in the tree: `eth0, veth, up, captured, 2 alerts`. */
export function treeName(node: GraphNode, alerts = 0): string {
  const parts = [label(node.name), label(node.type, 40)];
  if (node.state !== "") {
    parts.push(label(node.state, 40));
  }
  if (node.isCaptured) {
    parts.push("captured");
  }
  if (alerts > 0) {
    parts.push(counted(alerts, "alert"));
  }
  return parts.join(", ");
}

/** Returns a node in a list of search results: its tree name, addresses, and owner. */
export function resultName(model: GraphModel, node: GraphNode): string {
  const owner = model.owner(node);
  const addresses = addressesOf(node).map((address) => label(address, 60));
  return [treeName(node), ...addresses, ...(owner ? [label(owner.name)] : [])].join(", ");
}
