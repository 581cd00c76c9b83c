// Dark and light colors: the user's choice, else that of the system.

import { computed, effect, signal } from "@preact/signals";
import { theme } from "./view.ts";

const system = matchMedia("(prefers-color-scheme: dark)");
const isSystemDark = signal(system.matches);

/** The theme in use. */
export const activeTheme = computed<"light" | "dark">(() =>
  theme.value === "system" ? (isSystemDark.value ? "dark" : "light") : theme.value,
);

/** Follows the system, and marks the document for the style sheets. */
export function applyTheme(): void {
  system.addEventListener("change", () => {
    isSystemDark.value = system.matches;
  });
  effect(() => {
    document.documentElement.dataset["theme"] = activeTheme.value;
  });
}

/** Switches between dark and light. */
export function switchTheme(): void {
  theme.value = activeTheme.value === "dark" ? "light" : "dark";
}
