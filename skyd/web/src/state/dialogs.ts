// The open dialog of the selected node, or of the page.

import { signal } from "@preact/signals";

export type DialogName = "capture" | "inject" | "path" | "keys" | "favorites";

export const openDialog = signal<DialogName | null>(null);
