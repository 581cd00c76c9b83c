// What follows the selection: the title of the document, and the way to the selected node.

import { effect, untracked } from "@preact/signals";
import { counted, label } from "../parts/names.ts";
import { openWayTo } from "./branches.ts";
import { host } from "./health.ts";
import { selectedNodes } from "./selected.ts";
import { model, syncCount } from "./session.ts";
import { selection } from "./view.ts";

/** Names the selected node and the daemon's host in the title, and opens the branches above a node when
 * it is selected. */
export function followSelection(): void {
  effect(() => {
    const [node, ...more] = selectedNodes.value;
    const selected = node && (more.length > 0 ? counted(more.length + 1, "node") : label(node.name, 60));
    document.title = [selected, "skyd", host.value].filter((part) => part).join(" – ");
  });
  effect(() => {
    syncCount.value;
    const node = model.find(selection.value);
    if (node) {
      untracked(() => openWayTo(model, node));
    }
  });
}
