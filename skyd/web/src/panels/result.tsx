// The answer to a Gremlin query: nodes, links, flows, paths, or values, each in its form.

import { useRef } from "preact/hooks";
import { treeName } from "../graph/search.ts";
import type { LiveAnswer } from "../net/live.ts";
import { type Json, isObject, member, textOf } from "../parts/json.ts";
import { label } from "../parts/names.ts";
import { Notes } from "../parts/notes.tsx";
import { Explain } from "./explain.tsx";
import { ROW_HEIGHT, Spacer, useSlice } from "../parts/virtual.tsx";
import { answer, answerNotes } from "../state/query.ts";
import { contentVersion, model } from "../state/session.ts";
import { graphFilter, queryText, select } from "../state/view.ts";
import { flowName } from "../flow/flow.ts";
import { linkKey, selectFlow } from "../state/selected.ts";

const NOUNS: Record<string, string> = { nodes: "node", graph: "node", edges: "link", flows: "flow", paths: "path" };

export function QueryResult() {
  const shown = answer.value;
  const scroller = useRef<HTMLDivElement>(null);
  const items = shown ? itemsOf(shown) : [];
  const slice = useSlice(scroller, items.length, ROW_HEIGHT);
  if (!shown) {
    return null;
  }
  contentVersion.value;
  const isSingle = shown.kind === "number";
  const noun = NOUNS[shown.kind] ?? "value";
  const heading = isSingle ? String(items[0]) : `${items.length} ${noun}${items.length === 1 ? "" : "s"}`;
  return (
    <section class="panel result" aria-label="Query result">
      <header>
        <h2>{heading}</h2>
      </header>
      <div class="explain">
        {(shown.kind === "nodes" || shown.kind === "graph") && (
          <button type="button" onClick={() => (graphFilter.value = queryText.value.replace(/\.SubGraph\(\)\s*$/, ""))}>
            Show only these
          </button>
        )}
        <Explain />
      </div>
      <Notes notes={answerNotes.value} />
      {!isSingle && (
        <div class="scroller" ref={scroller} tabIndex={0} role="group" aria-label="Results">
          <ul class="lines">
            <Spacer height={slice.before} />
            {items.slice(slice.first, slice.end).map((item, index) => (
              <li key={slice.first + index} style={{ height: `${ROW_HEIGHT}px` }}>
                <Entry kind={shown.kind} item={item} />
              </li>
            ))}
            <Spacer height={slice.after} />
          </ul>
        </div>
      )}
    </section>
  );
}

/** Returns the items to list; those of a graph are its nodes. */
function itemsOf(shown: LiveAnswer): Json[] {
  return shown.items.filter((item) => item !== null);
}

function Entry({ kind, item }: { kind: string; item: Json }) {
  if (kind === "flows") {
    return (
      <button type="button" class="link" onClick={() => selectFlow(item)}>
        {flowName(item)}
      </button>
    );
  }
  if (kind === "paths" && Array.isArray(item)) {
    return <span>{item.map((node) => label(textOf(member(node, "Metadata"), "Name"), 40)).join(" → ")}</span>;
  }
  if (isObject(item) && isObject(member(item, "Metadata"))) {
    return kind === "edges" || Object.hasOwn(item, "Parent") ? <EdgeEntry item={item} /> : <NodeEntry item={item} />;
  }
  return <span>{label(typeof item === "string" ? item : JSON.stringify(item), 400)}</span>;
}

function NodeEntry({ item }: { item: Json }) {
  const node = model.nodes.get(textOf(item, "ID"));
  const metadata = member(item, "Metadata");
  const name = node ? treeName(node) : `${label(textOf(metadata, "Name"))}, ${label(textOf(metadata, "Type"), 40)}`;
  const key = textOf(metadata, "TID") || textOf(item, "ID");
  // Interfaces of several namespaces have the same name.
  const owner = node && model.owner(node);
  return (
    <>
      <button type="button" class="link" onClick={() => select(key)}>
        {name}
      </button>
      {owner && <span class="result-owner"> in {label(owner.name, 60)}</span>}
    </>
  );
}

function EdgeEntry({ item }: { item: Json }) {
  const end = (key: string) => {
    const node = model.nodes.get(textOf(item, key));
    return node ? label(node.name, 60) : label(textOf(item, key), 40);
  };
  const relation = label(textOf(member(item, "Metadata"), "RelationType"), 40);
  return (
    <button
      type="button"
      class="link"
      onClick={() => select(linkKey(textOf(item, "ID")))}
    >{`${end("Parent")} – ${end("Child")}, ${relation}`}</button>
  );
}
