// Whether the user prefers less motion.

import { signal } from "@preact/signals";

const preference = matchMedia("(prefers-reduced-motion: reduce)");

/** Whether nothing should move; follows the setting of the system. */
export const reducesMotion = signal(preference.matches);

preference.addEventListener("change", () => {
  reducesMotion.value = preference.matches;
});
