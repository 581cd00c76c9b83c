// The flows that were captured on a node.

import type { GraphNode } from "../../graph/model.ts";
import { nodeQuery } from "../../net/gremlin.ts";
import { FlowList } from "../flow_list.tsx";

export function NodeFlows({ node }: { node: GraphNode }) {
  return <FlowList gremlin={`${nodeQuery(node)}.Flows().Limit(200)`} />;
}
