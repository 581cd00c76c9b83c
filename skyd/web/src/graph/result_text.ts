// Results of expressions of alerts as text. Pure.

import { type Json, member, textOf } from "../parts/json.ts";
import { counted } from "../parts/names.ts";

/** Returns the result of an expression as text: the names of nodes, anything else as JSON. */
export function resultText(result: Json): string {
  const items = Array.isArray(result) ? result : [];
  const names = items.map((item) => textOf(member(item, "Metadata"), "Name"));
  const areNodes = items.length > 0 && names.every((name) => name !== "");
  return areNodes ? `${counted(items.length, "node")}: ${names.join(", ")}` : JSON.stringify(result);
}
