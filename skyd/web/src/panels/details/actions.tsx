// Buttons of the actions of the selected nodes.

import type { GraphNode } from "../../graph/model.ts";
import { actionsOf } from "../../state/node_actions.ts";
import { contentVersion } from "../../state/session.ts";

/** Actions that only the menu of a single node has: what they show is elsewhere in its details, or in the tree. */
const ONLY_IN_MENU = ["Show flows", "Show changes", "Copy Gremlin", "Open branch", "Close branch"];

export function NodeActions({ nodes }: { nodes: readonly GraphNode[] }) {
  contentVersion.value;
  return (
    <>
      {actionsOf(nodes)
        .filter(({ name }) => nodes.length > 1 || !ONLY_IN_MENU.includes(name))
        .map(({ name, refusal, run }) => (
          <button key={name} type="button" disabled={refusal !== undefined} title={refusal} onClick={run}>
            {name}
          </button>
        ))}
    </>
  );
}
