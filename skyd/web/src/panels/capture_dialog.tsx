// The dialog that starts a capture, with all options of the API.

import { canCapture } from "../graph/capture.ts";
import type { GraphNode } from "../graph/model.ts";
import { nodesQuery } from "../net/gremlin.ts";
import { json } from "../net/rest.ts";
import { Dialog } from "../parts/dialog.tsx";
import { CheckField, ChoiceField, NumberField, TextField, formNumber, formText } from "../parts/field.tsx";
import type { JsonObject } from "../parts/json.ts";
import { counted } from "../parts/names.ts";
import { bpfFavorites } from "../state/configuration.ts";

const TYPES: [string, string][] = [
  ["", "Default of the node"],
  ...["afpacket", "pcap", "pcapsocket", "sflow", "ebpf", "ovssflow", "ovsmirror", "ovsnetflow", "dpdk"].map(
    (type): [string, string] => [type, type],
  ),
];
/** Layers that a capture can decode in addition, with their bits in `ExtraLayers`. */
const LAYERS: [string, number][] = [
  ["VRRP", 1],
  ["DNS", 2],
  ["DHCPv4", 4],
];

interface Props {
  /** Selected nodes; those on which the daemon cannot capture are left out. */
  nodes?: readonly GraphNode[];
  onClose: () => void;
}

export function CaptureDialog({ nodes = [], onClose }: Props) {
  const possible = nodes.filter(canCapture);
  const left = nodes.length - possible.length;
  const more = left === 0 ? "" : ` ${counted(left, "selected node")} cannot be captured.`;
  return (
    <Dialog
      title="Start capture"
      action="Start"
      onClose={onClose}
      onSubmit={async (form) => void (await json("POST", "/api/capture", specOf(form)))}
    >
      <TextField
        label="Nodes"
        name="GremlinQuery"
        value={nodesQuery(possible) ?? ""}
        isRequired
        hint={`A Gremlin query; the capture follows its answer.${more}`}
      />
      <TextField
        label="BPF filter"
        name="BPFFilter"
        hint="For example: tcp port 443"
        suggestions={bpfFavorites.value}
      />
      <div class="fields">
        <TextField label="Name" name="Name" />
        <TextField label="Description" name="Description" />
        <ChoiceField label="Type" name="Type" options={TYPES} />
        <ChoiceField
          label="Layer key"
          name="LayerKeyMode"
          options={[
            ["", "Default"],
            ["L2", "L2: with MAC addresses"],
            ["L3", "L3: without MAC addresses"],
          ]}
        />
        <NumberField label="Raw packets" name="RawPacketLimit" max={10} hint="Packets stored per flow, at most 10" />
        <NumberField
          label="Header size"
          name="HeaderSize"
          max={4096}
          hint="Bytes per packet, 14 to 4096; empty for all"
        />
        <NumberField label="Port" name="Port" max={65535} hint="For sFlow and NetFlow" />
        <NumberField label="Sampling rate" name="SamplingRate" hint="sFlow: one packet in this many" />
        <NumberField label="Polling interval" name="PollingInterval" hint="sFlow: seconds between counters" />
        <TextField label="Target" name="Target" hint="host:port that receives packets or flows; empty for the table" />
        <ChoiceField
          label="Target type"
          name="TargetType"
          options={[
            ["", "None"],
            ["netflowv5", "NetFlow version 5"],
            ["erspanv1", "ERSPAN type I"],
          ]}
        />
      </div>
      <div class="fields">
        <CheckField label="Extra TCP metrics" name="ExtraTCPMetric" />
        <CheckField label="Join fragments" name="IPDefrag" />
        <CheckField label="Reassemble TCP" name="ReassembleTCP" />
        <CheckField label="Extra RTT metrics" name="ExtraRTTMetric" />
        <CheckField label="End with the daemon" name="Ephemeral" />
        {LAYERS.map(([layer]) => (
          <CheckField key={layer} label={`Decode ${layer}`} name={`Layer${layer}`} />
        ))}
      </div>
    </Dialog>
  );
}

const TEXTS = [
  "GremlinQuery",
  "BPFFilter",
  "Name",
  "Description",
  "Type",
  "LayerKeyMode",
  "Target",
  "TargetType",
] as const;
const NUMBERS = ["RawPacketLimit", "HeaderSize", "Port", "SamplingRate", "PollingInterval"] as const;
const FLAGS = ["ExtraTCPMetric", "IPDefrag", "ReassembleTCP", "ExtraRTTMetric", "Ephemeral"] as const;

/** Returns the capture that a form describes; empty fields are left to the daemon. */
function specOf(form: FormData): JsonObject {
  const spec: JsonObject = {};
  for (const name of TEXTS) {
    const text = formText(form, name);
    if (text !== "") {
      spec[name] = text;
    }
  }
  for (const name of NUMBERS) {
    const number = formNumber(form, name);
    if (number !== undefined) {
      spec[name] = number;
    }
  }
  for (const name of FLAGS) {
    spec[name] = form.has(name);
  }
  const layers = LAYERS.reduce((bits, [layer, bit]) => bits | (form.has(`Layer${layer}`) ? bit : 0), 0);
  if (layers > 0) {
    spec["ExtraLayers"] = layers;
  }
  return spec;
}
