// Actions of a node: captures, injections, and paths.

import { canCapture } from "../../graph/capture.ts";
import type { GraphNode } from "../../graph/model.ts";
import { errorText, json, send } from "../../net/rest.ts";
import { type Json, isObject, listOf, textOf } from "../../parts/json.ts";
import { label } from "../../parts/names.ts";
import { openDialog } from "../../state/dialogs.ts";
import { notify } from "../../state/notices.ts";
import { contentVersion } from "../../state/session.ts";
import { pastTime } from "../../state/view.ts";

export function NodeActions({ node }: { node: GraphNode }) {
  contentVersion.value;
  const isPast = pastTime.value !== null;
  const reason = isPast ? "Not available in the past" : undefined;
  const button = (name: string, run: () => void) => (
    <button type="button" disabled={isPast} title={reason} onClick={run}>
      {name}
    </button>
  );
  return (
    <>
      {canCapture(node) && button("Start capture", () => (openDialog.value = "capture"))}
      {node.isCaptured && button("Stop capture", () => void stopCaptures(node))}
      {canCapture(node) && button("Inject packets", () => (openDialog.value = "inject"))}
      <button type="button" onClick={() => (openDialog.value = "path")}>
        Path to…
      </button>
    </>
  );
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
