// Details of what is selected: a node, several nodes, a link, or a flow.

import { model, structureVersion } from "../../state/session.ts";
import { flowOf, linkOf, selectedNodes } from "../../state/selected.ts";
import { selection } from "../../state/view.ts";
import { Splitter } from "../../parts/splitter.tsx";
import { FlowDetails } from "./flow.tsx";
import { LinkDetails } from "./link.tsx";
import { NodeDetails } from "./node.tsx";
import { NodesDetails } from "./nodes.tsx";

export function Details() {
  structureVersion.value;
  const uuid = flowOf(selection.value);
  const edge = model.edges.get(linkOf(selection.value) ?? "");
  const nodes = selectedNodes.value;
  const [node] = nodes;
  const content =
    uuid !== undefined ? (
      <FlowDetails key={uuid} uuid={uuid} />
    ) : edge ? (
      <LinkDetails key={edge.id} edge={edge} />
    ) : nodes.length > 1 ? (
      <NodesDetails nodes={nodes} />
    ) : (
      node && <NodeDetails key={node.id} node={node} />
    );
  return content ? (
    <>
      <Splitter name="Width of the details" variable="--details-width" isAfter initial={400} min={240} max={900} />
      <aside class="details" aria-label="Details">
        {content}
      </aside>
    </>
  ) : null;
}
