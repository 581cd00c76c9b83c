// Selections that are not nodes: flows and links.

import { batch, signal } from "@preact/signals";
import { type Json, textOf } from "../parts/json.ts";
import { selection, tab } from "./view.ts";

/** Prefix of the selection of a flow, as opposed to a node. */
const PREFIX = "flow:";

/** Record of the flow that was selected last. */
export const selectedFlow = signal<Json | null>(null);

/** Selects a flow. */
export function selectFlow(flow: Json): void {
  batch(() => {
    selectedFlow.value = flow;
    selection.value = `${PREFIX}${textOf(flow, "UUID")}`;
    tab.value = "Overview";
  });
}

/** Returns the UUID of the selected flow; `undefined` if the selection is not a flow. */
export function flowOf(key: string | null): string | undefined {
  return key?.startsWith(PREFIX) ? key.slice(PREFIX.length) : undefined;
}

/** Prefix of the selection of a link. */
const LINK_PREFIX = "link:";

/** Returns the selection of a link. */
export function linkKey(id: string): string {
  return `${LINK_PREFIX}${id}`;
}

/** Returns the id of the selected link; `undefined` if the selection is not a link. */
export function linkOf(key: string | null): string | undefined {
  return key?.startsWith(LINK_PREFIX) ? key.slice(LINK_PREFIX.length) : undefined;
}
