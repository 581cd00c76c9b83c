// Sections of a node's details that are tables: values, addresses, routes, neighbors, forwarding
// entries, features, and any other object of the metadata.

import type { ComponentChildren } from "preact";
import type { GraphNode } from "../../graph/model.ts";
import { CopyButton } from "../../parts/copy.tsx";
import { type Json, isObject, listOf, member, numberOf, textOf, textsOf } from "../../parts/json.ts";
import { compareNatural, label, multiline } from "../../parts/names.ts";
import { Moment, MomentText } from "../../parts/moment.tsx";
import { SaveTable } from "../../parts/table_csv.tsx";
import { Value } from "../../parts/value.tsx";
import { valueText } from "../../parts/value_text.ts";

/** Most rows of a table; the rest is in the section `Raw`. */
const MAX_ROWS = 500;

/** A table of keys and values, each with a button that copies it. */
export function ValueTable({ name, rows }: { name: string; rows: [string, Json | Moment][] }) {
  return (
    <div class="table">
      <table class="values" aria-label={name}>
        <tbody>
          {rows.slice(0, MAX_ROWS).map(([key, value]) => (
            <tr key={key}>
              <th scope="row">{label(key, 80)}</th>
              <td>
                {value instanceof Moment ? <MomentText moment={value} /> : <Value value={value} />}{" "}
                <CopyButton name={label(key, 40)} text={value instanceof Moment ? value.iso : valueText(value)} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <SaveTable name={name} />
    </div>
  );
}

/** A table with a header and rows of text. */
export function Grid({ name, columns, rows }: { name: string; columns: string[]; rows: ComponentChildren[][] }) {
  return (
    <div class="table">
      <table class="grid" aria-label={name}>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column} scope="col">
                {column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, MAX_ROWS).map((row, index) => (
            <tr key={index}>
              {row.map((cell, at) => (
                <td key={at}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length > MAX_ROWS && <p class="note">{rows.length - MAX_ROWS} more rows are in the section Raw.</p>}
      <SaveTable name={name} />
    </div>
  );
}

export function Addresses({ node }: { node: GraphNode }) {
  const mac = textOf(node.metadata, "MAC");
  const rows = [
    ...textsOf(node.metadata, "IPV4").map((address) => ["IPv4", address]),
    ...textsOf(node.metadata, "IPV6").map((address) => ["IPv6", address]),
    ...(mac === "" ? [] : [["MAC", mac]]),
  ];
  const cells = rows.map(([kind = "", address = ""]) => [
    kind,
    <>
      <bdi>{label(address)}</bdi> <CopyButton name={label(address, 60)} text={address} />
    </>,
  ]);
  return <Grid name="Addresses" columns={["Kind", "Address"]} rows={cells} />;
}

export function Routes({ node }: { node: GraphNode }) {
  const rows = listOf(node.metadata, "RoutingTables").flatMap((table) =>
    listOf(table, "Routes").flatMap((route) => {
      const hops = listOf(route, "NextHops");
      return (hops.length > 0 ? hops : [null]).map((hop) => [
        label(textOf(route, "Prefix")) || "default",
        label(textOf(hop, "IP")) || "direct",
        String(numberOf(hop, "IfIndex") || ""),
        String(numberOf(hop, "Priority")),
        String(numberOf(table, "ID")),
      ]);
    }),
  );
  return <Grid name="Routes" columns={["Prefix", "Next hop", "Interface", "Priority", "Table"]} rows={rows} />;
}

export function Neighbors({ node }: { node: GraphNode }) {
  const rows = listOf(node.metadata, "Neighbors").map((entry) => [
    label(textOf(entry, "IP")),
    label(textOf(entry, "MAC")),
    label(textsOf(entry, "State").join(", ")),
  ]);
  return <Grid name="Neighbours" columns={["IP", "MAC", "State"]} rows={rows} />;
}

export function Forwarding({ node }: { node: GraphNode }) {
  const rows = listOf(node.metadata, "FDB").map((entry) => [
    label(textOf(entry, "MAC")),
    String(numberOf(entry, "Vlan") || ""),
    String(numberOf(entry, "IfIndex") || ""),
    label([...textsOf(entry, "Flags"), ...textsOf(entry, "State")].join(", ")),
  ]);
  return <Grid name="Forwarding" columns={["MAC", "VLAN", "Interface", "Flags"]} rows={rows} />;
}

export function Features({ node }: { node: GraphNode }) {
  const features = member(node.metadata, "Features");
  const entries = isObject(features) ? Object.entries(features) : [];
  const rows = entries
    .sort(([a], [b]) => compareNatural(a, b))
    .map(([key, value]) => [label(key, 80), value === true ? "on" : value === false ? "off" : label(valueText(value))]);
  return <Grid name="Features" columns={["Feature", "State"]} rows={rows} />;
}

/** Any object or list of the metadata, with dotted keys. */
export function Other({ name, value }: { name: string; value: Json }) {
  return <ValueTable name={name} rows={flatten(value)} />;
}

/** Returns the values of nested objects with dotted keys. */
export function flatten(value: Json, path = ""): [string, Json][] {
  if (isObject(value) || (Array.isArray(value) && value.some((item) => typeof item === "object"))) {
    const entries = Object.entries(value);
    return entries.flatMap(([key, inner]) => flatten(inner, path === "" ? key : `${path}.${key}`)).slice(0, MAX_ROWS);
  }
  return [[path, value]];
}

export function Raw({ value }: { value: Json }) {
  const text = JSON.stringify(value, null, 2);
  return (
    <>
      <CopyButton name="everything" text={text} label="Copy JSON" />
      <pre class="raw">{multiline(text)}</pre>
    </>
  );
}
