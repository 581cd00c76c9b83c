// OpenFlow rules of a bridge: table by table, by priority, with their counters.

import type { GraphModel, GraphNode } from "../../graph/model.ts";
import { type Json, listOf, member, numberOf, textOf } from "../../parts/json.ts";
import { label } from "../../parts/names.ts";
import { amount, bytes } from "../../parts/units.ts";
import { model } from "../../state/session.ts";
import { Grid } from "./tables.tsx";

/** Returns the rules of a bridge, sorted by table, then from the highest priority. */
export function rulesOf(graph: GraphModel, bridge: GraphNode): GraphNode[] {
  const rules = graph.children(bridge).filter((node) => node.type === "ofrule");
  const order = (node: GraphNode, key: string) => numberOf(node.metadata, key);
  return rules.sort(
    (a, b) =>
      order(a, "Table") - order(b, "Table") || order(b, "Priority") - order(a, "Priority") || (a.id < b.id ? -1 : 1),
  );
}

export function Rules({ node }: { node: GraphNode }) {
  const tables = new Map<number, GraphNode[]>();
  for (const rule of rulesOf(model, node)) {
    const table = numberOf(rule.metadata, "Table");
    tables.set(table, [...(tables.get(table) ?? []), rule]);
  }
  return (
    <>
      {[...tables].map(([table, rules]) => (
        <section key={table}>
          <h3>Table {table}</h3>
          <Grid
            name={`Rules of table ${table}`}
            columns={["Priority", "Match", "Actions", "Packets", "Bytes"]}
            rows={rules.map(({ metadata }) => [
              String(numberOf(metadata, "Priority")),
              <code>{label(matchText(metadata), 300) || "any"}</code>,
              <code>{label(actionText(metadata), 300)}</code>,
              amount(numberOf(member(metadata, "Metric"), "RxPackets")),
              bytes(numberOf(member(metadata, "Metric"), "RxBytes")),
            ])}
          />
        </section>
      ))}
    </>
  );
}

/** Returns what a rule matches: `in_port=1,ip,nw_dst=10.0.0.0/255.0.0.0`. */
export function matchText(metadata: Json): string {
  const filters = listOf(metadata, "Filters").map((filter) => {
    const [key, mask] = [textOf(filter, "Key") || textOf(filter, "Type"), scalar(filter, "Mask")];
    const value = scalar(filter, "Value");
    return `${key}${value === "" ? "" : `=${value}`}${mask === "" ? "" : `/${mask}`}`;
  });
  return filters.join(",");
}

/** Returns the actions of a rule: `output(2),goto_table(3)`. */
export function actionText(metadata: Json): string {
  const actions = [...listOf(metadata, "Actions"), ...listOf(metadata, "WriteActions")].map(action);
  const goto = member(metadata, "GotoTable");
  return [...actions, ...(typeof goto === "number" ? [`goto_table(${goto})`] : [])].join(",");
}

/** Nested actions are shown to this depth. */
const MAX_DEPTH = 4;

function action(value: Json, depth = 0): string {
  if (typeof value !== "object" || value === null) {
    return String(value ?? "");
  }
  const name = textOf(value, "Function") || textOf(value, "Type");
  const inner = depth < MAX_DEPTH ? listOf(value, "Arguments").map((part) => action(part, depth + 1)) : [];
  return inner.length === 0 ? name : `${name}(${inner.join(",")})`;
}

function scalar(value: Json, key: string): string {
  const found = member(value, key);
  return typeof found === "string" || typeof found === "number" ? String(found) : "";
}
