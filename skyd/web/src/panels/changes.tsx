// What changed: nodes and links that were added or removed, and keys with their old and new values.

import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useRef } from "preact/hooks";
import { type ChangeRow, filterChanges } from "../graph/changes.ts";
import { csv } from "../parts/csv.ts";
import { ErrorText } from "../parts/error_text.tsx";
import { Select } from "../parts/field.tsx";
import { Moment, MomentText } from "../parts/moment.tsx";
import { counted, label } from "../parts/names.ts";
import { Notes } from "../parts/notes.tsx";
import { saveFile } from "../parts/save.ts";
import { dateTime } from "../parts/units.ts";
import { ROW_HEIGHT, SpacerRow, useSlice } from "../parts/virtual.tsx";
import { PERIODS, type ShownChanges, changeFilter, watchChanges } from "../state/changes.ts";
import { oldest } from "../state/health.ts";
import { linkKey } from "../state/selected.ts";
import { model } from "../state/session.ts";
import { pastTime, select } from "../state/view.ts";

const COLUMNS = ["Time", "Change", "Element", "Type", "Key", "Old → new"];

export function Changes() {
  const seconds = useSignal(PERIODS[0]?.[1] ?? 600);
  const shown = useSignal<ShownChanges>({ rows: [], notes: [], error: "" });
  const scroller = useRef<HTMLDivElement>(null);
  useSignalEffect(() => watchChanges(pastTime.value, seconds.value, (changes) => (shown.value = changes)));
  const rows = useComputed(() => filterChanges(shown.value.rows, changeFilter.value)).value;
  const slice = useSlice(scroller, rows.length, ROW_HEIGHT);
  const from = (pastTime.value ?? Date.now()) - seconds.value * 1000;
  // An answer about the past has a note about the beginning of the history.
  const isShort = pastTime.value === null && oldest.value !== undefined && oldest.value > from;
  const { error, notes } = shown.value;
  return (
    <div class="flows">
      <div class="toolbar">
        <label>
          In the{" "}
          <Select
            name="Period"
            options={PERIODS.map(([name, length]) => [String(length), name])}
            value={String(seconds.value)}
            onChange={(value) => (seconds.value = Number(value))}
          />{" "}
          before {pastTime.value === null ? "now" : dateTime(pastTime.value)}
        </label>
        <input
          type="search"
          aria-label="Filter changes"
          placeholder="Filter: name, type, key, value"
          value={changeFilter.value}
          onInput={(event) => (changeFilter.value = event.currentTarget.value)}
        />
        <button type="button" onClick={() => save(rows)}>
          Save CSV
        </button>
        <p role="status" aria-label="Change count">
          {counted(rows.length, "change")}
        </p>
        {isShort && <p>The history begins at {dateTime(oldest.value ?? 0)}.</p>}
      </div>
      <ErrorText text={error} />
      <Notes notes={notes} />
      <div class="scroller" ref={scroller} tabIndex={0} role="group" aria-label="List of changes">
        <table class="grid flow-table" aria-label="Changes" aria-rowcount={rows.length + 1}>
          <thead>
            <tr>
              {COLUMNS.map((column) => (
                <th key={column} scope="col">
                  {column}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            <SpacerRow height={slice.before} />
            {rows.slice(slice.first, slice.end).map((row, index) => (
              <Row key={slice.first + index} row={row} index={slice.first + index} />
            ))}
            <SpacerRow height={slice.after} />
          </tbody>
        </table>
        {rows.length === 0 && error === "" && (
          <p class="note">No changes. Counters are not changes: they are in the metrics of an interface.</p>
        )}
      </div>
    </div>
  );
}

function Row({ row, index }: { row: ChangeRow; index: number }) {
  const key = row.isLink ? linkKey(row.id) : (model.nodes.get(row.id)?.tid ?? row.id);
  return (
    <tr aria-rowindex={index + 2}>
      <td>
        <MomentText moment={new Moment(row.time)} />
      </td>
      <td>{label(row.change, 20)}</td>
      <td>
        {row.isElement ? (
          <button type="button" class="link" onClick={() => select(key)}>
            {label(row.name, 80)}
          </button>
        ) : (
          label(row.name, 80)
        )}
      </td>
      <td>{label(row.type, 40)}</td>
      <td>{label(row.key, 60)}</td>
      <td title={label(row.text, 1000)}>{label(row.text, 160)}</td>
    </tr>
  );
}

/** Saves the rows, with times in ISO 8601. */
function save(rows: ChangeRow[]): void {
  const lines = rows.map((row) => [
    new Date(row.time).toISOString(),
    row.change,
    row.name,
    row.type,
    row.key,
    row.text,
    row.id,
  ]);
  saveFile("changes.csv", new Blob([csv([[...COLUMNS, "ID"], ...lines])], { type: "text/csv" }));
}
