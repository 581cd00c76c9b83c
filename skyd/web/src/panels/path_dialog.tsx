// The dialog that finds the shortest path from a node to another one.

import type { GraphNode } from "../graph/model.ts";
import { search } from "../graph/search.ts";
import { atTime, literal, nodeQuery } from "../net/gremlin.ts";
import { query } from "../net/rest.ts";
import { Dialog } from "../parts/dialog.tsx";
import { ChoiceField, TextField, formText } from "../parts/field.tsx";
import { type Json, textOf } from "../parts/json.ts";
import { path } from "../state/marks.ts";
import { model } from "../state/session.ts";
import { pastTime } from "../state/view.ts";

const KINDS: [string, string][] = [
  ["", "All links"],
  ["layer2", "Layer 2 links only"],
];

interface Props {
  node: GraphNode;
  onClose: () => void;
}

export function PathDialog({ node, onClose }: Props) {
  return (
    <Dialog
      title="Path to…"
      action="Find path"
      onClose={onClose}
      onSubmit={(form) => find(node, formText(form, "target"), formText(form, "kind"))}
    >
      <TextField label="Destination" name="target" isRequired hint="Name, address, or identifier of a node." />
      <ChoiceField label="Links" name="kind" options={KINDS} />
    </Dialog>
  );
}

/** Marks the shortest path on the graph. Throws an `Error` if there is no such node or path. */
async function find(from: GraphNode, text: string, kind: string): Promise<void> {
  const target = search(model, text).find((found) => found !== from);
  const id = target && literal(target.tid);
  if (!target || !id) {
    throw new Error(`No other node matches “${text}”.`);
  }
  const links = kind === "" ? "" : `, Metadata('RelationType', '${kind}')`;
  const answer = await query(
    atTime(`${nodeQuery(from)}.ShortestPathTo(Metadata('TID', ${id})${links})`, pastTime.value),
  );
  const [first] = Array.isArray(answer) ? answer : [];
  const nodes: Json[] = Array.isArray(first) ? first : [];
  if (nodes.length === 0) {
    throw new Error(`There is no path to ${target.name}.`);
  }
  path.value = nodes.map((found) => textOf(found, "ID"));
}
