// Who the user is and what it may do, from `GET /api/me`.

import { signal } from "@preact/signals";
import { json } from "../net/rest.ts";
import { type Json, listOf, member, textOf } from "../parts/json.ts";
import { pastTime, savedGraph } from "./view.ts";

/** Answer of the daemon; `null` before it arrives. */
const me = signal<Json>(null);

/** Reads who the user is. Without an answer, everything is offered, and the daemon refuses. */
export async function readUser(): Promise<void> {
  me.value = await json("GET", "/api/me").catch(() => null);
}

/** Returns the name of the user who has logged in; empty if the daemon needs no login. */
export function userName(): string {
  return member(me.value, "NeedsLogin") === true ? textOf(me.value, "User") : "";
}

/** Returns whether the user may perform an action on an object, such as `write` on `capture`. */
export function may(object: string, action: "read" | "write"): boolean {
  const rules = listOf(me.value, "Permissions");
  const isRule = (rule: Json) => textOf(rule, "Object") === object && textOf(rule, "Action") === action;
  return me.value === null || rules.some((rule) => isRule(rule) && member(rule, "Allowed") === true);
}

/** Returns why the user cannot change an object now; `undefined` if it can. */
export function refusal(object: string): string | undefined {
  if (savedGraph.value !== null) {
    return "Not available in a saved graph";
  }
  if (pastTime.value !== null) {
    return "Not available in the past";
  }
  return may(object, "write") ? undefined : "Your role may not do this";
}
