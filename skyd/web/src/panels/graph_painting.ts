// Paints the graph in animation frames, only when something that it shows has changed.

import { type Signal, useSignalEffect } from "@preact/signals";
import { type RefObject } from "preact";
import { useRef } from "preact/hooks";
import type { Camera, Size } from "../graph/camera.ts";
import type { Marks } from "../graph/colors.ts";
import { paint } from "../graph/paint.ts";
import { alertedItems, comparedItems, foundItems, pathItems } from "../state/marks.ts";
import { layout, scene } from "../state/layout.ts";
import { rates } from "../state/link_rates.ts";
import { activeTheme } from "../state/theme.ts";
import { colorsOf } from "./graph_colors.ts";

/** Returns the marks of the items that the graph shows. */
export function marksOf(selected: ReadonlySet<string>, hovered: string | undefined): Marks {
  const { itemOf } = scene.value;
  return {
    selected,
    hovered,
    found: foundItems(itemOf),
    path: pathItems(itemOf),
    compared: comparedItems(itemOf),
    alerted: alertedItems(itemOf),
    rates: rates.value,
  };
}

/** Gives a canvas the size of its area in device pixels, and returns their ratio. */
export function fitCanvas(element: HTMLCanvasElement, area: Size): number {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const [width, height] = [Math.round(area.width * ratio), Math.round(area.height * ratio)];
  if (element.width !== width || element.height !== height) {
    element.width = width;
    element.height = height;
  }
  return ratio;
}

export function usePainting(
  canvas: RefObject<HTMLCanvasElement | null>,
  size: Signal<Size>,
  camera: Signal<Camera | undefined>,
  selectedItems: { value: ReadonlySet<string> },
  hovered: Signal<string | undefined>,
): void {
  const frame = useRef(0);
  useSignalEffect(() => {
    const view = camera.value;
    const marks = marksOf(selectedItems.value, hovered.value);
    const [shown, links, area, theme] = [layout.value, scene.value.links, size.value, activeTheme.value];
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(() => {
      const element = canvas.current;
      const context = element?.getContext("2d", { alpha: false });
      if (element && context && view && area.width > 0) {
        const ratio = fitCanvas(element, area);
        paint(context, area, ratio, shown, links, view, colorsOf(theme), marks);
      }
    });
  });
}
