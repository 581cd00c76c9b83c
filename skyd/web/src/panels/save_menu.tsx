// Saves the graph as JSON or the canvas as a picture.

import type { RefObject } from "preact";
import { saveFile } from "../parts/save.ts";
import { model } from "../state/session.ts";
import { pastTime } from "../state/view.ts";

export function SaveMenu({ canvas }: { canvas: RefObject<HTMLCanvasElement | null> }) {
  const picture = () => canvas.current?.toBlob((data) => data && saveFile("topology.png", data));
  return (
    <>
      <button type="button" title="Save the shown part as a picture" onClick={picture}>
        PNG
      </button>
      <button type="button" title="Save all nodes and links" onClick={saveGraph}>
        JSON
      </button>
    </>
  );
}

/** Saves the graph in the form of `GET /api/topology`. */
function saveGraph(): void {
  const nodes = [...model.nodes.values()].map((node) => ({
    ID: node.id,
    Metadata: node.metadata,
    Host: node.host,
    CreatedAt: node.createdAt,
    UpdatedAt: node.updatedAt,
    Revision: node.revision,
  }));
  const edges = [...model.edges.values()].map((edge) => ({
    ID: edge.id,
    Metadata: edge.metadata,
    Parent: edge.parent,
    Child: edge.child,
  }));
  const text = JSON.stringify([{ Nodes: nodes, Edges: edges }], null, 1);
  const time = new Date(pastTime.value ?? Date.now()).toISOString().replaceAll(":", "-");
  saveFile(`topology-${time}.json`, new Blob([text], { type: "application/json" }));
}
