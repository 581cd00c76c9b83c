// Short notices at the bottom of the page, some with an action.

import { signal } from "@preact/signals";

export interface Notice {
  id: number;
  text: string;
  action?: { name: string; run: () => void };
}

const SHOWN_MS = 8000;
const MAX_NOTICES = 5;
let next = 1;

export const notices = signal<Notice[]>([]);

/** Shows a notice for eight seconds. */
export function notify(text: string, action?: Notice["action"]): void {
  const notice: Notice = { id: next, text, ...(action && { action }) };
  next += 1;
  notices.value = [...notices.value, notice].slice(-MAX_NOTICES);
  setTimeout(() => dismiss(notice.id), SHOWN_MS);
}

/** Removes a notice. */
export function dismiss(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}
