// The path that is marked on the graph, as a list of its nodes.

import { label } from "../parts/names.ts";
import { flowOf } from "../state/selected.ts";
import { path } from "../state/marks.ts";
import { model, structureVersion } from "../state/session.ts";
import { select, selection } from "../state/view.ts";

export function PathPanel() {
  structureVersion.value;
  const nodes = path.value.flatMap((id) => model.nodes.get(id) ?? []);
  // The details of a flow list its path themselves.
  if (nodes.length === 0 || flowOf(selection.value) !== undefined) {
    return null;
  }
  return (
    <section class="panel result" aria-label="Path result">
      <header>
        <h2>Path of {nodes.length} nodes</h2>
        <button type="button" class="close" aria-label="Close path" onClick={() => (path.value = [])}>
          ×
        </button>
      </header>
      <ol class="path across" aria-label="Path">
        {nodes.map((node) => (
          <li key={node.id}>
            <button type="button" class="link" onClick={() => select(node.tid)}>
              {label(node.name, 60)}
            </button>{" "}
            on {label(node.host, 60) || "this host"}
          </li>
        ))}
      </ol>
    </section>
  );
}
