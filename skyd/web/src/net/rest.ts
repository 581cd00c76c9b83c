// Requests to the daemon's REST interface. All go to the page's own origin.

import { signal } from "@preact/signals";
import type { Json } from "../parts/json.ts";
import { dateTime } from "../parts/units.ts";

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
  return sendUntil(method, path, body, AbortSignal.timeout(timeout));
}

/** Sends a request that ends with a signal. Throws like `send`. */
export async function sendUntil(
  method: string,
  path: string,
  body: Json | undefined,
  end: AbortSignal,
): Promise<Response> {
  const content = body === undefined ? {} : { headers: JSON_BODY, body: JSON.stringify(body) };
  return request(path, { method, signal: end, ...content });
}

const JSON_BODY = { "Content-Type": "application/json" };

/** Sends a request of any kind, by default with the time limit of `send`. Throws like `send`. */
export async function request(path: string, init: RequestInit): Promise<Response> {
  const end = init.signal ?? AbortSignal.timeout(TIMEOUT_MS);
  const headers = new Headers(init.headers);
  headers.set("X-Requested-With", "skyd");
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...init, headers, signal: end });
  } catch {
    throw new RequestError(0, isCanceled(end) ? "Canceled." : "The daemon does not answer.");
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

/** Returns whether a request was ended by the user, not by a timeout. */
function isCanceled(end: AbortSignal): boolean {
  return end.aborted && (end.reason as { name?: string } | undefined)?.name === "AbortError";
}

function refusal(status: number): string {
  const isForbidden = status === 403 || status === 405;
  return isForbidden ? "Your role does not allow this." : `The daemon refused the request with status ${status}.`;
}

/** Sends a request and returns the JSON of the response; `null` for an empty body. */
export async function json(method: string, path: string, body?: Json, timeout = TIMEOUT_MS): Promise<Json> {
  return jsonOf(await (await send(method, path, body, timeout)).text());
}

/** Returns the JSON of a body; `null` for an empty one. */
export function jsonOf(text: string): Json {
  return text.trim() === "" ? null : (JSON.parse(text) as Json);
}

/** Answer to a query, with the notes of the daemon about it. */
export interface Answered {
  value: Json;
  notes: string[];
}

/** Runs a Gremlin query once, and returns its answer with the daemon's notes. */
export async function ask(gremlin: string): Promise<Answered> {
  const response = await send("POST", "/api/topology", { GremlinQuery: gremlin });
  return { value: jsonOf(await response.text()), notes: notesOf(response.headers) };
}

/** Returns what the daemon notes about an answer: parts that are missing, unknown keys, and a time before
 * the history begins. */
export function notesOf(headers: Headers): string[] {
  const warning = headers.get("X-Warning") ?? "";
  const begins = Date.parse(headers.get("X-History-Begins") ?? "");
  const notes = warning === "" ? [] : [warning];
  return Number.isNaN(begins) ? notes : [...notes, historyNote(begins)];
}

/** Returns the note that nothing is known before a time. */
export function historyNote(begins: number): string {
  return `The history begins at ${dateTime(begins)}; nothing is known about earlier times.`;
}

/** Runs a Gremlin query once. */
export async function query(gremlin: string): Promise<Json> {
  return (await ask(gremlin)).value;
}

/** Runs a Gremlin query whose answer is a file of a media type. */
export async function queryFile(gremlin: string, type: string): Promise<Blob> {
  const body = JSON.stringify({ GremlinQuery: gremlin });
  const headers = { ...JSON_BODY, Accept: type };
  return (await request("/api/topology", { method: "POST", headers, body })).blob();
}

/** Returns the text of any error. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
