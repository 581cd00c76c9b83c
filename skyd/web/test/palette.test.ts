// The colors of families: contrast with the background, and distance from each other, also with color
// blindness (Machado, Oliveira, Fernandes 2009; CIE 1976 color difference).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { FAMILY_COLORS, type Family } from "../src/graph/family.ts";

type Rgb = [number, number, number];

/** Matrices of severe protanopia, deuteranopia, and tritanopia on linear RGB. */
const BLINDNESS: Record<string, Rgb[]> = {
  none: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopia: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};

function linear(hex: string): Rgb {
  const parts = [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16) / 255);
  return parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)) as Rgb;
}

function times(matrix: Rgb[], [r, g, b]: Rgb): Rgb {
  return matrix.map((row) => Math.min(Math.max(row[0] * r + row[1] * g + row[2] * b, 0), 1)) as Rgb;
}

function contrast(a: string, b: string): number {
  const luminance = (hex: string) =>
    linear(hex).reduce((sum, part, at) => sum + part * ([0.2126, 0.7152, 0.0722][at] ?? 0), 0);
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

function lab(rgb: Rgb): Rgb {
  const xyz = times(
    [
      [0.4124564, 0.3575761, 0.1804375],
      [0.2126729, 0.7151522, 0.072175],
      [0.0193339, 0.119192, 0.9503041],
    ],
    rgb,
  );
  const f = (t: number) => (t > 216 / 24389 ? Math.cbrt(t) : ((24389 / 27) * t + 16) / 116);
  const [x, y, z] = [f(xyz[0] / 0.95047), f(xyz[1]), f(xyz[2] / 1.08883)];
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

/** Returns a color of the style sheet. */
function token(theme: "light" | "dark", name: string): string {
  const css = readFileSync("src/style/tokens.css", "utf8");
  const block = theme === "light" ? css : css.slice(css.indexOf('[data-theme="dark"]'));
  const found = new RegExp(`--${name}: (#[0-9a-f]{6})`).exec(block);
  assert.ok(found?.[1], `${name} of ${theme}`);
  return found[1];
}

for (const theme of ["light", "dark"] as const) {
  const families = (Object.keys(FAMILY_COLORS) as Family[]).filter((family) => family !== "other");

  test(`each family stands out from the ${theme} background`, () => {
    for (const family of families) {
      // Most nodes are in boxes; few are directly on the background.
      for (const [background, least] of [
        ["graph-box", 3.2],
        ["graph-background", 3],
      ] as const) {
        const ratio = contrast(FAMILY_COLORS[family][theme], token(theme, background));
        assert.ok(ratio >= least, `${family} on ${background}: ${ratio.toFixed(2)}`);
      }
    }
  });

  test(`families differ from each other in the ${theme} theme, also with color blindness`, () => {
    for (const [name, matrix] of Object.entries(BLINDNESS)) {
      families.forEach((a, index) => {
        for (const b of families.slice(index + 1)) {
          const [p, q] = [a, b].map((family) => lab(times(matrix, linear(FAMILY_COLORS[family][theme])))) as [Rgb, Rgb];
          const distance = Math.hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2]);
          assert.ok(distance >= 15, `${a} and ${b} with ${name}: ${distance.toFixed(1)}`);
        }
      });
    }
  });

  test(`text has enough contrast in the ${theme} theme`, () => {
    for (const text of ["text", "dim-text", "accent", "error", "ok", "found", "warning"]) {
      for (const background of ["surface", "background", "hover"]) {
        const ratio = contrast(token(theme, text), token(theme, background));
        assert.ok(
          ratio >= 4.5 || (background === "hover" && ratio >= 3),
          `${text} on ${background}: ${ratio.toFixed(2)}`,
        );
      }
    }
  });
}
