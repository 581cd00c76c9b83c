// The table of flows: live, with rates, a filter, and sorting by column.

import { type Signal, useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { memo } from "preact/compat";
import { useRef } from "preact/hooks";
import { type FlowColumn, type FlowRow, arrangeFlows, flowRow } from "../flow/flow.ts";
import { isGremlin } from "../net/gremlin.ts";
import { now } from "../parts/clock.ts";
import { csv } from "../parts/csv.ts";
import { ErrorText } from "../parts/error_text.tsx";
import type { Json } from "../parts/json.ts";
import { counted } from "../parts/names.ts";
import { saveFile } from "../parts/save.ts";
import { duration } from "../parts/units.ts";
import { ROW_HEIGHT, SpacerRow, useSlice } from "../parts/virtual.tsx";
import { MAX_FLOWS, watchFlows } from "../state/flow_table.ts";
import { flowOf, selectFlow } from "../state/selected.ts";
import { flowFilter, pastTime, selection } from "../state/view.ts";
import { type Column, ColumnChoice, shownColumns } from "./flow_columns.tsx";
import { FlowGroups, GroupChoice, shownGrouping } from "./flow_groups.tsx";

export function Flows() {
  const rows = useSignal<FlowRow[]>([]);
  const isPaused = useSignal(false);
  const grouping = shownGrouping();
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
        <GroupChoice />
        {!grouping && (
          <>
            <button type="button" aria-pressed={isPaused.value} onClick={() => (isPaused.value = !isPaused.value)}>
              Pause flows
            </button>
            <button type="button" onClick={() => saveFlows(rows.peek())}>
              Save CSV
            </button>
            <ColumnChoice />
            <p role="status" aria-label="Flow count">
              {counted(rows.value.length, "flow")}
            </p>
          </>
        )}
      </div>
      {grouping ? <FlowGroups key={grouping.id} grouping={grouping} /> : <FlowTable rows={rows} isPaused={isPaused} />}
    </div>
  );
}

/** The table of single flows; writes the shown rows to `rows`. */
function FlowTable({ rows, isPaused }: { rows: Signal<FlowRow[]>; isPaused: Signal<boolean> }) {
  const newest = useSignal<Json[]>([]);
  const flows = useSignal<Json[]>([]);
  const error = useSignal("");
  const sort = useSignal<{ column: FlowColumn; isDescending: boolean }>({ column: "rate", isDescending: true });
  const scroller = useRef<HTMLDivElement>(null);

  useSignalEffect(() => {
    const filter = flowFilter.value;
    const gremlin = isGremlin(filter) ? filter : `G.Flows().Limit(${MAX_FLOWS})`;
    return watchFlows(gremlin, pastTime.value, (items, text) => {
      error.value = text;
      newest.value = items;
    });
  });
  // After a pause, the table shows the newest answer, also if no other one comes.
  useSignalEffect(() => {
    if (!isPaused.value) {
      flows.value = newest.value;
    }
  });
  useSignalEffect(() => {
    const time = pastTime.value ?? Date.now();
    const filter = isGremlin(flowFilter.value) ? "" : flowFilter.value;
    const all = flows.value.map((flow) => flowRow(flow, time));
    rows.value = arrangeFlows(all, filter, sort.value.column, sort.value.isDescending);
  });

  const columns = useComputed(shownColumns).value;
  const list = rows.value;
  const slice = useSlice(scroller, list.length, ROW_HEIGHT);
  const selected = flowOf(selection.value);
  const sortBy = ({ id: column, isNumber }: Column) => {
    const isSame = sort.value.column === column;
    sort.value = { column, isDescending: isSame ? !sort.value.isDescending : isNumber };
  };
  const time = pastTime.value ?? now.value;
  return (
    <>
      <ErrorText text={error.value} />
      <div class="scroller" ref={scroller}>
        <table class="grid flow-table" aria-label="Flows" aria-rowcount={list.length + 1}>
          <thead>
            <tr>
              {columns.map((column) => (
                <th
                  key={column.id}
                  scope="col"
                  class={column.isNumber ? "number" : undefined}
                  aria-sort={
                    sort.value.column === column.id ? (sort.value.isDescending ? "descending" : "ascending") : undefined
                  }
                >
                  <button type="button" onClick={() => sortBy(column)}>
                    {column.title}
                    {sort.value.column === column.id ? (sort.value.isDescending ? " ▾" : " ▴") : ""}
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            <SpacerRow height={slice.before} />
            {list.slice(slice.first, slice.end).map((row, index) => (
              <Row
                key={row.uuid}
                row={row}
                columns={columns}
                index={slice.first + index}
                age={duration(Math.max(time - row.start, 0))}
                isSelected={row.uuid === selected}
              />
            ))}
            <SpacerRow height={slice.after} />
          </tbody>
        </table>
        {list.length === 0 && (
          <p class="note">
            No flows. Flows appear while a capture runs on an interface: select one and start a capture.
          </p>
        )}
      </div>
    </>
  );
}

interface RowProps {
  row: FlowRow;
  columns: Column[];
  index: number;
  age: string;
  isSelected: boolean;
}

const Row = memo(function Row({ row, columns, index, age, isSelected }: RowProps) {
  return (
    <tr class={isSelected ? "selected" : undefined} aria-rowindex={index + 2} onClick={() => selectFlow(row.record)}>
      {columns.map(({ id, isNumber, cell }) => (
        <td key={id} class={isNumber ? "number" : undefined}>
          {cell(row, age)}
        </td>
      ))}
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
