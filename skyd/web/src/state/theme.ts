// Dark and light colors: the user's choice, else that of the configuration or of the system.

import { computed, effect, signal } from "@preact/signals";
import { theme } from "./view.ts";

const system = matchMedia("(prefers-color-scheme: dark)");
const isSystemDark = signal(system.matches);

/** Theme of the daemon's configuration (`ui.theme`), for users who choose none. */
export const configuredTheme = signal("");

/** The theme for users who choose none. */
const defaultTheme = computed<"light" | "dark">(() => {
  const configured = configuredTheme.value;
  return configured === "dark" || configured === "light" ? configured : isSystemDark.value ? "dark" : "light";
});

/** The theme in use. */
export const activeTheme = computed(() => (theme.value === "system" ? defaultTheme.value : theme.value));

/** Follows the system, and marks the document for the style sheets. */
export function applyTheme(): void {
  system.addEventListener("change", () => {
    isSystemDark.value = system.matches;
  });
  effect(() => {
    document.documentElement.dataset["theme"] = activeTheme.value;
  });
}

/** Switches between dark and light; back to the default theme, which follows the system again. */
export function switchTheme(): void {
  const next = activeTheme.value === "dark" ? "light" : "dark";
  theme.value = next === defaultTheme.value ? "system" : next;
}
