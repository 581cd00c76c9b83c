// The lines of links between boxes.

import type { Surface } from "./colors.ts";
import { type Box, LEAF_HEIGHT, PADDING, ROW_GAP } from "./layout.ts";

/** Distance of an icon's center from the top of its leaf. */
export const ICON_TOP = 19;

/** Returns the point of a box at which links end: the icon of a leaf, the title of a box. */
function anchor(box: Box): { x: number; y: number } {
  return { x: box.x + box.width / 2, y: box.y + Math.min(ICON_TOP, box.height / 2) };
}

/** Adds the line of a link: vertical ends, an arc between items of the same row, or a detour beside
 * the rows between a bridge and its distant ports. */
export function traceLink(context: Pick<Surface, "moveTo" | "lineTo" | "bezierCurveTo">, from: Box, to: Box): void {
  const [a, b] = [anchor(from), anchor(to)];
  context.moveTo(a.x, a.y);
  if (isFarPort(from, to)) {
    traceDetour(context, a, b, from.parent);
  } else if (isFarPort(to, from)) {
    context.moveTo(b.x, b.y);
    traceDetour(context, b, a, to.parent);
  } else if (Math.abs(a.y - b.y) < 8) {
    const depth = Math.min(60, 20 + Math.abs(a.x - b.x) * 0.1);
    context.bezierCurveTo(a.x, a.y - depth, b.x, b.y - depth, b.x, b.y);
  } else {
    const middle = (a.y + b.y) / 2;
    context.bezierCurveTo(a.x, middle, b.x, middle, b.x, b.y);
  }
}

/** Returns the middle of a link's line, its direction there, and the distance of its ends. */
export function linkMiddle(from: Box, to: Box): { x: number; y: number; dx: number; dy: number; length: number } {
  const [a, b] = [anchor(from), anchor(to)];
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const length = Math.hypot(dx, dy);
  const [bridge, port] = isFarPort(from, to) ? [from, to] : isFarPort(to, from) ? [to, from] : [];
  if (bridge && port) {
    const edge = (bridge.parent?.x ?? bridge.x) + PADDING / 2;
    const y = anchor(port).y - ICON_TOP - 8;
    return { x: (edge + anchor(port).x) / 2, y, dx: port === to ? 1 : -1, dy: 0, length };
  }
  if (Math.abs(dy) < 8) {
    const depth = Math.min(60, 20 + Math.abs(dx) * 0.1);
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 - depth * 0.75, dx, dy, length };
  }
  return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, dx, dy, length };
}

/** Returns whether a box is a port of a bridge beyond the row below the bridge. */
function isFarPort(bridge: Box, port: Box): boolean {
  const isBelow = port.y > bridge.y + 2 * (LEAF_HEIGHT + ROW_GAP);
  return (
    bridge.item.node.family === "bridge" && bridge.parent !== undefined && bridge.parent === port.parent && isBelow
  );
}

/** Adds a line down along the left edge of the owner and across to the port. */
function traceDetour(
  context: Pick<Surface, "lineTo">,
  bridge: { x: number; y: number },
  port: { x: number; y: number },
  owner: Box | undefined,
): void {
  const edge = (owner?.x ?? bridge.x) + PADDING / 2;
  const above = port.y - ICON_TOP - 8;
  context.lineTo(bridge.x, bridge.y + LEAF_HEIGHT);
  context.lineTo(edge, bridge.y + LEAF_HEIGHT);
  context.lineTo(edge, above);
  context.lineTo(port.x, above);
  context.lineTo(port.x, port.y);
}
