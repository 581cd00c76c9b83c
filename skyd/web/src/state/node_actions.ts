// What can be done with a node: the same actions are in its details, in its menu, and on keys.

import { canCapture } from "../graph/capture.ts";
import type { GraphNode } from "../graph/model.ts";
import { nodeQuery } from "../net/gremlin.ts";
import { errorText, json, send } from "../net/rest.ts";
import { copyText } from "../parts/copy.tsx";
import { type Json, isObject, listOf, textOf } from "../parts/json.ts";
import { label } from "../parts/names.ts";
import { isOpen, setOpen } from "./branches.ts";
import { changeFilter } from "./changes.ts";
import { openDialog } from "./dialogs.ts";
import { refusal } from "./me.ts";
import { notify } from "./notices.ts";
import { model } from "./session.ts";
import { panel, tab } from "./view.ts";

export interface NodeAction {
  name: string;
  /** Letter that performs it while the node is selected. */
  key?: string;
  /** Why it is not possible now. */
  refusal?: string | undefined;
  run: () => void;
}

/** Returns the actions of a node, in the order of its menu. */
export function nodeActions(node: GraphNode): NodeAction[] {
  const canInject = canCapture(node);
  const dialog = (name: "capture" | "inject" | "path") => () => (openDialog.value = name);
  const offered: (NodeAction | false)[] = [
    canCapture(node) && { name: "Start capture", key: "c", refusal: refusal("capture"), run: dialog("capture") },
    node.isCaptured && { name: "Stop capture", refusal: refusal("capture"), run: () => void stopCaptures(node) },
    canInject && { name: "Inject packets", key: "i", refusal: refusal("injectpacket"), run: dialog("inject") },
    { name: "Path to…", key: "p", run: dialog("path") },
    { name: "Show flows", key: "f", run: () => showFlows(node) },
    { name: "Show changes", run: () => showChanges(node) },
    { name: "Copy Gremlin", key: "g", run: () => void copyQuery(node) },
    model.hasChildren(node) && {
      name: isOpen(node) ? "Close branch" : "Open branch",
      run: () => setOpen([node], !isOpen(node)),
    },
  ];
  return offered.filter((action) => action !== false);
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

async function copyQuery(node: GraphNode): Promise<void> {
  await copyText(nodeQuery(node));
  notify(`Copied ${nodeQuery(node)}`);
}

/** Deletes the captures of a node, and offers to create them again. */
async function stopCaptures(node: GraphNode): Promise<void> {
  const ids = new Set(listOf(node.metadata, "Captures").map((capture) => textOf(capture, "ID")));
  try {
    const all = await json("GET", "/api/capture");
    const specs = isObject(all) ? Object.values(all).filter((spec) => ids.has(textOf(spec, "UUID"))) : [];
    await Promise.all([...ids].map((id) => send("DELETE", `/api/capture/${encodeURIComponent(id)}`)));
    notify(`Stopped the capture on ${label(node.name, 40)}.`, { name: "Undo", run: () => void restore(specs) });
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
