// Requests to the daemon's REST interface. All go to the page's own origin.

import { signal } from "@preact/signals";
import type { Json } from "../parts/json.ts";

/** Whether the daemon refused a request because the user is not logged in. */
export const needsLogin = signal(false);

/** Response of the daemon that is not a success. */
export class RequestError extends Error {
  constructor(
    readonly status: number,
    /** Text of the daemon. */
    text: string,
  ) {
    super(text);
  }
}

const TIMEOUT_MS = 30_000;

/** Sends a request and returns the response.
 *
 * Throws a `RequestError` if the daemon refuses the request; its status is 0 if there is no answer. */
export async function send(method: string, path: string, body?: Json, timeout = TIMEOUT_MS): Promise<Response> {
  const headers: Record<string, string> = { "X-Requested-With": "skyd" };
  const init: RequestInit = { method, headers, signal: AbortSignal.timeout(timeout), credentials: "same-origin" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch {
    throw new RequestError(0, "The daemon does not answer.");
  }
  if (response.ok || response.status === 304) {
    return response;
  }
  if (response.status === 401) {
    needsLogin.value = true;
  }
  const text = (await response.text()).trim();
  throw new RequestError(response.status, text || refusal(response.status));
}

function refusal(status: number): string {
  const isForbidden = status === 403 || status === 405;
  return isForbidden ? "Your role does not allow this." : `The daemon refused the request with status ${status}.`;
}

/** Sends a request and returns the JSON of the response; `null` for an empty body. */
export async function json(method: string, path: string, body?: Json, timeout = TIMEOUT_MS): Promise<Json> {
  const text = await (await send(method, path, body, timeout)).text();
  return text.trim() === "" ? null : (JSON.parse(text) as Json);
}

/** Runs a Gremlin query once. */
export function query(gremlin: string): Promise<Json> {
  return json("POST", "/api/topology", { GremlinQuery: gremlin });
}

/** Returns the text of any error. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
