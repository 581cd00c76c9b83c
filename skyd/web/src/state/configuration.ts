// What the page reads at each new connection: who the user is, and settings of the page (`ui` in the
// daemon's configuration).

import { batch, effect, signal } from "@preact/signals";
import { json } from "../net/rest.ts";
import { type Json, isObject, textOf, valueAt } from "../parts/json.ts";
import { favorites, setSharedFavorites } from "./favorites.ts";
import { setThresholds } from "./link_rates.ts";
import { may, readUser } from "./me.ts";
import { connection } from "./session.ts";
import { configuredTheme } from "./theme.ts";
import { graphFilter, isDefaultView, queryText } from "./view.ts";

/** Packet filters that have a name, with it (`ui.bpf.favorites`). */
export const bpfFavorites = signal<readonly [string, string][]>([]);

/** Whether the settings of the first view were applied; they do not replace what the user does later. */
let isApplied = false;

export function followConfiguration(): void {
  effect(() => {
    if (connection.value === "live") {
      void read();
    }
  });
}

async function read(): Promise<void> {
  await readUser();
  const ui: Json = may("config", "read") ? await json("GET", "/api/config/ui").catch(() => null) : null;
  batch(() => {
    setSharedFavorites(textsAt(ui, "topology.favorites"));
    setThresholds(ui);
    bpfFavorites.value = textsAt(ui, "bpf.favorites").map(([name, filter]) => [filter, name]);
    configuredTheme.value = textOf(ui, "theme");
    if (!isApplied) {
      isApplied = true;
      showDefaults(ui);
    }
  });
}

/** Limits the graph to the default filter, and runs the default highlight: both are names of favorites. An
 * address that describes a view of its own is left as it is. */
function showDefaults(ui: Json): void {
  const queryOf = (key: string) => {
    const name = valueAt(ui, `topology.${key}`);
    return favorites.peek().find((favorite) => favorite.isShared && favorite.name === name)?.query ?? "";
  };
  if (isDefaultView()) {
    graphFilter.value = queryOf("default_filter");
    queryText.value = queryOf("default_highlight");
  }
}

/** Returns the texts of an object with their names. */
function textsAt(value: Json, path: string): [string, string][] {
  const found = valueAt(value, path);
  const entries = isObject(found) ? Object.entries(found) : [];
  return entries.flatMap(([name, text]): [string, string][] => (typeof text === "string" ? [[name, text]] : []));
}
