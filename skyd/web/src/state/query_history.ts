// Queries that were run in this browser, newest first.

import { signal } from "@preact/signals";
import { readStored, store } from "../parts/storage.ts";

const MAX_QUERIES = 20;

export const pastQueries = signal<string[]>(read());

function read(): string[] {
  const stored = readStored("queries");
  return Array.isArray(stored) ? stored.filter((item) => typeof item === "string").slice(0, MAX_QUERIES) : [];
}

/** Remembers a query that the daemon has answered. */
export function rememberQuery(query: string): void {
  pastQueries.value = [query, ...pastQueries.value.filter((other) => other !== query)].slice(0, MAX_QUERIES);
  store("queries", pastQueries.value);
}
