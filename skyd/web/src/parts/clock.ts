// The current time as a signal, for ages and for rates that expire.

import { signal } from "@preact/signals";

/** Current time in Unix milliseconds, updated every second while the page is visible. */
export const now = signal(Date.now());

/** Starts the clock. */
export function startClock(): void {
  setInterval(() => {
    if (document.visibilityState === "visible") {
      now.value = Date.now();
    }
  }, 1000);
}
