// The columns of the flow table: which there are, which are shown, and what their cells contain.

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import type { FlowColumn, FlowRow } from "../flow/flow.ts";
import { Sparkline } from "../parts/sparkline.tsx";
import { readStored, store } from "../parts/storage.ts";
import { amount, byteRate, bytes, clock, nanoseconds } from "../parts/units.ts";
import { flowHistory } from "../state/flow_table.ts";

export interface Column {
  id: FlowColumn;
  title: string;
  isNumber: boolean;
  /** Content of a cell; `age` is the age of the flow as text. */
  cell: (row: FlowRow, age: string) => ComponentChildren;
  /** Whether it is shown unless the user chooses otherwise. */
  isInitial: boolean;
}

const text = (id: FlowColumn, title: string, isInitial: boolean): Column => ({
  id,
  title,
  isNumber: false,
  cell: (row) => row[id],
  isInitial,
});
const number = (id: FlowColumn, title: string, isInitial: boolean, cell: Column["cell"]): Column => ({
  id,
  title,
  isNumber: true,
  cell,
  isInitial,
});

export const COLUMNS: Column[] = [
  {
    ...text("a", "A", true),
    cell: (row) => (
      <button type="button" class="link">
        {row.a}
      </button>
    ),
  },
  text("b", "B", true),
  text("protocol", "Protocol", true),
  text("application", "Application", true),
  number("rate", "Rate", true, (row) => (
    <>
      <Sparkline values={flowHistory(row.uuid)} /> {byteRate(row.rate)}
    </>
  )),
  number("bytes", "Bytes", true, (row) => bytes(row.bytes)),
  number("sent", "Bytes A to B", false, (row) => bytes(row.sent)),
  number("received", "Bytes B to A", false, (row) => bytes(row.received)),
  number("packets", "Packets", true, (row) => amount(row.packets)),
  number("rtt", "RTT", true, (row) => (row.rtt === 0 ? "" : nanoseconds(row.rtt))),
  number("start", "Age", true, (_, age) => age),
  number("last", "Last packet", false, (row) => clock(row.last)),
  text("layers", "Layers", false),
  text("node", "Node", false),
];

/** Columns that tell flows apart, so they cannot be hidden. */
const FIXED: FlowColumn[] = ["a", "b"];
const known = new Set<string>(COLUMNS.map(({ id }) => id));
const initial = COLUMNS.filter(({ isInitial }) => isInitial).map(({ id }) => id);
const stored = readStored("flowColumns");

/** Shown columns. */
const chosen = signal<ReadonlySet<string>>(
  new Set(Array.isArray(stored) ? [...FIXED, ...stored.filter((id) => known.has(String(id)))] : initial),
);

export function shownColumns(): Column[] {
  return COLUMNS.filter(({ id }) => chosen.value.has(id));
}

/** The menu that shows and hides columns. */
export function ColumnChoice() {
  const toggle = (id: string) => {
    const next = new Set(chosen.value);
    next.delete(id) || next.add(id);
    chosen.value = next;
    store("flowColumns", [...next]);
  };
  return (
    <details class="choice">
      <summary>Columns</summary>
      <fieldset>
        <legend>Columns of the flow table</legend>
        {COLUMNS.filter(({ id }) => !FIXED.includes(id)).map(({ id, title }) => (
          <label key={id}>
            <input type="checkbox" checked={chosen.value.has(id)} onChange={() => toggle(id)} /> {title}
          </label>
        ))}
      </fieldset>
    </details>
  );
}
