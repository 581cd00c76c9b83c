// A saved graph, shown instead of the daemon's.

import { batch } from "@preact/signals";
import { parseGraph } from "../graph/saved.ts";
import { label } from "../parts/names.ts";
import { showGraph } from "./session.ts";
import { pastTime, savedGraph } from "./view.ts";

/** Shows the graph of a file until the user returns to the present. Throws an `Error` if it has none. */
export function openGraph(name: string, text: string): void {
  const graph = parseGraph(text);
  batch(() => {
    pastTime.value = null;
    savedGraph.value = label(name, 60);
    showGraph(graph);
  });
}
