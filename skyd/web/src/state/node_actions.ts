// What can be done with the selected nodes: the same actions are in their details, in their menu, and on
// keys.

import { canCapture, capturesOf } from "../graph/capture.ts";
import type { GraphNode } from "../graph/model.ts";
import { nodeQuery, nodesQuery } from "../net/gremlin.ts";
import { errorText, json, send } from "../net/rest.ts";
import { copyText } from "../parts/copy.tsx";
import { type Json, isObject, textOf } from "../parts/json.ts";
import { counted, label } from "../parts/names.ts";
import { isOpen, setOpen } from "./branches.ts";
import { changeFilter } from "./changes.ts";
import { openDialog } from "./dialogs.ts";
import { refusal } from "./me.ts";
import { notify } from "./notices.ts";
import { model } from "./session.ts";
import { reduceSelection } from "./selected.ts";
import { flowFilter, panel, tab } from "./view.ts";

export interface NodeAction {
  name: string;
  /** Letter that performs it while the node is selected. */
  key?: string;
  /** Why it is not possible now. */
  refusal?: string | undefined;
  run: () => void;
}

const dialog = (name: "capture" | "inject" | "path") => () => (openDialog.value = name);

/** Returns the actions of the selected nodes, in the order of their menu. */
export function actionsOf(nodes: readonly GraphNode[]): NodeAction[] {
  const [first] = nodes;
  return first && nodes.length === 1 ? nodeActions(first) : first ? sharedActions(nodes) : [];
}

function nodeActions(node: GraphNode): NodeAction[] {
  const canInject = canCapture(node);
  const offered: (NodeAction | false)[] = [
    canCapture(node) && { name: "Start capture", key: "c", refusal: refusal("capture"), run: dialog("capture") },
    node.isCaptured && { name: "Stop capture", refusal: refusal("capture"), run: () => void stopCaptures([node]) },
    canInject && { name: "Inject packets", key: "i", refusal: refusal("injectpacket"), run: dialog("inject") },
    { name: "Path to…", key: "p", run: dialog("path") },
    { name: "Show flows", key: "f", run: () => showFlows(node) },
    { name: "Show changes", run: () => showChanges(node) },
    { name: "Copy Gremlin", key: "g", run: () => void copyQuery(nodeQuery(node)) },
    model.hasChildren(node) && {
      name: isOpen(node) ? "Close branch" : "Open branch",
      run: () => setOpen([node], !isOpen(node)),
    },
  ];
  return offered.filter((action) => action !== false);
}

/** Returns the actions of several nodes: each acts on all of them. */
function sharedActions(nodes: readonly GraphNode[]): NodeAction[] {
  const captured = nodes.filter((node) => node.isCaptured);
  const gremlin = nodesQuery(nodes);
  const unnamed = gremlin === undefined ? NO_QUERY : undefined;
  const isPair = nodes.length === 2;
  const canInject = isPair && nodes.every(canCapture);
  const offered: (NodeAction | false)[] = [
    nodes.some(canCapture) && {
      name: "Start capture",
      key: "c",
      refusal: refusal("capture") ?? (nodesQuery(nodes.filter(canCapture)) === undefined ? NO_QUERY : undefined),
      run: dialog("capture"),
    },
    captured.length > 0 && {
      name: "Stop capture",
      refusal: refusal("capture"),
      run: () => void stopCaptures(captured),
    },
    canInject && { name: "Inject packets", key: "i", refusal: refusal("injectpacket"), run: dialog("inject") },
    isPair && { name: "Path to…", key: "p", run: dialog("path") },
    { name: "Show flows", key: "f", refusal: unnamed, run: () => showFlowsOf(gremlin) },
    { name: "Copy Gremlin", key: "g", refusal: unnamed, run: () => void copyQuery(gremlin) },
    { name: "Select only the first", run: reduceSelection },
  ];
  return offered.filter((action) => action !== false);
}

/** Why there is no query of several nodes. */
const NO_QUERY = "A selected node has no stable identifier (TID) that a query can name.";

function showFlowsOf(gremlin = ""): void {
  flowFilter.value = `${gremlin}.Flows()`;
  panel.value = "Flows";
}

function showFlows(node: GraphNode): void {
  if (node.isCaptured) {
    tab.value = "Flows";
  } else {
    panel.value = "Flows";
  }
}

function showChanges(node: GraphNode): void {
  changeFilter.value = node.name;
  panel.value = "Changes";
}

async function copyQuery(gremlin = ""): Promise<void> {
  await copyText(gremlin);
  notify(`Copied ${label(gremlin, 200)}`);
}

/** Deletes the captures of nodes, and offers to create them again. */
async function stopCaptures(nodes: readonly GraphNode[]): Promise<void> {
  const captures = nodes.flatMap(capturesOf);
  const ids = new Set(captures.map((capture) => textOf(capture, "ID")));
  const [first] = nodes;
  const where = first && nodes.length === 1 ? label(first.name, 40) : counted(nodes.length, "node");
  try {
    const all = await json("GET", "/api/capture");
    const specs = isObject(all) ? Object.values(all).filter((spec) => ids.has(textOf(spec, "UUID"))) : [];
    await Promise.all([...ids].map((id) => send("DELETE", `/api/capture/${encodeURIComponent(id)}`)));
    notify(`Stopped ${ids.size === 1 ? "the capture" : `${ids.size} captures`} on ${where}.`, {
      name: "Undo",
      run: () => void restore(specs),
    });
  } catch (error) {
    notify(errorText(error));
  }
}

async function restore(specs: Json[]): Promise<void> {
  try {
    await Promise.all(specs.map((spec) => json("POST", "/api/capture", spec)));
  } catch (error) {
    notify(errorText(error));
  }
}
