// The unit of rates: bytes or bits per second, remembered in this browser.

import { signal } from "@preact/signals";
import { readStored, store } from "./storage.ts";

/** Whether rates are in bits per second. */
export const ratesInBits = signal(readStored("ratesInBits") === true);

/** Chooses the unit of rates. */
export function setRatesInBits(on: boolean): void {
  ratesInBits.value = on;
  store("ratesInBits", on);
}
