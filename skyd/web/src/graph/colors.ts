// Colors and marks of a painted graph.

import type { LinkRate } from "./rates.ts";

/** What painting needs of a canvas; `svg.ts` has another implementation of it. */
export type Surface = Pick<
  CanvasRenderingContext2D,
  | "arc"
  | "beginPath"
  | "bezierCurveTo"
  | "closePath"
  | "fill"
  | "fillRect"
  | "fillStyle"
  | "fillText"
  | "font"
  | "globalAlpha"
  | "lineCap"
  | "lineJoin"
  | "lineTo"
  | "lineWidth"
  | "moveTo"
  | "quadraticCurveTo"
  | "rect"
  | "restore"
  | "roundRect"
  | "save"
  | "setLineDash"
  | "setTransform"
  | "stroke"
  | "strokeStyle"
  | "strokeText"
  | "textAlign"
  | "translate"
>;

/** Colors of the theme. */
export interface Colors {
  theme: "light" | "dark";
  background: string;
  box: string;
  boxBorder: string;
  text: string;
  dimText: string;
  link: string;
  accent: string;
  found: string;
  warning: string;
  /** What a comparison found to be added, and removed. */
  added: string;
  removed: string;
}

/** Marks on items, by item id. */
export interface Marks {
  selected: ReadonlySet<string>;
  hovered: string | undefined;
  found: ReadonlySet<string>;
  /** Items of a path, in order. */
  path: readonly string[];
  /** Result of a comparison of two times. */
  compared: ReadonlyMap<string, "added" | "removed" | "changed">;
  /** Items on which alerts were reported. */
  alerted: ReadonlySet<string>;
  /** Relation types whose links are painted only if an end is selected or hovered. */
  onHover: ReadonlySet<string>;
  /** Traffic of links, by link id. */
  rates: ReadonlyMap<string, LinkRate>;
}
