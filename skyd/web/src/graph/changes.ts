// The answer of the step `Changes`: what changed in a period, one row for each key. Pure.

import { type Json, listOf, member, numberOf, textOf } from "../parts/json.ts";
import { VOLATILE, changeText } from "./difference.ts";

export interface ChangeRow {
  /** Unix milliseconds. */
  time: number;
  /** `added`, `changed`, `removed`, or, of an alert, `fired`. */
  change: string;
  /** Id of the node, link, or resource. */
  id: string;
  isLink: boolean;
  /** Whether the row is about a node or link, not about a capture, alert, or other resource. */
  isElement: boolean;
  name: string;
  type: string;
  host: string;
  /** Changed key; empty if the element was added or removed. */
  key: string;
  /** Old and new value; empty if the element was added or removed. */
  text: string;
}

/** Returns the rows of an answer, newest first. `nameOf` returns the name of a node. */
export function changeRows(answer: Json[], nameOf: (id: string) => string): ChangeRow[] {
  const rows: ChangeRow[] = [];
  for (const item of answer) {
    const kind = textOf(item, "Kind");
    const isLink = kind === "edge";
    const id = textOf(item, "ID");
    const name = isLink ? `${nameOf(textOf(item, "Parent"))} – ${nameOf(textOf(item, "Child"))}` : textOf(item, "Name");
    const row = {
      time: numberOf(item, "Time"),
      change: textOf(item, "Change"),
      id,
      isLink,
      isElement: isLink || kind === "node",
      name: name || id,
      type: isLink ? `${textOf(item, "RelationType")} link` : kind === "node" ? textOf(item, "Type") : kind,
      host: textOf(item, "Host"),
    };
    const all = listOf(item, "Keys");
    const keys = all.filter((key) => !VOLATILE.has(textOf(key, "Key").split(".")[0] ?? ""));
    for (const key of keys) {
      rows.push({ ...row, key: textOf(key, "Key"), text: changeText(member(key, "Old"), member(key, "New")) });
    }
    if (all.length === 0) {
      rows.push({ ...row, key: "", text: "" });
    }
  }
  return rows.reverse();
}

/** Returns the rows that contain each word of a filter. */
export function filterChanges(rows: ChangeRow[], filter: string): ChangeRow[] {
  const words = filter
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== "");
  return rows.filter((row) => {
    const text = [row.change, row.name, row.type, row.host, row.key, row.text].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
}
