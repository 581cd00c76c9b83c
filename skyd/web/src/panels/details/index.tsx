// Details of what is selected: a node or a flow.

import { model, structureVersion } from "../../state/session.ts";
import { flowOf } from "../../state/flows.ts";
import { selection } from "../../state/view.ts";
import { FlowDetails } from "./flow.tsx";
import { NodeDetails } from "./node.tsx";

export function Details() {
  structureVersion.value;
  const uuid = flowOf(selection.value);
  const node = uuid === undefined ? model.find(selection.value) : undefined;
  if (uuid === undefined && !node) {
    return null;
  }
  return (
    <aside class="details" aria-label="Details">
      {node ? <NodeDetails key={node.id} node={node} /> : <FlowDetails key={uuid} uuid={uuid ?? ""} />}
    </aside>
  );
}
