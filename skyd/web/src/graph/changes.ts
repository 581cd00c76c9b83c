// The answer of the step `Changes`: what changed in a period, one row for each key. Pure.

import { type Json, listOf, member, numberOf, textOf } from "../parts/json.ts";
import { changeText } from "./difference.ts";

export interface ChangeRow {
  /** Unix milliseconds. */
  time: number;
  /** `added`, `changed`, or `removed`. */
  change: string;
  /** Id of the node or link. */
  id: string;
  isLink: boolean;
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
    const isLink = textOf(item, "Kind") === "edge";
    const id = textOf(item, "ID");
    const name = isLink ? `${nameOf(textOf(item, "Parent"))} – ${nameOf(textOf(item, "Child"))}` : textOf(item, "Name");
    const row = {
      time: numberOf(item, "Time"),
      change: textOf(item, "Change"),
      id,
      isLink,
      name: name || id,
      type: isLink ? `${textOf(item, "RelationType")} link` : textOf(item, "Type"),
      host: textOf(item, "Host"),
    };
    const keys = listOf(item, "Keys");
    for (const key of keys) {
      rows.push({ ...row, key: textOf(key, "Key"), text: changeText(member(key, "Old"), member(key, "New")) });
    }
    if (keys.length === 0) {
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
