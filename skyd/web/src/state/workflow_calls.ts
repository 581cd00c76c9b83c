// Calls of workflows: they continue, and their results stay, while another panel is open.

import { signal } from "@preact/signals";
import { errorText, jsonOf, sendUntil } from "../net/rest.ts";
import type { Json } from "../parts/json.ts";

export interface WorkflowCall {
  /** Start, in Unix milliseconds. */
  since: number;
  /** Ends the call; `undefined` once it has ended. */
  end?: AbortController;
  /** What the workflow returned. */
  answer?: Json;
  /** Why it returned nothing. */
  error?: string;
}

/** Newest call of each workflow, by UUID. */
export const calls = signal<ReadonlyMap<string, WorkflowCall>>(new Map());

function set(uuid: string, call: WorkflowCall): void {
  calls.value = new Map(calls.value).set(uuid, call);
}

/** Calls a workflow. */
export async function callWorkflow(uuid: string, parameters: Json[]): Promise<void> {
  const [since, end] = [Date.now(), new AbortController()];
  set(uuid, { since, end });
  try {
    const path = `/api/workflow/${encodeURIComponent(uuid)}/call`;
    const response = await sendUntil("POST", path, { Params: parameters }, end.signal);
    set(uuid, { since, answer: jsonOf(await response.text()) });
  } catch (error) {
    set(uuid, { since, error: errorText(error) });
  }
}
