// The path that is marked on the graph, as a list of its nodes.

import { label } from "../parts/names.ts";
import { useReveal } from "../parts/reveal.ts";
import { flowOf } from "../state/selected.ts";
import { path, route, showPath } from "../state/marks.ts";
import { model, structureVersion } from "../state/session.ts";
import { select, selection } from "../state/view.ts";

export function PathPanel() {
  structureVersion.value;
  const way = route.value;
  const element = useReveal<HTMLElement>(path.value);
  const nodes = path.value.flatMap((id, at) => {
    const node = model.nodes.get(id);
    return node ? [{ node, text: way?.hops[at]?.text ?? "" }] : [];
  });
  // The details of a flow list its path themselves.
  if ((nodes.length === 0 && !way) || flowOf(selection.value) !== undefined) {
    return null;
  }
  return (
    <section class="panel result" aria-label="Path result" ref={element}>
      <header>
        <h2>{way ? `From ${way.from} to ${way.to}` : `Path of ${nodes.length} nodes`}</h2>
        <button type="button" class="close" aria-label="Close path" onClick={() => showPath([])}>
          ×
        </button>
      </header>
      {way && (
        <p class={way.isReached ? "note" : "error"} role="status" aria-label="Path state">
          {way.isReached ? "Reached" : "Not reached"}
          {way.text !== "" && `: ${way.text}`}
        </p>
      )}
      <ol class="path across" aria-label="Path">
        {nodes.map(({ node, text }, index) => (
          <li key={index}>
            <button type="button" class="link" onClick={() => select(node.tid)}>
              {label(node.name, 60)}
            </button>{" "}
            on {label(node.host, 60) || "this host"}
            {text !== "" && <small> {text}</small>}
          </li>
        ))}
      </ol>
    </section>
  );
}
