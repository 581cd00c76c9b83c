// Keys and values of the graph, for the completion of queries.

import type { Vocabulary } from "../net/completion.ts";
import { valueAt } from "../parts/json.ts";
import { compareNatural } from "../parts/names.ts";
import { model } from "./session.ts";

/** Most nodes that are looked through: enough for all types of nodes in practice. */
const MAX_NODES = 5000;

export const vocabulary: Vocabulary = {
  keys: () => {
    const found = new Set<string>();
    for (const node of nodes()) {
      Object.keys(node.metadata).forEach((key) => found.add(key));
    }
    return sorted(found);
  },
  values: (key) => {
    const found = new Set<string>();
    for (const node of nodes()) {
      const value = valueAt(node.metadata, key);
      for (const item of Array.isArray(value) ? value : [value]) {
        typeof item === "string" && item.length < 80 && found.add(item);
      }
    }
    return sorted(found);
  },
};

function* nodes() {
  let count = 0;
  for (const node of model.nodes.values()) {
    yield node;
    count += 1;
    if (count === MAX_NODES) {
      return;
    }
  }
}

function sorted(found: Set<string>): string[] {
  return [...found].sort(compareNatural);
}
