// The dialog that finds a path from a node: the way of a packet, or the shortest path.

import type { GraphNode } from "../graph/model.ts";
import { routesOf } from "../graph/route.ts";
import { search } from "../graph/search.ts";
import { atTime, isAddress, literal, nodeQuery } from "../net/gremlin.ts";
import { query } from "../net/rest.ts";
import { Dialog } from "../parts/dialog.tsx";
import { ChoiceField, TextField, formText } from "../parts/field.tsx";
import { asArray, textOf } from "../parts/json.ts";
import { showPath } from "../state/marks.ts";
import { model } from "../state/session.ts";
import { pastTime } from "../state/view.ts";

const KINDS: [string, string][] = [
  ["", "A packet's way to an address, else all links"],
  ["packet", "A packet's way: routes, then layer 2"],
  ["all", "All links"],
  ["layer2", "Layer 2 links only"],
];

interface Props {
  node: GraphNode;
  /** Node to which the path is wanted, if one is selected too. */
  target: GraphNode | undefined;
  onClose: () => void;
}

export function PathDialog({ node, target, onClose }: Props) {
  return (
    <Dialog
      title="Path to…"
      action="Find path"
      onClose={onClose}
      onSubmit={(form) => find(node, formText(form, "target"), formText(form, "kind"))}
    >
      <TextField
        label="Destination"
        name="target"
        value={target?.tid ?? ""}
        isRequired
        hint="Name, address, or identifier of a node, or an address outside."
      />
      <ChoiceField label="Follow" name="kind" options={KINDS} />
    </Dialog>
  );
}

/** Marks a path on the graph. Throws an `Error` if there is no such node or path. */
async function find(from: GraphNode, text: string, kind: string): Promise<void> {
  if (kind === "packet" || (kind === "" && isAddress(text))) {
    await findRoute(from, text);
  } else {
    await findShortest(from, text, kind === "layer2" ? `, Metadata('RelationType', 'layer2')` : "");
  }
}

/** Marks the way of a packet to an address, or to the node that a text finds. */
async function findRoute(from: GraphNode, text: string): Promise<void> {
  const target = isAddress(text) ? text : search(model, text).find((found) => found !== from)?.id;
  const argument = target && literal(target);
  if (!argument) {
    throw new Error(`No other node matches “${text}”.`);
  }
  const [way] = routesOf(await query(atTime(`${nodeQuery(from)}.PathTo(${argument})`, pastTime.value)));
  if (!way) {
    throw new Error(`Nothing is known about the way from ${from.name}.`);
  }
  showPath(
    way.hops.map(({ id }) => id),
    way,
  );
}

async function findShortest(from: GraphNode, text: string, links: string): Promise<void> {
  const target = search(model, text).find((found) => found !== from);
  const id = target && literal(target.tid);
  if (!target || !id) {
    throw new Error(`No other node matches “${text}”.`);
  }
  const answer = await query(
    atTime(`${nodeQuery(from)}.ShortestPathTo(Metadata('TID', ${id})${links})`, pastTime.value),
  );
  const nodes = asArray(asArray(answer)[0]);
  if (nodes.length === 0) {
    throw new Error(`There is no path to ${target.name}.`);
  }
  showPath(nodes.map((found) => textOf(found, "ID")));
}
