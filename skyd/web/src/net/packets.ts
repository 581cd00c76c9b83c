// Download of the packets that were stored with a flow, as a capture file.

import { type Json, textOf } from "../parts/json.ts";
import { saveFile } from "../parts/save.ts";
import { flowName } from "../flow/flow.ts";
import { pastTime } from "../state/view.ts";
import { literal } from "./gremlin.ts";
import { RequestError, queryFile } from "./rest.ts";

const PCAP = "application/vnd.tcpdump.pcap";
/** Length of a capture file without packets. */
const EMPTY_BYTES = 24;

/** Saves the packets of a flow. The packets of a running flow are in the history once an update was
 * written, so both sources are tried. */
export async function downloadPackets(flow: Json): Promise<void> {
  const uuid = literal(textOf(flow, "UUID")) ?? "''";
  const sources = pastTime.value === null ? ["G", "G.At(NOW, 3600)"] : [`G.At(${Math.round(pastTime.value)})`];
  for (const source of sources) {
    const file = await queryFile(`${source}.Flows().Has('UUID', ${uuid}).RawPackets()`, PCAP);
    if (file.size > EMPTY_BYTES) {
      saveFile(`${flowName(flow)}.pcap`, file);
      return;
    }
  }
  throw new RequestError(404, "The packets of this flow are no longer stored.");
}
