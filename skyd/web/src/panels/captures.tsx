// The list of captures: query, options, nodes, and a button that deletes each.

import { droppedBy } from "../graph/model.ts";
import { useSignal, useSignalEffect } from "@preact/signals";
import { errorText, json, send } from "../net/rest.ts";
import { type Json, type JsonObject, isObject, listOf, member, numberOf, textOf } from "../parts/json.ts";
import { label } from "../parts/names.ts";
import { refusal } from "../state/me.ts";
import { notify } from "../state/notices.ts";
import { contentVersion, model, structureVersion } from "../state/session.ts";
import { CaptureDialog } from "./capture_dialog.tsx";
import { Grid } from "./details/tables.tsx";

/** Members of a capture that are not options. */
const NO_OPTIONS = ["UUID", "GremlinQuery", "BPFFilter", "Name", "Description", "Count", "Status"];

export function Captures() {
  const captures = useSignal<Json[]>([]);
  const isDialogOpen = useSignal(false);
  const load = async () => {
    const all = await json("GET", "/api/capture").catch((error: unknown) => (notify(errorText(error)), null));
    captures.value = isObject(all) ? Object.values(all) : [];
  };
  useSignalEffect(() => {
    structureVersion.value;
    void load();
  });
  const reason = refusal("capture");
  const repeat = async (capture: Json) => {
    const members = Object.entries(capture as JsonObject).filter(([key]) => key !== "UUID" && key !== "Count");
    await json("POST", "/api/capture", Object.fromEntries(members)).catch((error: unknown) => notify(errorText(error)));
    await load();
  };
  const remove = async (capture: Json) => {
    try {
      await send("DELETE", `/api/capture/${encodeURIComponent(textOf(capture, "UUID"))}`);
      notify("Deleted the capture.", {
        name: "Undo",
        run: () => void json("POST", "/api/capture", capture).then(load),
      });
    } catch (error) {
      notify(errorText(error));
    }
    await load();
  };
  contentVersion.value;
  const rows = captures.value.map((capture) => [
    label(textOf(capture, "Name") || textOf(capture, "UUID").slice(0, 8)),
    <code>{label(textOf(capture, "GremlinQuery"), 200)}</code>,
    <code>{label(textOf(capture, "BPFFilter"), 100)}</code>,
    options(capture),
    ...counters(textOf(capture, "UUID")),
    <span class="row-actions">
      <button
        type="button"
        disabled={reason !== undefined}
        title={reason ?? "Starts another capture with the same nodes and options"}
        aria-label={`Repeat capture ${label(textOf(capture, "Name") || textOf(capture, "GremlinQuery"), 60)}`}
        onClick={() => void repeat(capture)}
      >
        Repeat
      </button>
      <button
        type="button"
        disabled={reason !== undefined}
        title={reason}
        aria-label={`Delete capture ${label(textOf(capture, "Name") || textOf(capture, "GremlinQuery"), 60)}`}
        onClick={() => void remove(capture)}
      >
        Delete
      </button>
    </span>,
  ]);
  return (
    <div class="list">
      <div class="toolbar">
        <button
          type="button"
          disabled={reason !== undefined}
          title={reason}
          onClick={() => (isDialogOpen.value = true)}
        >
          New capture
        </button>
      </div>
      {rows.length === 0 ? (
        <p class="note">No captures. A capture records the flows of the interfaces that a query selects.</p>
      ) : (
        <Grid
          name="Captures"
          columns={["Name", "Nodes", "Filter", "Options", "Active on", "Packets", "Dropped", "Action"]}
          rows={rows}
        />
      )}
      {isDialogOpen.value && <CaptureDialog onClose={() => ((isDialogOpen.value = false), void load())} />}
    </div>
  );
}

/** Returns the options that are set, as text. */
function options(capture: Json): string {
  const entries = Object.entries(capture as JsonObject).filter(
    ([key, value]) => !NO_OPTIONS.includes(key) && value !== false && value !== 0 && value !== "",
  );
  return label(entries.map(([key, value]) => (value === true ? key : `${key} ${String(value)}`)).join(", "), 200);
}

/** Returns the names of the nodes of a capture, and the sums of its counters. */
function counters(uuid: string): string[] {
  const names: string[] = [];
  let [received, dropped] = [0, 0];
  for (const node of model.nodes.values()) {
    const own = node.isCaptured
      ? listOf(node.metadata, "Captures").find((capture) => member(capture, "ID") === uuid)
      : undefined;
    if (own !== undefined) {
      names.push(node.name);
      received += numberOf(own, "PacketsReceived");
      dropped += droppedBy(own);
    }
  }
  return [label(names.slice(0, 8).join(", ") + (names.length > 8 ? ", …" : "")), String(received), String(dropped)];
}
