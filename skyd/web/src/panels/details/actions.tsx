// Actions of a node: start and stop captures.

import { useSignal } from "@preact/signals";
import type { GraphNode } from "../../graph/model.ts";
import { errorText, json, send } from "../../net/rest.ts";
import { type Json, isObject, listOf, textOf } from "../../parts/json.ts";
import { label } from "../../parts/names.ts";
import { notify } from "../../state/notices.ts";
import { contentVersion } from "../../state/session.ts";
import { pastTime } from "../../state/view.ts";
import { CaptureDialog } from "../capture_dialog.tsx";

/** Types of nodes on which the daemon can capture. */
const CAPTURABLE = new Set(
  ("ovsbridge ovsport dpdkport internal veth tun bridge dummy gre bond can hsr ifb macvlan macvtap vlan vxlan gretap " +
    "ip6gretap geneve ipoib vcan ipip ipvlan lowpan ip6tnl ip6gre sit device").split(" "),
);

export function NodeActions({ node }: { node: GraphNode }) {
  const isDialogOpen = useSignal(false);
  contentVersion.value;
  const isPast = pastTime.value !== null;
  const reason = isPast ? "Not available in the past" : undefined;
  return (
    <>
      {CAPTURABLE.has(node.type) && (
        <button type="button" disabled={isPast} title={reason} onClick={() => (isDialogOpen.value = true)}>Start capture</button>
      )}
      {node.isCaptured && (
        <button type="button" disabled={isPast} title={reason} onClick={() => void stopCaptures(node)}>Stop capture</button>
      )}
      {isDialogOpen.value && <CaptureDialog node={node} onClose={() => (isDialogOpen.value = false)} />}
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
