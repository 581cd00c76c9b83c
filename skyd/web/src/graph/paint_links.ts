// Paints the links between boxes, with their traffic, and the marked path.

import { byteRate } from "../parts/units.ts";
import type { Camera } from "./camera.ts";
import type { Colors, Marks, Surface } from "./colors.ts";
import { type Box, LEAF_WIDTH, type Layout } from "./layout.ts";
import { linkMiddle, traceLink } from "./link_path.ts";
import type { LinkRate } from "./rates.ts";
import type { Link } from "./scene.ts";

/** Links between interfaces of one owner are not drawn if the interfaces are narrower, in pixels. */
const MIN_LINKED_WIDTH = 14;
/** Shorter links, in pixels, have no label with their rate. */
const MIN_RATE_LENGTH = 48;
/** Below this zoom, rates cannot be read. */
const MIN_RATE_ZOOM = 0.55;
/** Widths of links in the steps of their traffic. */
const WIDTHS = [1.3, 2, 3.2, 4.8];

/** A link that the frame shows. */
export interface ShownLink {
  link: Link;
  from: Box;
  to: Box;
  /** Whether an end is selected or hovered. */
  isNear: boolean;
}

/** Returns the links to paint: links of boxes that are not painted are left out. */
export function shownLinks(
  links: Link[],
  shown: ReadonlySet<string>,
  layout: Layout,
  camera: Camera,
  marks: Marks,
): ShownLink[] {
  const areLeavesTiny = LEAF_WIDTH * camera.zoom < MIN_LINKED_WIDTH;
  const found: ShownLink[] = [];
  for (const link of links) {
    if (!shown.has(link.from) || !shown.has(link.to)) {
      continue;
    }
    const [from, to] = [layout.boxes.get(link.from), layout.boxes.get(link.to)];
    if (!from || !to) {
      continue;
    }
    const { selected, hovered } = marks;
    const isNear = [link.from, link.to].some((id) => selected.has(id) || id === hovered);
    if (!isNear && marks.onHover.has(link.relation)) {
      continue;
    }
    if (areLeavesTiny && !isNear && from.parent !== undefined && from.parent === to.parent) {
      continue;
    }
    found.push({ link, from, to, isNear });
  }
  return found;
}

/** Paints links; their width says how much traffic they carry. */
export function paintLinks(
  context: Surface,
  links: readonly ShownLink[],
  camera: Camera,
  colors: Colors,
  marks: Marks,
): void {
  for (const { link, from, to, isNear } of links) {
    const rate = marks.rates.get(link.id);
    const isLocal = from.parent === to.parent || isNested(from, to);
    context.strokeStyle = isNear ? colors.accent : colors.link;
    context.globalAlpha = isNear || rate ? 1 : isLocal ? 0.8 : 0.45;
    const width = Math.max(WIDTHS[rate?.step ?? 0] ?? 1.3, isNear ? 2 : 0);
    context.lineWidth = Math.max(width, (0.55 * width) / camera.zoom);
    context.setLineDash(link.relation === "layer2" ? [] : [5, 4]);
    context.beginPath();
    traceLink(context, from, to);
    context.stroke();
  }
  context.globalAlpha = 1;
  context.setLineDash([]);
}

/** A plate with the rate of a link, on the middle of its line. */
export interface RateLabel {
  text: string;
  /** Center of the plate. */
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Returns the label of a link with traffic; `undefined` if there is no space for it. */
export function rateLabel(from: Box, to: Box, rate: LinkRate | undefined, zoom: number): RateLabel | undefined {
  const middle = linkMiddle(from, to);
  if (!rate || zoom < MIN_RATE_ZOOM || middle.length * zoom < MIN_RATE_LENGTH) {
    return undefined;
  }
  const text = byteRate(rate.bytes);
  return { text, x: middle.x, y: middle.y, width: text.length * 6.4 + 6, height: 15 };
}

/** Paints the rates of links. */
export function paintRates(
  context: Surface,
  links: readonly ShownLink[],
  camera: Camera,
  colors: Colors,
  marks: Marks,
  paintText: (text: string, x: number, y: number) => void,
): void {
  for (const { link, from, to } of links) {
    const label = rateLabel(from, to, marks.rates.get(link.id), camera.zoom);
    if (label) {
      const { x, y, width, height } = label;
      context.fillStyle = colors.box;
      context.beginPath();
      context.roundRect(x - width / 2, y - height / 2, width, height, 4);
      context.fill();
      paintText(label.text, x, y + 4);
    }
  }
}

/** Paints the marked path as thick lines with an arrow head at each hop. */
export function paintPath(context: Surface, layout: Layout, camera: Camera, colors: Colors, marks: Marks): Box[] {
  const boxes = marks.path.flatMap((id) => layout.boxes.get(id) ?? []);
  context.strokeStyle = colors.accent;
  context.fillStyle = colors.accent;
  context.lineWidth = Math.max(4, 2 / camera.zoom);
  boxes.forEach((box, index) => {
    const next = boxes[index + 1];
    if (next) {
      context.beginPath();
      traceLink(context, box, next);
      context.stroke();
      arrowHead(context, box, next, Math.max(7, 4 / camera.zoom));
    }
  });
  return boxes;
}

/** Paints an arrow head in the middle of a link, in its direction. */
function arrowHead(context: Surface, from: Box, to: Box, size: number): void {
  const { x, y, dx, dy } = linkMiddle(from, to);
  const length = Math.hypot(dx, dy) || 1;
  const [ux, uy] = [dx / length, dy / length];
  context.beginPath();
  context.moveTo(x + ux * size, y + uy * size);
  context.lineTo(x - ux * size - uy * size, y - uy * size + ux * size);
  context.lineTo(x - ux * size + uy * size, y - uy * size - ux * size);
  context.closePath();
  context.fill();
}

/** Returns whether one box is inside the owner of the other. */
function isNested(a: Box, b: Box): boolean {
  return a.parent?.parent === b.parent || b.parent?.parent === a.parent;
}
