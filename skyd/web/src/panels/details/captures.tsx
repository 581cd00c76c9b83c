// Captures of a node: state and counters.

import { droppedBy } from "../../graph/model.ts";
import { type Json, numberOf, textOf } from "../../parts/json.ts";
import { counted, label } from "../../parts/names.ts";
import { Grid } from "./tables.tsx";

/** Returns what a capture could not send to its target; empty for nothing. */
function targetLosses(capture: Json): string {
  const [errors, skipped] = [numberOf(capture, "TargetErrors"), numberOf(capture, "TargetSkipped")];
  const failed = errors > 0 ? `; ${counted(errors, "datagram")} not sent` : "";
  return skipped > 0 ? `${failed}; ${counted(skipped, "flow")} not expressible` : failed;
}

export function Captures({ captures }: { captures: Json[] }) {
  const rows = captures.map((capture) => {
    const dropped = droppedBy(capture);
    return [
      label(textOf(capture, "Name") || textOf(capture, "ID")),
      label(textOf(capture, "Error") || textOf(capture, "State")),
      `${numberOf(capture, "PacketsReceived")} packets, ${dropped} dropped${targetLosses(capture)}`,
      label(textOf(capture, "BPFFilter")),
    ];
  });
  return <Grid name="Captures of the node" columns={["Capture", "State", "Packets", "Filter"]} rows={rows} />;
}
