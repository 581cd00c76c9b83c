// What follows the selection: the title of the document, and the way to the selected node.

import { effect, untracked } from "@preact/signals";
import { label } from "../parts/names.ts";
import { openWayTo } from "./branches.ts";
import { host } from "./health.ts";
import { model, structureVersion, syncCount } from "./session.ts";
import { selection } from "./view.ts";

/** Names the selected node and the daemon's host in the title, and opens the branches above a node when
 * it is selected. */
export function followSelection(): void {
  effect(() => {
    structureVersion.value;
    const node = model.find(selection.value);
    const parts = ["skyd", host.value].filter((part) => part !== "");
    document.title = [...(node ? [label(node.name, 60)] : []), ...parts].join(" – ");
  });
  effect(() => {
    syncCount.value;
    const node = model.find(selection.value);
    if (node) {
      untracked(() => openWayTo(model, node));
    }
  });
}
