// Buttons of the actions of a node.

import type { GraphNode } from "../../graph/model.ts";
import { nodeActions } from "../../state/node_actions.ts";
import { contentVersion } from "../../state/session.ts";

/** Actions that only the menu has: their results are elsewhere in the details, or in the tree. */
const ONLY_IN_MENU = ["Show flows", "Show changes", "Copy Gremlin", "Open branch", "Close branch"];

export function NodeActions({ node }: { node: GraphNode }) {
  contentVersion.value;
  return (
    <>
      {nodeActions(node)
        .filter(({ name }) => !ONLY_IN_MENU.includes(name))
        .map(({ name, refusal, run }) => (
          <button key={name} type="button" disabled={refusal !== undefined} title={refusal} onClick={run}>
            {name}
          </button>
        ))}
    </>
  );
}
