// Details of a flow: its record, its path, and its packets.

import { useSignal, useSignalEffect } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { flowDirections, flowName, flowProtocol } from "../../flow/flow.ts";
import { atTime, literal } from "../../net/gremlin.ts";
import { errorText, query } from "../../net/rest.ts";
import { downloadPackets } from "../../net/packets.ts";
import { now } from "../../parts/clock.ts";
import { CopyButton } from "../../parts/copy.tsx";
import { type Json, asArray, member, numberOf, textOf } from "../../parts/json.ts";
import { label } from "../../parts/names.ts";
import { Tabs } from "../../parts/tabs.tsx";
import { Moment } from "../../parts/moment.tsx";
import { amount, byteRate, bytes } from "../../parts/units.ts";
import { watchFlows } from "../../state/flow_table.ts";
import { selectedFlow } from "../../state/selected.ts";
import { showPath } from "../../state/marks.ts";
import { notify } from "../../state/notices.ts";
import { pastTime, select, tab } from "../../state/view.ts";
import { Grid, Raw, ValueTable, flatten } from "./tables.tsx";

interface Hop {
  id: string;
  name: string;
  host: string;
}

export function FlowDetails({ uuid }: { uuid: string }) {
  const hops = useSignal<Hop[] | undefined>(undefined);
  const gremlin = `G.Flows().Has('UUID', ${literal(uuid) ?? "''"})`;
  useSignalEffect(() =>
    watchFlows(gremlin, pastTime.value, ([newest]) => {
      if (newest !== undefined) {
        selectedFlow.value = newest;
      }
    }),
  );
  useEffect(() => () => showPath([]), []);
  const flow = selectedFlow.value;
  if (textOf(flow ?? undefined, "UUID") !== uuid || flow === null) {
    return <p class="note">The flow {label(uuid, 40)} is neither in a flow table nor in the history.</p>;
  }
  const showHops = async () => {
    try {
      hops.value = await hopsOf(flow);
      showPath(hops.value.map(({ id }) => id));
    } catch (error) {
      notify(errorText(error));
    }
  };
  return (
    <>
      <header>
        <h2>{flowName(flow)}</h2>
        <button type="button" class="close" aria-label="Close details" onClick={() => select(null)}>
          ×
        </button>
      </header>
      <p class="crumbs">
        {[flowProtocol(flow), label(textOf(flow, "Application"), 40), label(textOf(flow, "LayersPath"), 120)].join(
          " › ",
        )}
      </p>
      <div class="toolbar">
        <button type="button" onClick={showHops}>
          Show path
        </button>
        {numberOf(flow, "RawPacketsCaptured") > 0 && (
          <button
            type="button"
            onClick={() => void downloadPackets(flow).catch((error: unknown) => notify(errorText(error)))}
          >
            Download packets
          </button>
        )}
        <CopyButton name="Gremlin" text={gremlin} label="Copy Gremlin" />
      </div>
      {hops.value && (
        <ol class="path" aria-label="Path">
          {hops.value.map((hop) => (
            <li key={hop.id}>
              {label(hop.name, 60)} on {label(hop.host, 60) || "this host"}
            </li>
          ))}
        </ol>
      )}
      <Tabs
        label="Details sections"
        open={tab.value}
        onOpen={(name) => (tab.value = name)}
        sections={[
          {
            name: "Overview",
            content: () => (
              <>
                <Directions flow={flow} />
                <ValueTable name="Record" rows={record(flow)} />
              </>
            ),
          },
          { name: "Raw", content: () => <Raw value={flow} /> },
        ]}
      />
    </>
  );
}

/** Both directions of a flow. */
function Directions({ flow }: { flow: Json }) {
  const rows = flowDirections(flow, pastTime.value ?? now.value).map(({ from, to, packets, bytes: size, rate }) => [
    `${from} → ${to}`,
    amount(packets),
    bytes(size),
    byteRate(rate),
  ]);
  return <Grid name="Directions" columns={["Direction", "Packets", "Bytes", "Rate"]} rows={rows} />;
}

/** Returns the values of a flow; times as dates. */
function record(flow: Json): [string, Json | Moment][] {
  return flatten(flow).map(([key, value]) => {
    const isTime = /(^|\.)(Start|Last)$/.test(key) && typeof value === "number" && value > 0;
    return [key, isTime ? new Moment(value) : value];
  });
}

/** Returns the nodes on which a flow was seen. */
async function hopsOf(flow: Json): Promise<Hop[]> {
  const id = literal(textOf(flow, "TrackingID")) ?? "''";
  const answer = await query(atTime(`G.Flows().Has('TrackingID', ${id}).CaptureNode()`, pastTime.value));
  return asArray(answer).map((node) => ({
    id: textOf(node, "ID"),
    name: textOf(member(node, "Metadata"), "Name"),
    host: textOf(node, "Host"),
  }));
}
