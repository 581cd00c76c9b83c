// Packet injections: packets that the daemon sends from a node.

import type { GraphNode } from "../graph/model.ts";
import { nodeQuery } from "../net/gremlin.ts";
import { Dialog } from "../parts/dialog.tsx";
import { ChoiceField, FileField, NumberField, TextField, formNumber, formText } from "../parts/field.tsx";
import { type JsonObject, listOf, numberOf, textOf } from "../parts/json.ts";
import { label } from "../parts/names.ts";
import { base64, bytes } from "../parts/units.ts";
import { Resources } from "../state/resources.ts";
import { contentVersion, model } from "../state/session.ts";
import { ResourceList } from "./resource_list.tsx";

const injections = new Resources("injectpacket", false);
const TYPES = ["icmp4", "icmp6", "tcp4", "tcp6", "udp4", "udp6"].map((type): [string, string] => [type, type]);
const MODES: [string, string][] = [
  ["unique", "One flow"],
  ["random", "Random payload"],
];
const TEXTS = ["Src", "Dst", "SrcIP", "DstIP", "SrcMAC", "DstMAC", "Type", "Mode", "Payload"];
const NUMBERS = ["SrcPort", "DstPort", "ICMPID", "Count", "Interval", "IncrementPayload", "TTL"];

export function Injections() {
  contentVersion.value;
  return (
    <ResourceList
      resources={injections}
      noun="injection"
      action="Inject"
      columns={["Type", "From", "To", "Packets", "State"]}
      cells={(injection) => [
        textOf(injection, "Pcap") === "" ? label(textOf(injection, "Type"), 20) : "capture file",
        <code>{label(textOf(injection, "Src") || textOf(injection, "SrcIP"), 120)}</code>,
        <code>{label(textOf(injection, "Dst") || textOf(injection, "DstIP"), 120)}</code>,
        String(numberOf(injection, "Count") || ""),
        state(injection),
      ]}
      fields={() => <Fields />}
      read={read}
      canEdit={false}
      help="No injections. An injection sends packets from a node to another node or to an address."
    />
  );
}

interface DialogProps {
  node: GraphNode;
  /** Node that receives the packets, if one is selected too. */
  target: GraphNode | undefined;
  onClose: () => void;
}

/** The dialog that sends packets from a node. */
export function InjectionDialog({ node, target, onClose }: DialogProps) {
  return (
    <Dialog
      title="Inject packets"
      action="Inject"
      onClose={onClose}
      onSubmit={async (form) => injections.create(await read(form))}
    >
      <Fields source={nodeQuery(node)} destination={target ? nodeQuery(target) : ""} />
    </Dialog>
  );
}

function Fields({ source = "", destination = "" }: { source?: string; destination?: string }) {
  return (
    <>
      <TextField label="From" name="Src" value={source} isRequired hint="A Gremlin query; each of its nodes sends." />
      <TextField
        label="To"
        name="Dst"
        value={destination}
        hint="A Gremlin query of the receiving node; empty if a destination IP is given."
      />
      <div class="fields">
        <ChoiceField label="Type" name="Type" options={TYPES} />
        <NumberField label="Count" name="Count" value={1} min={1} />
        <NumberField label="Interval (ms)" name="Interval" value={0} />
        <ChoiceField label="Mode" name="Mode" options={MODES} />
        <TextField label="Source IP" name="SrcIP" />
        <TextField label="Destination IP" name="DstIP" />
        <TextField label="Source MAC" name="SrcMAC" />
        <TextField label="Destination MAC" name="DstMAC" />
        <NumberField label="Source port" name="SrcPort" max={65535} />
        <NumberField label="Destination port" name="DstPort" max={65535} />
        <NumberField label="ICMP identifier" name="ICMPID" max={65535} />
        <NumberField label="TTL" name="TTL" value={64} max={255} />
        <TextField label="Payload" name="Payload" />
        <NumberField label="Grow payload by (bytes)" name="IncrementPayload" />
      </div>
      <FileField
        label="Capture file"
        name="Pcap"
        accept=".pcap,.pcapng,.cap,.dmp"
        hint="All its packets are sent as they are; the other fields except From and Interval have no effect then."
      />
    </>
  );
}

/** Longest capture file that is replayed: the request contains it as Base64. */
const MAX_FILE_BYTES = 4_000_000;

/** Returns the injection that a form describes. Throws an `Error` if its capture file is too long. */
async function read(form: FormData): Promise<JsonObject> {
  const injection: JsonObject = {};
  for (const name of TEXTS) {
    injection[name] = formText(form, name);
  }
  for (const name of NUMBERS) {
    injection[name] = formNumber(form, name) ?? 0;
  }
  const file = form.get("Pcap");
  if (file instanceof File && file.size > 0) {
    if (file.size > MAX_FILE_BYTES) {
      throw new Error(`The capture file has ${bytes(file.size)}; at most ${bytes(MAX_FILE_BYTES)} are sent.`);
    }
    injection["Pcap"] = base64(new Uint8Array(await file.arrayBuffer()));
    // All packets of the file.
    injection["Count"] = 0;
  }
  return injection;
}

/** Returns the state of an injection: from the interfaces that send, then from its error. */
function state(injection: JsonObject): string {
  const uuid = textOf(injection, "UUID");
  const sending: string[] = [];
  for (const node of model.nodes.values()) {
    const own = listOf(node.metadata, "PacketInjections").find((entry) => textOf(entry, "ID") === uuid);
    if (textOf(own, "State") === "active") {
      sending.push(`${numberOf(own, "PacketCount")} on ${label(node.name, 40)}`);
    }
  }
  if (sending.length > 0) {
    const count = numberOf(injection, "Count");
    return `sending: ${sending.slice(0, 4).join(", ")}${count > 0 ? ` of ${count} packets` : " packets"}`;
  }
  const error = textOf(injection, "Error");
  return error === "" ? "finished" : `failed: ${label(error, 300)}`;
}
