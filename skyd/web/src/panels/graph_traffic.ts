// Dots that move along the links with traffic, on a canvas of their own above the graph, so that the graph
// is not painted again. There are none if the user prefers reduced motion.

import { type Signal, useSignalEffect } from "@preact/signals";
import type { RefObject } from "preact";
import type { Camera, Size } from "../graph/camera.ts";
import { ICON_TOP, traceLink } from "../graph/link_path.ts";
import { rateLabel } from "../graph/paint_links.ts";
import type { Link } from "../graph/scene.ts";
import { reducesMotion } from "../parts/motion.ts";
import { layout, scene } from "../state/layout.ts";
import { rates } from "../state/link_rates.ts";
import { activeTheme } from "../state/theme.ts";
import { onHover } from "../state/view.ts";
import { colorsOf } from "./graph_colors.ts";
import { fitCanvas } from "./graph_painting.ts";

/** Time between two frames: slow movement needs no more, and costs little. */
const FRAME_MS = 80;
/** Distance between two dots, and their movement per frame and step of the rate, in layout units. */
const [DISTANCE, MOVEMENT] = [46, 2];
/** Size of an icon, and the place of the name below it, in layout units. */
const [ICON_SIZE, NAME_TOP, NAME_HEIGHT] = [28, 36, 16];
/** Below this zoom, dots would be noise. */
const MIN_ZOOM = 0.3;
/** Most links with dots. */
const MAX_LINKS = 300;

/** Returns whether dots move along a link. */
function hasDots({ id, relation }: Link): boolean {
  return rates.value.has(id) && !onHover.value.includes(relation);
}

export function useTraffic(
  canvas: RefObject<HTMLCanvasElement | null>,
  size: Signal<Size>,
  camera: Signal<Camera | undefined>,
): void {
  useSignalEffect(() => {
    const [view, area, shown, theme] = [camera.value, size.value, layout.value, activeTheme.value];
    const links = scene.value.links.filter(hasDots).slice(0, MAX_LINKS);
    const element = canvas.current;
    const context = element?.getContext("2d");
    if (!element || !context || !view || area.width === 0) {
      return undefined;
    }
    const scale = view.zoom * fitCanvas(element, area);
    const clear = () => {
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, element.width, element.height);
    };
    clear();
    if (links.length === 0 || view.zoom < MIN_ZOOM || reducesMotion.value) {
      return undefined;
    }
    const timer = setInterval(() => {
      if (document.visibilityState !== "visible") {
        return;
      }
      const frame = Math.floor(performance.now() / FRAME_MS);
      clear();
      context.setTransform(scale, 0, 0, scale, -view.x * scale, -view.y * scale);
      context.strokeStyle = colorsOf(theme).accent;
      context.lineCap = "round";
      context.lineWidth = 6;
      context.setLineDash([0.1, DISTANCE]);
      for (const { id, from, to } of links) {
        const [start, end] = [shown.boxes.get(from), shown.boxes.get(to)];
        if (start && end) {
          const speed = 1 + (rates.peek().get(id)?.step ?? 0);
          context.lineDashOffset = -((frame * MOVEMENT * speed) % (DISTANCE + 0.1));
          context.beginPath();
          traceLink(context, start, end);
          context.stroke();
        }
      }
      // Dots do not cover icons, names, and rates.
      for (const { from, to } of links) {
        for (const end of [shown.boxes.get(from), shown.boxes.get(to)]) {
          if (end && end.children.length === 0) {
            const middle = end.x + end.width / 2;
            context.clearRect(middle - ICON_SIZE / 2, end.y + ICON_TOP - ICON_SIZE / 2, ICON_SIZE, ICON_SIZE);
            context.clearRect(end.x, end.y + NAME_TOP, end.width, NAME_HEIGHT);
          }
        }
      }
      for (const { id, from, to } of links) {
        const [start, end] = [shown.boxes.get(from), shown.boxes.get(to)];
        const label = start && end && rateLabel(start, end, rates.peek().get(id), view.zoom);
        if (label) {
          const { x, y, width, height } = label;
          context.clearRect(x - width / 2, y - height / 2, width, height);
        }
      }
    }, FRAME_MS);
    return () => clearInterval(timer);
  });
}
