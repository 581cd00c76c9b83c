// What is said about the item under the pointer. Pure.

import { type Json, numberOf } from "../parts/json.ts";
import { counted } from "../parts/names.ts";
import { capturesOf } from "./capture.ts";
import { droppedBy } from "./model.ts";
import { type Item, titleOf } from "./scene.ts";
import { treeName } from "./search.ts";

/** Returns the description of an item: of a node as in the tree, with the counters of its captures. */
export function hoverText(item: Item, alerts = 0): string {
  if (item.rack) {
    return `${titleOf(item)}, ${counted(item.rack.hosts.length, "host")}`;
  }
  if (item.folded > 1) {
    return `${item.node.type} ×${item.folded}${item.down > 0 ? `, ${item.down} down` : ""}`;
  }
  const captures = capturesOf(item.node);
  const sum = (count: (capture: Json) => number) => captures.reduce<number>((all, capture) => all + count(capture), 0);
  const received = sum((capture) => numberOf(capture, "PacketsReceived"));
  const packets = captures.length > 0 ? `: ${counted(received, "packet")}, ${sum(droppedBy)} dropped` : "";
  return `${treeName(item.node, alerts)}${packets}`;
}
