// Queries that were run in this browser, newest first.

import { signal } from "@preact/signals";

const STORED = "skyd.queries";
const MAX_QUERIES = 20;

export const pastQueries = signal<string[]>(read());

function read(): string[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(STORED) ?? "[]");
    return Array.isArray(stored) ? stored.filter((item) => typeof item === "string").slice(0, MAX_QUERIES) : [];
  } catch {
    return [];
  }
}

/** Remembers a query that the daemon has answered. */
export function rememberQuery(query: string): void {
  pastQueries.value = [query, ...pastQueries.value.filter((other) => other !== query)].slice(0, MAX_QUERIES);
  try {
    localStorage.setItem(STORED, JSON.stringify(pastQueries.value));
  } catch {
    // Without storage, queries are remembered until the page is closed.
  }
}
