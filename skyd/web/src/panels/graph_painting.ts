// Paints the graph in animation frames, only when something that it shows has changed.

import { type Signal, useSignalEffect } from "@preact/signals";
import { type RefObject } from "preact";
import { useRef } from "preact/hooks";
import type { Camera, Size } from "../graph/camera.ts";
import type { Marks } from "../graph/colors.ts";
import { EMPTY_LAYOUT, type Layout } from "../graph/layout.ts";
import { paint } from "../graph/paint.ts";
import { MOVE_MS, layoutBetween, slides } from "../graph/transition.ts";
import { reducesMotion } from "../parts/motion.ts";
import { alertedItems, comparedItems, foundItems, pathItems } from "../state/marks.ts";
import { layout, scene } from "../state/layout.ts";
import { rates } from "../state/link_rates.ts";
import { offsets } from "../state/offsets.ts";
import { activeTheme } from "../state/theme.ts";
import { onHover } from "../state/view.ts";
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
    onHover: new Set(onHover.value),
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

/** The layout that is painted: on its way from one to the next, unless the user moves boxes or prefers
 * reduced motion. */
class Movement {
  isDone = true;
  #from = EMPTY_LAYOUT;
  #to = EMPTY_LAYOUT;
  #painted = EMPTY_LAYOUT;
  #offsets: object | undefined;
  /** Time of the first frame; `undefined` before it. */
  #start: number | undefined;

  /** Sets the next layout. */
  to(next: Layout, moved: object): void {
    if (next === this.#to) {
      return;
    }
    // A next layout with the same positions, for example after a change of states, does not stop a movement.
    const isSame = !slides(this.#to, next);
    const isByUser = moved !== this.#offsets;
    this.#offsets = moved;
    this.#to = next;
    if (isSame && !this.isDone) {
      return;
    }
    this.#from = this.#painted;
    this.isDone = isSame || isByUser || reducesMotion.peek() || !slides(this.#from, next);
    this.#start = undefined;
  }

  /** Returns the layout of a frame. */
  at(now: number): Layout {
    this.#start ??= now;
    const part = (now - this.#start) / MOVE_MS;
    this.isDone ||= part >= 1;
    this.#painted = this.isDone ? this.#to : layoutBetween(this.#from, this.#to, part);
    return this.#painted;
  }
}

export function usePainting(
  canvas: RefObject<HTMLCanvasElement | null>,
  size: Signal<Size>,
  camera: Signal<Camera | undefined>,
  selectedItems: { value: ReadonlySet<string> },
  hovered: { value: string | undefined },
): void {
  const frame = useRef(0);
  const movement = useRef(new Movement()).current;
  useSignalEffect(() => {
    const view = camera.value;
    const marks = marksOf(selectedItems.value, hovered.value);
    const [links, area, theme] = [scene.value.links, size.value, activeTheme.value];
    movement.to(layout.value, offsets.value);
    cancelAnimationFrame(frame.current);
    const paintFrame = (now: number) => {
      const element = canvas.current;
      const context = element?.getContext("2d", { alpha: false });
      if (element && context && view && area.width > 0) {
        const ratio = fitCanvas(element, area);
        paint(context, area, ratio, movement.at(now), links, view, colorsOf(theme), marks);
        if (!movement.isDone) {
          frame.current = requestAnimationFrame(paintFrame);
        }
      }
    };
    frame.current = requestAnimationFrame(paintFrame);
  });
}
