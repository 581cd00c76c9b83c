// The SPP processes of the daemon, if it controls any (`spp` in its configuration).

import { computed } from "@preact/signals";
import { json } from "../net/rest.ts";
import { type Json, member, numberOf, textOf } from "../parts/json.ts";
import { status } from "./health.ts";
import { may } from "./me.ts";

/** Whether the daemon has the interface of SPP, and the user may read it. */
export const hasSpp = computed(() => member(status.value ?? undefined, "SPP") !== undefined && may("spp", "read"));

/** Returns the state of each recording process. */
export async function readProcesses(): Promise<Json[]> {
  const all = await json("GET", "/v1/processes");
  const pcaps = Array.isArray(all) ? all.filter((process) => textOf(process, "type") === "pcap") : [];
  return Promise.all(pcaps.map((process) => json("GET", `/v1/pcaps/${numberOf(process, "client-id")}`)));
}
