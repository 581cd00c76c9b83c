// What this browser remembers. Without storage, for example in a private window, the page works and forgets.

import { signal } from "@preact/signals";

/** Whether the browser refuses to store anything. */
export const isStorageMissing = signal(false);

/** Returns a stored value; `undefined` if there is none, or it is not JSON. */
export function readStored(name: string): unknown {
  try {
    const text = localStorage.getItem(`skyd.${name}`);
    return text === null ? undefined : (JSON.parse(text) as unknown);
  } catch {
    return undefined;
  }
}

/** Stores a value. */
export function store(name: string, value: unknown): void {
  try {
    localStorage.setItem(`skyd.${name}`, JSON.stringify(value));
    isStorageMissing.value = false;
  } catch {
    isStorageMissing.value = true;
  }
}
