// Sockets and their processes: of a host, or those of a namespace or container by its addresses.

import type { GraphModel, GraphNode } from "../../graph/model.ts";
import { type Json, listOf, numberOf, textOf, textsOf } from "../../parts/json.ts";
import { label } from "../../parts/names.ts";
import { model } from "../../state/session.ts";
import { flowFilter, panel } from "../../state/view.ts";
import { Grid } from "./tables.tsx";

/** Most nodes below a namespace whose addresses are looked at. */
const MAX_NODES = 2000;

/** Returns the sockets of a node: its own, or those of its host with an address of an interface that the
 * node owns. */
export function socketsOf(graph: GraphModel, node: GraphNode): Json[] {
  const own = listOf(node.metadata, "Sockets");
  if (own.length > 0 || (node.family !== "namespace" && node.family !== "container")) {
    return own;
  }
  const host = graph.owners(node).find((owner) => listOf(owner.metadata, "Sockets").length > 0);
  const addresses = addressesBelow(graph, node);
  return listOf(host?.metadata, "Sockets").filter((socket) => addresses.has(textOf(socket, "LocalAddress")));
}

function addressesBelow(graph: GraphModel, node: GraphNode): Set<string> {
  const found = new Set<string>();
  const pending = graph.children(node);
  for (let count = 0; count < MAX_NODES && pending.length > 0; count += 1) {
    const next = pending.pop() as GraphNode;
    for (const address of [...textsOf(next.metadata, "IPV4"), ...textsOf(next.metadata, "IPV6")]) {
      found.add(address.split("/")[0] ?? "");
    }
    pending.push(...graph.children(next));
  }
  return found;
}

export function Sockets({ node }: { node: GraphNode }) {
  const rows = socketsOf(model, node).map((socket) => [
    label(textOf(socket, "Name") || textOf(socket, "Process"), 60),
    String(numberOf(socket, "Pid") || ""),
    label(textOf(socket, "Protocol"), 20),
    end(socket, "Local"),
    end(socket, "Remote"),
    label(textOf(socket, "State"), 20),
    <button type="button" onClick={() => showFlows(socket)} aria-label={`Flows of ${end(socket, "Local")}`}>
      Flows
    </button>,
  ]);
  const columns = ["Process", "PID", "Protocol", "Local", "Remote", "State", "Action"];
  return <Grid name="Sockets" columns={columns} rows={rows} />;
}

/** Returns an end of a socket as the flow table writes ends of flows. */
function end(socket: Json, which: "Local" | "Remote"): string {
  const [address, port] = [textOf(socket, `${which}Address`), numberOf(socket, `${which}Port`)];
  if (port === 0) {
    return label(address, 60);
  }
  return label(address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`, 70);
}

/** Shows the flows between the ends of a socket. */
function showFlows(socket: Json): void {
  const isListening = textOf(socket, "State") === "LISTEN" || numberOf(socket, "RemotePort") === 0;
  flowFilter.value = isListening
    ? `:${numberOf(socket, "LocalPort")}`
    : `${end(socket, "Local")} ${end(socket, "Remote")}`;
  panel.value = "Flows";
}
