// The table of flows: live, with rates, a filter, and sorting by column.

import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { memo } from "preact/compat";
import { useRef } from "preact/hooks";
import { type FlowColumn, type FlowRow, arrangeFlows, flowRow } from "../flow/flow.ts";
import { isGremlin } from "../net/gremlin.ts";
import { now } from "../parts/clock.ts";
import { csv } from "../parts/csv.ts";
import type { Json } from "../parts/json.ts";
import { counted } from "../parts/names.ts";
import { saveFile } from "../parts/save.ts";
import { Sparkline } from "../parts/sparkline.tsx";
import { amount, byteRate, bytes, duration, nanoseconds } from "../parts/units.ts";
import { useSlice } from "../parts/virtual.tsx";
import { MAX_FLOWS, flowHistory, watchFlows } from "../state/flow_table.ts";
import { flowOf, selectFlow } from "../state/selected.ts";
import { flowFilter, pastTime, selection } from "../state/view.ts";

const ROW_HEIGHT = 26;
const COLUMNS: [FlowColumn, string][] = [
  ["a", "A"],
  ["b", "B"],
  ["protocol", "Protocol"],
  ["application", "Application"],
  ["rate", "Rate"],
  ["bytes", "Bytes"],
  ["packets", "Packets"],
  ["rtt", "RTT"],
  ["start", "Age"],
];
const NUMERIC = new Set<FlowColumn>(["rate", "bytes", "packets", "rtt", "start"]);

export function Flows({ source = "G" }: { source?: string }) {
  const flows = useSignal<Json[]>([]);
  const error = useSignal("");
  const isPaused = useSignal(false);
  const sort = useSignal<{ column: FlowColumn; isDescending: boolean }>({ column: "rate", isDescending: true });
  const scroller = useRef<HTMLDivElement>(null);

  useSignalEffect(() => {
    const filter = flowFilter.value;
    const gremlin = isGremlin(filter) ? filter : `${source}.Flows().Limit(${MAX_FLOWS})`;
    return watchFlows(gremlin, pastTime.value, (items, text) => {
      error.value = text;
      if (!isPaused.peek()) {
        flows.value = items;
      }
    });
  });
  const rows = useComputed(() => {
    const time = pastTime.value ?? Date.now();
    const filter = isGremlin(flowFilter.value) ? "" : flowFilter.value;
    const all = flows.value.map((flow) => flowRow(flow, time));
    return arrangeFlows(all, filter, sort.value.column, sort.value.isDescending);
  });

  const list = rows.value;
  const slice = useSlice(scroller, list.length, ROW_HEIGHT);
  const selected = flowOf(selection.value);
  const sortBy = (column: FlowColumn) => {
    const isSame = sort.value.column === column;
    sort.value = { column, isDescending: isSame ? !sort.value.isDescending : NUMERIC.has(column) };
  };
  const time = pastTime.value ?? now.value;
  return (
    <div class="flows">
      <div class="toolbar">
        <input
          type="search"
          aria-label="Filter flows"
          placeholder="Filter: address, port, protocol, or G.V()…Flows()"
          value={flowFilter.value}
          onInput={(event) => (flowFilter.value = event.currentTarget.value)}
        />
        <button type="button" aria-pressed={isPaused.value} onClick={() => (isPaused.value = !isPaused.value)}>
          Pause flows
        </button>
        <button type="button" onClick={() => saveFlows(rows.value)}>
          Save CSV
        </button>
        <p role="status" aria-label="Flow count">
          {counted(list.length, "flow")}
        </p>
      </div>
      {error.value !== "" && (
        <p class="error" role="alert">
          {error.value}
        </p>
      )}
      <div class="scroller" ref={scroller}>
        <table class="grid flow-table" aria-label="Flows" aria-rowcount={list.length + 1}>
          <thead>
            <tr>
              {COLUMNS.map(([column, title]) => (
                <th
                  key={column}
                  scope="col"
                  class={NUMERIC.has(column) ? "number" : undefined}
                  aria-sort={
                    sort.value.column === column ? (sort.value.isDescending ? "descending" : "ascending") : undefined
                  }
                >
                  <button type="button" onClick={() => sortBy(column)}>
                    {title}
                    {sort.value.column === column ? (sort.value.isDescending ? " ▾" : " ▴") : ""}
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {slice.before > 0 && <tr aria-hidden="true" style={{ height: `${slice.before}px` }} />}
            {list.slice(slice.first, slice.end).map((row, index) => (
              <Row
                key={row.uuid}
                row={row}
                index={slice.first + index}
                age={duration(Math.max(time - row.start, 0))}
                isSelected={row.uuid === selected}
              />
            ))}
            {slice.after > 0 && <tr aria-hidden="true" style={{ height: `${slice.after}px` }} />}
          </tbody>
        </table>
        {list.length === 0 && (
          <p class="note">
            No flows. Flows appear while a capture runs on an interface: select one and start a capture.
          </p>
        )}
      </div>
    </div>
  );
}

interface RowProps {
  row: FlowRow;
  index: number;
  age: string;
  isSelected: boolean;
}

const Row = memo(function Row({ row, index, age, isSelected }: RowProps) {
  return (
    <tr class={isSelected ? "selected" : undefined} aria-rowindex={index + 2} onClick={() => selectFlow(row.record)}>
      <td>
        <button type="button" class="link">
          {row.a}
        </button>
      </td>
      <td>{row.b}</td>
      <td>{row.protocol}</td>
      <td>{row.application}</td>
      <td class="number">
        <Sparkline values={flowHistory(row.uuid)} /> {byteRate(row.rate)}
      </td>
      <td class="number">{bytes(row.bytes)}</td>
      <td class="number">{amount(row.packets)}</td>
      <td class="number">{row.rtt === 0 ? "" : nanoseconds(row.rtt)}</td>
      <td class="number">{age}</td>
    </tr>
  );
});

/** Saves the rows of the table, with times in ISO 8601. */
function saveFlows(rows: FlowRow[]): void {
  const header = [
    "A",
    "B",
    "Protocol",
    "Application",
    "BytesPerSecond",
    "Bytes",
    "Packets",
    "RTTNanoseconds",
    "Start",
    "Last",
    "UUID",
  ];
  const iso = (time: number) => new Date(time).toISOString();
  const lines = rows.map((row) => [
    row.a,
    row.b,
    row.protocol,
    row.application,
    row.rate,
    row.bytes,
    row.packets,
    row.rtt,
    iso(row.start),
    iso(row.last),
    row.uuid,
  ]);
  saveFile("flows.csv", new Blob([csv([header, ...lines])], { type: "text/csv" }));
}
