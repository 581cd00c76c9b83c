// Colors of the graph, from the style sheet.

import type { Colors } from "../graph/colors.ts";

const cached = new Map<string, Colors>();

/** Returns the colors of a theme. */
export function colorsOf(theme: "light" | "dark"): Colors {
  const known = cached.get(theme);
  if (known) {
    return known;
  }
  const style = getComputedStyle(document.documentElement);
  const color = (name: string) => style.getPropertyValue(`--${name}`).trim();
  const colors: Colors = {
    theme,
    background: color("graph-background"),
    box: color("graph-box"),
    boxBorder: color("border"),
    text: color("text"),
    dimText: color("dim-text"),
    link: color("graph-link"),
    accent: color("accent"),
    found: color("found"),
    warning: color("warning"),
    added: color("ok"),
    removed: color("error"),
  };
  cached.set(theme, colors);
  return colors;
}
