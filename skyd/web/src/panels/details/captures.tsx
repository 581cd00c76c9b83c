// Captures of a node: state and counters.

import { droppedBy } from "../../graph/model.ts";
import { type Json, numberOf, textOf } from "../../parts/json.ts";
import { label } from "../../parts/names.ts";
import { Grid } from "./tables.tsx";

export function Captures({ captures }: { captures: Json[] }) {
  const rows = captures.map((capture) => {
    const dropped = droppedBy(capture);
    return [
      label(textOf(capture, "Name") || textOf(capture, "ID")),
      label(textOf(capture, "Error") || textOf(capture, "State")),
      `${numberOf(capture, "PacketsReceived")} packets, ${dropped} dropped`,
      label(textOf(capture, "BPFFilter")),
    ];
  });
  return <Grid name="Captures of the node" columns={["Capture", "State", "Packets", "Filter"]} rows={rows} />;
}
