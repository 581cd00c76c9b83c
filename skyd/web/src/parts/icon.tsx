// Small icons of node families for lists, in the colors of the graph.

import type { ComponentChildren } from "preact";
import { FAMILY_COLORS, type Family } from "../graph/family.ts";
import { activeTheme } from "../state/theme.ts";

const SHAPES: Record<Family, ComponentChildren> = {
  host: <rect x="1.5" y="3" width="13" height="10" rx="2" />,
  namespace: <rect x="2" y="2" width="12" height="12" rx="2" fill="none" stroke="currentColor" stroke-width="2" />,
  container: <path d="M8 1l6 3.5v7L8 15l-6-3.5v-7z" />,
  bridge: <path d="M4.5 2h7L15 8l-3.5 6h-7L1 8z" />,
  physical: <rect x="2.5" y="2.5" width="11" height="11" />,
  virtual: <circle cx="8" cy="8" r="6" />,
  tunnel: (
    <>
      <circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="2" />
      <circle cx="8" cy="8" r="2.5" />
    </>
  ),
  other: <path d="M8 1l7 7-7 7-7-7z" />,
};

/** Returns the icon of a family; hollow if `isDown`. */
export function FamilyIcon({ family, isDown = false }: { family: Family; isDown?: boolean }) {
  const color = FAMILY_COLORS[family][activeTheme.value];
  const style = isDown ? { color, fill: "none", stroke: color, strokeWidth: "1.5" } : { color, fill: color };
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" style={style}>
      {SHAPES[family]}
      {isDown && <path d="M2 14L14 2" />}
    </svg>
  );
}
