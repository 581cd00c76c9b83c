// The list of captures: query, options, nodes with their states, and a button that deletes each.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { allCaptures } from "../graph/capture.ts";
import { droppedBy } from "../graph/model.ts";
import { errorText } from "../net/rest.ts";
import { type Json, type JsonObject, listOf, member, numberOf, textOf } from "../parts/json.ts";
import { label } from "../parts/names.ts";
import { refusal } from "../state/me.ts";
import { notify } from "../state/notices.ts";
import { Resources, resourceName } from "../state/resources.ts";
import { contentVersion, model } from "../state/session.ts";
import { CaptureDialog } from "./capture_dialog.tsx";
import { Grid } from "./details/tables.tsx";

/** Members of a capture that are not options. */
const NO_OPTIONS = ["UUID", "GremlinQuery", "BPFFilter", "Name", "Description", "Count", "Status"];

const captures = new Resources("capture");

export function Captures() {
  const isDialogOpen = useSignal(false);
  useEffect(() => captures.follow(), []);
  const reason = refusal("capture");
  contentVersion.value;
  const counters = countersByCapture();
  const rows = captures.list.value.map((capture) => {
    const { received, dropped } = counters.get(textOf(capture, "UUID")) ?? { received: 0, dropped: 0 };
    return [
      label(resourceName(capture)),
      <code>{label(textOf(capture, "GremlinQuery"), 200)}</code>,
      <code>{label(textOf(capture, "BPFFilter"), 100)}</code>,
      options(capture),
      <Nodes status={member(capture, "Status")} />,
      String(received),
      dropped > 0 ? <strong class="problem">{dropped}</strong> : "0",
      <Actions capture={capture} reason={reason} />,
    ];
  });
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
      {isDialogOpen.value && <CaptureDialog onClose={() => ((isDialogOpen.value = false), void captures.load())} />}
    </div>
  );
}

/** Buttons that repeat and delete a capture. */
function Actions({ capture, reason }: { capture: JsonObject; reason: string | undefined }) {
  const name = label(textOf(capture, "Name") || textOf(capture, "GremlinQuery"), 60);
  const repeat = () => {
    const members = Object.entries(capture).filter(([key]) => !["UUID", "Count", "Status"].includes(key));
    captures.create(Object.fromEntries(members)).catch((error: unknown) => notify(errorText(error)));
  };
  return (
    <span class="row-actions">
      <button
        type="button"
        disabled={reason !== undefined}
        title={reason ?? "Starts another capture with the same nodes and options"}
        aria-label={`Repeat capture ${name}`}
        onClick={repeat}
      >
        Repeat
      </button>
      <button
        type="button"
        disabled={reason !== undefined}
        title={reason}
        aria-label={`Delete capture ${name}`}
        onClick={() => void captures.remove(capture)}
      >
        Delete
      </button>
    </span>
  );
}

/** Most nodes of a capture that are named. */
const MAX_NODES = 8;

/** The nodes of a capture, those with errors first, or the reason why there are none. */
function Nodes({ status }: { status: Json | undefined }) {
  const nodes = listOf(status, "Nodes");
  const failed = nodes.filter((node) => textOf(node, "State") === "error");
  const active = nodes.filter((node) => textOf(node, "State") !== "error");
  const names = active.slice(0, MAX_NODES).map((node) => label(textOf(node, "Name"), 60));
  const more = active.length > MAX_NODES ? `, and ${active.length - MAX_NODES} more` : "";
  const problem = textOf(status, "Problem");
  return (
    <>
      {problem !== "" && <div class="problem">{label(problem, 300)}</div>}
      {failed.slice(0, MAX_NODES).map((node) => (
        <div key={textOf(node, "ID")} class="problem">
          {label(textOf(node, "Name"), 60)}: {label(textOf(node, "Error"), 200)}
        </div>
      ))}
      {names.join(", ")}
      {more}
    </>
  );
}

/** Returns the options that are set, as text. */
function options(capture: JsonObject): string {
  const entries = Object.entries(capture).filter(
    ([key, value]) => !NO_OPTIONS.includes(key) && value !== false && value !== 0 && value !== "",
  );
  return label(entries.map(([key, value]) => (value === true ? key : `${key} ${String(value)}`)).join(", "), 200);
}

/** Returns the packets that each capture received and dropped, on all nodes. */
function countersByCapture(): Map<string, { received: number; dropped: number }> {
  const found = new Map<string, { received: number; dropped: number }>();
  for (const capture of allCaptures(model.nodes.values())) {
    const id = textOf(capture, "ID");
    const sum = found.get(id) ?? { received: 0, dropped: 0 };
    found.set(id, {
      received: sum.received + numberOf(capture, "PacketsReceived"),
      dropped: sum.dropped + droppedBy(capture),
    });
  }
  return found;
}
