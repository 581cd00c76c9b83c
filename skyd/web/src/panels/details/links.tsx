// The links of a node, each with its other end.

import { type GraphNode, OWNERSHIP } from "../../graph/model.ts";
import { compareNatural, label } from "../../parts/names.ts";
import { linkKey } from "../../state/selected.ts";
import { model } from "../../state/session.ts";
import { select } from "../../state/view.ts";
import { Grid } from "./tables.tsx";

/** Most links that are listed. */
const MAX_LINKS = 500;

export function Links({ node }: { node: GraphNode }) {
  const found = [...model.edgesOf(node.id)]
    .filter((edge) => edge.relation !== OWNERSHIP || edge.child === node.id)
    .map((edge) => ({ edge, other: model.nodes.get(edge.parent === node.id ? edge.child : edge.parent) }))
    .sort((a, b) => compareNatural(a.other?.name ?? "", b.other?.name ?? ""));
  const rows = found.slice(0, MAX_LINKS).map(({ edge, other }) => [
    other ? (
      <button type="button" class="link" onClick={() => select(other.tid)}>
        {label(other.name, 60)}
      </button>
    ) : (
      "unknown"
    ),
    label(other?.type ?? "", 30),
    <button type="button" class="link" onClick={() => select(linkKey(edge.id))}>
      {label(edge.relation, 40) || "link"}
    </button>,
  ]);
  return <Grid name="Links" columns={["Node", "Type", "Link"]} rows={rows} />;
}
