// SPP captures: the recording processes that the daemon controls, with their files.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { errorText, json, send } from "../net/rest.ts";
import { type Json, listOf, member, numberOf, textOf } from "../parts/json.ts";
import { label } from "../parts/names.ts";
import { amount } from "../parts/units.ts";
import { refusal } from "../state/me.ts";
import { notify } from "../state/notices.ts";
import { readProcesses } from "../state/spp.ts";
import { Grid } from "./details/tables.tsx";

/** States change when a file is full or a process ends. */
const INTERVAL_MS = 2000;

export function SppCaptures() {
  const processes = useSignal<Json[]>([]);
  const load = async () => {
    processes.value = await readProcesses().catch((error: unknown) => (notify(errorText(error)), []));
  };
  useEffect(() => {
    void load();
    const timer = setInterval(() => void load(), INTERVAL_MS);
    return () => clearInterval(timer);
  }, []);
  const control = async (id: number, action: "start" | "stop") => {
    try {
      await json("PUT", `/v1/pcaps/${id}/capture`, { action });
    } catch (error) {
      notify(errorText(error));
    }
    await load();
  };
  const end = async (id: number) => {
    await send("DELETE", `/v1/pcaps/${id}`).catch((error: unknown) => notify(errorText(error)));
    await load();
  };
  const reason = refusal("spp");
  const button = (name: string, id: number, run: () => Promise<void>) => (
    <button
      type="button"
      disabled={reason !== undefined}
      title={reason}
      aria-label={`${name} SPP capture ${id}`}
      onClick={() => void run()}
    >
      {name}
    </button>
  );
  const rows = processes.value.map((process) => {
    const id = numberOf(process, "client-id");
    const isRunning = textOf(process, "status") === "running";
    const totals = member(process, "totals");
    const dropped = numberOf(totals, "drop");
    return [
      String(id),
      label(textOf(process, "status"), 20),
      label(portsOf(process).join(", "), 100),
      amount(numberOf(totals, "rx")),
      dropped > 0 ? <strong class="problem">{amount(dropped)}</strong> : "0",
      <ul class="files">
        {filesOf(process).map((file) => (
          <li key={file}>
            <code>{label(file, 300)}</code>
          </li>
        ))}
      </ul>,
      <span class="row-actions">
        {isRunning ? button("Stop", id, () => control(id, "stop")) : button("Start", id, () => control(id, "start"))}
        {button("Exit", id, () => end(id))}
      </span>,
    ];
  });
  return (
    <div class="list">
      {rows.length === 0 ? (
        <p class="note">No recording process runs.</p>
      ) : (
        <Grid
          name="SPP captures"
          columns={["Process", "State", "Port", "Packets", "Dropped", "Files", "Actions"]}
          rows={rows}
        />
      )}
    </div>
  );
}

function portsOf(process: Json): string[] {
  const ports = listOf(process, "core").flatMap((core) => listOf(core, "rx_port"));
  return ports.map((port) => textOf(port, "port"));
}

function filesOf(process: Json): string[] {
  const names = listOf(process, "core").map((core) => textOf(core, "filename"));
  return names.filter((name) => name !== "");
}
