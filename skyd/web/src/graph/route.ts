// The way of a packet, from the answer of the step `PathTo`. Pure.

import { type Json, asArray, listOf, member, numberOf, textOf } from "../parts/json.ts";
import { counted, label } from "../parts/names.ts";

export interface RouteHop {
  /** Id of the interface. */
  id: string;
  /** Qualified name. */
  name: string;
  /** How the packet comes here, and what limits it: next hop, MTU, state, drops. */
  text: string;
}

export interface Route {
  from: string;
  to: string;
  isReached: boolean;
  /** Summary: smallest MTU and drops, or why the packet does not arrive. */
  text: string;
  hops: RouteHop[];
}

/** Returns the ways of an answer. */
export function routesOf(answer: Json): Route[] {
  return asArray(answer).map((way) => {
    const isReached = member(way, "Reached") === true;
    const summary = [mtu(way), drops(way)].filter((text) => text !== "").join(", ");
    return {
      from: label(textOf(way, "From"), 80),
      to: label(textOf(way, "To"), 80),
      isReached,
      text: isReached ? summary : label(textOf(way, "Reason"), 300),
      hops: listOf(way, "Hops").map(hopOf),
    };
  });
}

function hopOf(hop: Json): RouteHop {
  const [by, next, state] = [textOf(hop, "By"), textOf(hop, "NextHop"), textOf(hop, "State").toLowerCase()];
  const alternatives = numberOf(hop, "Alternatives");
  const outer = numberOf(hop, "Outer");
  const parts = [
    by === "route" && next !== "" ? `route by ${label(next, 60)}` : label(by, 20),
    alternatives > 0 ? counted(alternatives, "alternative") : "",
    outer > 0 ? `inside ${counted(outer, "tunnel")}` : "",
    mtu(hop),
    state === "up" || state === "unknown" ? "" : label(state, 20),
    drops(hop),
  ];
  return {
    id: textOf(hop, "Node"),
    name: label(textOf(hop, "Name"), 80),
    text: parts.filter((text) => text !== "").join(", "),
  };
}

function mtu(value: Json): string {
  return numberOf(value, "MTU") > 0 ? `MTU ${numberOf(value, "MTU")}` : "";
}

function drops(value: Json): string {
  return numberOf(value, "Drops") > 0 ? `${counted(numberOf(value, "Drops"), "packet")} dropped` : "";
}
