// Dark and light colors: the user's choice, else that of the configuration or of the system.

import { computed, effect, signal } from "@preact/signals";
import { theme } from "./view.ts";

const system = matchMedia("(prefers-color-scheme: dark)");
const isSystemDark = signal(system.matches);

/** Theme of the daemon's configuration (`ui.theme`), for users who choose none. */
export const configuredTheme = signal("");

/** The theme in use. */
export const activeTheme = computed<"light" | "dark">(() => {
  if (theme.value !== "system") {
    return theme.value;
  }
  const configured = configuredTheme.value;
  return configured === "dark" || configured === "light" ? configured : isSystemDark.value ? "dark" : "light";
});

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
