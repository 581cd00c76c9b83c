// Values of metadata as one line of text. Pure.

import type { Json } from "./json.ts";

/** Returns a value as one line of text. */
export function valueText(value: Json): string {
  if (typeof value === "string") {
    return value;
  }
  if (Array.isArray(value) && value.every((item) => typeof item !== "object")) {
    return value.join(", ");
  }
  return JSON.stringify(value);
}
