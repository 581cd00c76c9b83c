// The graph as the daemon sends it: nodes, edges, and an index of ownership.
//
// Pure: messages in, state out. Each change costs O(degree of the node).

import {
  type Json,
  type JsonObject,
  deleteAt,
  isObject,
  listOf,
  member,
  numberOf,
  setAt,
  textOf,
  textsOf,
} from "../parts/json.ts";
import { label, naturalKey } from "../parts/names.ts";
import { type Family, familyOf } from "./family.ts";

export interface GraphNode {
  readonly id: string;
  /** Identifier that survives restarts of the daemon; the id if the node has none. */
  tid: string;
  name: string;
  /** Key of the natural order of names. */
  order: string;
  type: string;
  family: Family;
  /** Operational state in lower case; empty if the node has none. */
  state: string;
  isCaptured: boolean;
  /** Whether a capture on it loses packets. */
  isDropping: boolean;
  host: string;
  metadata: JsonObject;
  /** Lower-case text that a search looks through. */
  searchText: string;
  createdAt: number;
  updatedAt: number;
  revision: number;
}

export interface GraphEdge {
  readonly id: string;
  readonly parent: string;
  readonly child: string;
  /** Value of `RelationType`, such as `ownership` or `layer2`. */
  relation: string;
  metadata: JsonObject;
}

/** What a batch of messages changed. */
export interface Changes {
  /** Whether nodes, edges, names, types, states, or capture marks changed. */
  structure: boolean;
  /** Ids of nodes whose metadata changed. */
  nodes: Set<string>;
}

export const OWNERSHIP = "ownership";

export class GraphModel {
  readonly nodes = new Map<string, GraphNode>();
  readonly edges = new Map<string, GraphEdge>();
  /** First node of each stable id. */
  readonly #byTid = new Map<string, GraphNode>();
  readonly #edgesOf = new Map<string, Set<GraphEdge>>();
  /** Ownership edge of each owned node; never a cycle. */
  readonly #ownerEdge = new Map<string, GraphEdge>();
  readonly #childrenOf = new Map<string, Set<string>>();

  /** Replaces the graph by the answer to a sync request; skips malformed elements. */
  reset(object: Json | undefined): void {
    for (const map of [this.nodes, this.edges, this.#byTid, this.#edgesOf, this.#ownerEdge, this.#childrenOf]) {
      map.clear();
    }
    const changes: Changes = { structure: true, nodes: new Set() };
    listOf(object, "Nodes").forEach((node) => this.#putNode(node, changes));
    listOf(object, "Edges").forEach((edge) => this.#putEdge(edge));
  }

  /** Applies a graph event; ignores unknown types. */
  apply(type: string, object: Json | undefined, changes: Changes): void {
    const id = textOf(object, "ID");
    switch (type) {
      case "NodeAdded":
      case "NodeUpdated":
        this.#putNode(object, changes);
        break;
      case "NodePartiallyUpdated":
        this.#patchNode(id, object, changes);
        break;
      case "NodeDeleted":
        changes.structure = this.#deleteNode(id) || changes.structure;
        break;
      case "EdgeAdded":
      case "EdgeUpdated":
        changes.structure = this.#putEdge(object) || changes.structure;
        break;
      case "EdgePartiallyUpdated":
        changes.structure = this.#patchEdge(id, object) || changes.structure;
        break;
      case "EdgeDeleted":
        changes.structure = this.#deleteEdge(id) || changes.structure;
        break;
    }
  }

  /** Returns a node by its stable id or its id. */
  find(key: string | null): GraphNode | undefined {
    return key === null ? undefined : (this.#byTid.get(key) ?? this.nodes.get(key));
  }

  /** Returns the owner of a node. */
  owner(node: GraphNode): GraphNode | undefined {
    const edge = this.#ownerEdge.get(node.id);
    return edge && this.nodes.get(edge.parent);
  }

  /** Returns the owners of a node, from the nearest up. */
  owners(node: GraphNode): GraphNode[] {
    const found: GraphNode[] = [];
    for (let up = this.owner(node); up; up = this.owner(up)) {
      found.push(up);
    }
    return found;
  }

  /** Returns the nodes that a node owns, in no particular order. */
  children(node: GraphNode): GraphNode[] {
    const found: GraphNode[] = [];
    for (const id of this.#childrenOf.get(node.id) ?? []) {
      const child = this.nodes.get(id);
      if (child) {
        found.push(child);
      }
    }
    return found;
  }

  /** Returns whether a node owns others, without building the list. */
  hasChildren(node: GraphNode): boolean {
    return (this.#childrenOf.get(node.id)?.size ?? 0) > 0;
  }

  /** Returns the nodes without an owner. */
  roots(): GraphNode[] {
    return [...this.nodes.values()].filter((node) => !this.owner(node));
  }

  /** Returns the edges of a node. */
  edgesOf(id: string): Iterable<GraphEdge> {
    return this.#edgesOf.get(id) ?? [];
  }

  #putNode(object: Json | undefined, changes: Changes): void {
    const id = textOf(object, "ID");
    if (id === "") {
      return;
    }
    const found = member(object, "Metadata");
    const metadata = isObject(found) ? found : {};
    const known = this.nodes.get(id);
    const node: GraphNode = known ?? {
      id,
      tid: "",
      name: "",
      order: "",
      type: "",
      family: "other",
      state: "",
      isCaptured: false,
      isDropping: false,
      host: "",
      metadata,
      searchText: "",
      createdAt: 0,
      updatedAt: 0,
      revision: 0,
    };
    node.metadata = metadata;
    node.host = textOf(object, "Host");
    node.createdAt = numberOf(object, "CreatedAt");
    node.updatedAt = numberOf(object, "UpdatedAt");
    node.revision = numberOf(object, "Revision");
    this.nodes.set(id, node);
    changes.structure = this.#derive(node) || !known || changes.structure;
    changes.nodes.add(id);
  }

  #patchNode(id: string, object: Json | undefined, changes: Changes): void {
    const node = this.nodes.get(id);
    if (!node) {
      return;
    }
    patch(node.metadata, object);
    node.updatedAt = numberOf(object, "UpdatedAt") || node.updatedAt;
    node.revision = numberOf(object, "Revision") || node.revision;
    changes.structure = this.#derive(node) || changes.structure;
    changes.nodes.add(id);
  }

  /** Recomputes the fields derived from metadata. Returns whether a field that the tree shows changed. */
  #derive(node: GraphNode): boolean {
    const { metadata } = node;
    const before = shownFields(node);
    const tid = textOf(metadata, "TID") || node.id;
    if (tid !== node.tid) {
      this.#forgetTid(node);
      node.tid = tid;
      if (!this.#byTid.has(tid)) {
        this.#byTid.set(tid, node);
      }
    }
    const name = textOf(metadata, "Name") || node.id;
    if (name !== node.name) {
      node.name = name;
      node.order = naturalKey(label(name));
    }
    node.type = textOf(metadata, "Type") || "unknown";
    node.family = familyOf(node.type);
    node.state = textOf(metadata, "State").toLowerCase();
    const captures = listOf(metadata, "Captures");
    node.isCaptured = captures.length > 0;
    node.isDropping = captures.some((capture) => droppedBy(capture) > 0);
    node.searchText = "";
    return before !== shownFields(node);
  }

  #forgetTid(node: GraphNode): void {
    if (this.#byTid.get(node.tid) === node) {
      this.#byTid.delete(node.tid);
    }
  }

  #deleteNode(id: string): boolean {
    const node = this.nodes.get(id);
    if (!node) {
      return false;
    }
    [...this.edgesOf(id)].forEach((edge) => this.#deleteEdge(edge.id));
    this.#forgetTid(node);
    return this.nodes.delete(id);
  }

  #putEdge(object: Json | undefined): boolean {
    const [id, parent, child] = [textOf(object, "ID"), textOf(object, "Parent"), textOf(object, "Child")];
    if (id === "" || parent === "" || child === "") {
      return false;
    }
    this.#deleteEdge(id);
    const found = member(object, "Metadata");
    const metadata = isObject(found) ? found : {};
    const edge = { id, parent, child, relation: textOf(metadata, "RelationType"), metadata };
    this.edges.set(id, edge);
    for (const end of [parent, child]) {
      const edges = this.#edgesOf.get(end);
      edges ? edges.add(edge) : this.#edgesOf.set(end, new Set([edge]));
    }
    this.#own(edge);
    return true;
  }

  /** Makes an edge the ownership of its child, unless the child has an owner or owns the parent. */
  #own(edge: GraphEdge): void {
    if (edge.relation !== OWNERSHIP || this.#ownerEdge.has(edge.child)) {
      return;
    }
    for (let up: string | undefined = edge.parent; up !== undefined; up = this.#ownerEdge.get(up)?.parent) {
      if (up === edge.child) {
        return;
      }
    }
    this.#ownerEdge.set(edge.child, edge);
    const children = this.#childrenOf.get(edge.parent);
    children ? children.add(edge.child) : this.#childrenOf.set(edge.parent, new Set([edge.child]));
  }

  #patchEdge(id: string, object: Json | undefined): boolean {
    const edge = this.edges.get(id);
    if (!edge) {
      return false;
    }
    patch(edge.metadata, object);
    const { parent, child, metadata } = edge;
    return this.#putEdge({ ID: id, Parent: parent, Child: child, Metadata: metadata });
  }

  #deleteEdge(id: string): boolean {
    const edge = this.edges.get(id);
    if (!edge) {
      return false;
    }
    this.edges.delete(id);
    for (const end of [edge.parent, edge.child]) {
      const edges = this.#edgesOf.get(end);
      edges?.delete(edge);
      if (edges?.size === 0) {
        this.#edgesOf.delete(end);
      }
    }
    if (this.#ownerEdge.get(edge.child) === edge) {
      this.#ownerEdge.delete(edge.child);
      const children = this.#childrenOf.get(edge.parent);
      children?.delete(edge.child);
      if (children?.size === 0) {
        this.#childrenOf.delete(edge.parent);
      }
      for (const other of this.edgesOf(edge.child)) {
        if (other.child === edge.child) {
          this.#own(other);
        }
      }
    }
    return true;
  }
}

/** Returns the fields of a node that tree and graph show, as one text. */
export function shownFields(node: GraphNode): string {
  return [node.tid, node.name, node.type, node.state, node.isCaptured, node.isDropping].join("\0");
}

/** Applies the operations of a partial update: type 1 sets a path, type 2 deletes one. */
function patch(metadata: JsonObject, object: Json | undefined): void {
  for (const operation of listOf(object, "Ops")) {
    const key = textOf(operation, "Key");
    if (key !== "" && numberOf(operation, "Type") === 1) {
      setAt(metadata, key, member(operation, "Value") ?? null);
    } else if (key !== "" && numberOf(operation, "Type") === 2) {
      deleteAt(metadata, key);
    }
  }
}

/** Returns the packets that a capture of a node has lost. */
export function droppedBy(capture: Json): number {
  return numberOf(capture, "PacketsDropped") + numberOf(capture, "PacketsIfDropped");
}

/** Returns the addresses of a node: IPv4, IPv6, then MAC. */
export function addressesOf(node: GraphNode): string[] {
  const mac = textOf(node.metadata, "MAC");
  return [...textsOf(node.metadata, "IPV4"), ...textsOf(node.metadata, "IPV6"), ...(mac ? [mac] : [])];
}
