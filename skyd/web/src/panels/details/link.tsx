// Details of a link between two nodes.

import type { GraphEdge } from "../../graph/model.ts";
import { CopyButton } from "../../parts/copy.tsx";
import { label } from "../../parts/names.ts";
import { Tabs } from "../../parts/tabs.tsx";
import { model, structureVersion } from "../../state/session.ts";
import { select, tab } from "../../state/view.ts";
import { literal } from "../../net/gremlin.ts";
import { Raw, ValueTable, flatten } from "./tables.tsx";

export function LinkDetails({ edge }: { edge: GraphEdge }) {
  structureVersion.value;
  const ends = [edge.parent, edge.child].map((id) => model.nodes.get(id));
  const names = ends.map((node) => label(node?.name ?? "unknown", 60));
  return (
    <>
      <header>
        <h2>{names.join(" – ")}</h2>
        <button type="button" class="close" aria-label="Close details" onClick={() => select(null)}>
          ×
        </button>
      </header>
      <p class="crumbs">{label(edge.relation, 40)} link</p>
      <div class="toolbar">
        {ends.map(
          (node, index) =>
            node && (
              <button key={index} type="button" onClick={() => select(node.tid)}>
                Go to {label(node.name, 40)}
              </button>
            ),
        )}
        <CopyButton name="Gremlin" text={`G.E(${literal(edge.id) ?? "''"})`} label="Copy Gremlin" />
      </div>
      <Tabs
        label="Details sections"
        open={tab.value}
        onOpen={(name) => (tab.value = name)}
        sections={[
          {
            name: "Overview",
            content: () => <ValueTable name="Metadata" rows={[...flatten(edge.metadata), ["ID", edge.id]]} />,
          },
          { name: "Raw", content: () => <Raw value={edge.metadata} /> },
        ]}
      />
    </>
  );
}
