// A short list of flows with their rates, for the details of a node.

import { useSignal, useSignalEffect } from "@preact/signals";
import { type FlowRow, arrangeFlows, flowRow } from "../flow/flow.ts";
import { byteRate, bytes } from "../parts/units.ts";
import { watchFlows } from "../state/flow_table.ts";
import { selectFlow } from "../state/selected.ts";
import { pastTime } from "../state/view.ts";
import { Grid } from "./details/tables.tsx";

export function FlowList({ gremlin }: { gremlin: string }) {
  const rows = useSignal<FlowRow[]>([]);
  useSignalEffect(() =>
    watchFlows(gremlin, pastTime.value, (flows) => {
      const time = pastTime.value ?? Date.now();
      rows.value = arrangeFlows(
        flows.map((flow) => flowRow(flow, time)),
        "",
        "rate",
        true,
      );
    }),
  );
  const cells = rows.value.map((row) => [
    <button type="button" class="link" onClick={() => selectFlow(row.record)}>
      {row.a} – {row.b}
    </button>,
    row.protocol,
    row.application,
    byteRate(row.rate),
    bytes(row.bytes),
  ]);
  return <Grid name="Flows of the node" columns={["Flow", "Protocol", "Application", "Rate", "Bytes"]} rows={cells} />;
}
