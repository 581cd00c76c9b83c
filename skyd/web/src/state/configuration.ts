// What the page reads at each new connection: who the user is, and settings of the page.

import { effect } from "@preact/signals";
import { readSharedFavorites } from "./favorites.ts";
import { readThresholds } from "./link_rates.ts";
import { may, readUser } from "./me.ts";
import { connection } from "./session.ts";

export function followConfiguration(): void {
  effect(() => {
    if (connection.value === "live") {
      void read();
    }
  });
}

async function read(): Promise<void> {
  await readUser();
  if (may("config", "read")) {
    await Promise.all([readSharedFavorites(), readThresholds()]);
  }
}
