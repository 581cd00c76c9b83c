// Details of several nodes: their list, and the actions that act on all of them.

import type { GraphNode } from "../../graph/model.ts";
import { isDown } from "../../graph/scene.ts";
import { FamilyIcon } from "../../parts/icon.tsx";
import { counted, label } from "../../parts/names.ts";
import { toggleSelected } from "../../state/selected.ts";
import { contentVersion, model } from "../../state/session.ts";
import { select } from "../../state/view.ts";
import { NodeActions } from "./actions.tsx";
import { Grid } from "./tables.tsx";

export function NodesDetails({ nodes }: { nodes: readonly GraphNode[] }) {
  contentVersion.value;
  return (
    <>
      <header>
        <h2>{counted(nodes.length, "node")}</h2>
        <button type="button" class="close" aria-label="Close details" onClick={() => select(null)}>
          ×
        </button>
      </header>
      <div class="toolbar">
        <NodeActions nodes={nodes} />
      </div>
      <div class="selected-nodes" tabIndex={0} role="group" aria-label="List of selected nodes">
        <Grid name="Selected nodes" columns={["Node", "Type", "State", "Inside", ""]} rows={nodes.map(cellsOf)} />
      </div>
    </>
  );
}

function cellsOf(node: GraphNode) {
  const name = label(node.name, 60);
  return [
    <>
      <FamilyIcon family={node.family} isDown={isDown(node)} />{" "}
      <button type="button" class="link" onClick={() => select(node.tid)}>
        {name}
      </button>
    </>,
    label(node.type, 30),
    [label(node.state, 20), ...(node.isCaptured ? ["captured"] : [])].filter((text) => text !== "").join(", "),
    label(model.owner(node)?.name ?? node.host, 60),
    <button
      type="button"
      class="close"
      aria-label={`Take ${name} out of the selection`}
      title="Take out of the selection"
      onClick={() => toggleSelected(node)}
    >
      ×
    </button>,
  ];
}
