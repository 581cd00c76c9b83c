// Flows added up by what they have in common: who talks to whom, and how much.

import { useSignal, useSignalEffect } from "@preact/signals";
import {
  GROUPINGS,
  type GroupRow,
  type Grouping,
  MEASURES,
  type Measure,
  groupQuery,
  groupRows,
} from "../flow/groups.ts";
import { isGremlin } from "../net/gremlin.ts";
import { ErrorText } from "../parts/error_text.tsx";
import { Select } from "../parts/field.tsx";
import type { Json } from "../parts/json.ts";
import { counted } from "../parts/names.ts";
import { SaveTable } from "../parts/table_csv.tsx";
import { amount, byteRate, bytes } from "../parts/units.ts";
import { watchAnswer } from "../state/flow_table.ts";
import { flowFilter, flowGroup, pastTime } from "../state/view.ts";

/** Periods before the shown time, in seconds; 0 for the flows that are open then. */
const PERIODS: [string, number][] = [
  ["Open flows", 0],
  ["10 minutes", 600],
  ["1 hour", 3600],
  ["24 hours", 86_400],
];

const TEXT: Record<Measure, (value: number) => string> = {
  Bytes: bytes,
  "Bytes/s": byteRate,
  Packets: amount,
  Connections: amount,
};

/** Returns the grouping of the view; `undefined` for single flows. */
export function shownGrouping(): Grouping | undefined {
  return GROUPINGS.find(({ id }) => id === flowGroup.value);
}

/** The field that chooses a grouping. */
export function GroupChoice() {
  return (
    <Select
      name="Group flows by"
      options={[["", "Single flows"], ...GROUPINGS.map(({ id, title }): [string, string] => [id, title])]}
      value={shownGrouping()?.id ?? ""}
      onChange={(id) => (flowGroup.value = id)}
    />
  );
}

export function FlowGroups({ grouping }: { grouping: Grouping }) {
  const answer = useSignal<Json[]>([]);
  const error = useSignal("");
  const order = useSignal<Measure>("Bytes");
  const seconds = useSignal(0);
  useSignalEffect(() => {
    const gremlin = groupQuery(grouping, flowFilter.value, order.value, seconds.value, pastTime.value);
    return watchAnswer(gremlin, pastTime.value === null, (items, text) => {
      answer.value = items;
      error.value = text;
    });
  });
  const rows = groupRows(grouping, answer.value);
  const most = Math.max(1, ...rows.map(({ numbers }) => numbers[order.value]));
  return (
    <>
      <div class="toolbar">
        <Select
          name="Counted period"
          options={PERIODS.map(([name, length]) => [String(length), name])}
          value={String(seconds.value)}
          onChange={(value) => (seconds.value = Number(value))}
        />
        <p role="status" aria-label="Group count">
          {counted(rows.length, "group")}; each connection is counted once
        </p>
      </div>
      <ErrorText text={error.value} />
      <div class="scroller table" tabIndex={0} role="group" aria-label="List of groups">
        <table class="grid flow-table" aria-label="Flow groups">
          <thead>
            <tr>
              {grouping.keys.map(([key, title]) => (
                <th key={key} scope="col">
                  {title}
                </th>
              ))}
              {MEASURES.map(([measure, title]) => (
                <th
                  key={measure}
                  scope="col"
                  class="number"
                  aria-sort={order.value === measure ? "descending" : undefined}
                >
                  <button type="button" onClick={() => (order.value = measure)}>
                    {title}
                    {order.value === measure ? " ▾" : ""}
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <Row key={row.values.join(" ")} grouping={grouping} row={row} share={row.numbers[order.value] / most} />
            ))}
          </tbody>
        </table>
        <SaveTable name="Flow groups" />
        {rows.length === 0 && <p class="note">No flows.</p>}
      </div>
    </>
  );
}

function Row({ grouping, row, share }: { grouping: Grouping; row: GroupRow; share: number }) {
  const canOpen = grouping.isFilter && !isGremlin(flowFilter.value) && !row.values.includes("–");
  const open = () => {
    flowFilter.value = row.values.join(" ");
    flowGroup.value = "";
  };
  return (
    <tr>
      {row.values.map((value, index) => (
        <td key={index}>
          {canOpen && index === 0 ? (
            <button type="button" class="link" title="Show these flows" onClick={open}>
              {value}
            </button>
          ) : (
            value
          )}
        </td>
      ))}
      {MEASURES.map(([measure], index) => (
        <td key={measure} class="number">
          {index === 0 && <meter class="share" min={0} max={1} value={share} aria-label="Share of the largest" />}
          {TEXT[measure](row.numbers[measure])}
        </td>
      ))}
    </tr>
  );
}
