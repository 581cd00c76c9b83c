// Shapes of node families, drawn on a canvas around the origin.

import type { Surface } from "./colors.ts";
import type { Family } from "./family.ts";

/** Adds the outline of a regular polygon to the path. */
function polygon(context: Surface, radius: number, corners: number, turn: number): void {
  for (let corner = 0; corner < corners; corner += 1) {
    const angle = (2 * Math.PI * corner) / corners + turn;
    const [x, y] = [radius * Math.cos(angle), radius * Math.sin(angle)];
    corner === 0 ? context.moveTo(x, y) : context.lineTo(x, y);
  }
  context.closePath();
}

/** Begins a path with the outline of a family. */
export function traceShape(context: Surface, family: Family, type: string, radius: number): void {
  context.beginPath();
  switch (family) {
    case "host":
      context.roundRect(-radius, -radius * 0.8, 2 * radius, radius * 1.6, type === "switch" ? radius * 0.6 : 3);
      break;
    case "bridge":
      polygon(context, radius * 1.1, 6, 0);
      break;
    case "container":
      polygon(context, radius * 1.1, 6, Math.PI / 6);
      break;
    case "physical":
      context.rect(-radius * 0.85, -radius * 0.85, radius * 1.7, radius * 1.7);
      break;
    case "namespace":
      context.roundRect(-radius, -radius, 2 * radius, 2 * radius, 4);
      break;
    case "other":
      polygon(context, radius * 1.15, 4, 0);
      break;
    default:
      context.arc(0, 0, radius * 0.9, 0, 2 * Math.PI);
  }
}

/** Begins a path with the lines inside a shape. */
export function traceDetail(context: Surface, family: Family, type: string, radius: number): void {
  context.beginPath();
  const half = radius * 0.5;
  switch (family) {
    case "container":
      for (const turn of [-1, 1]) {
        context.moveTo(0, 0);
        context.lineTo(turn * radius * 0.95, -radius * 0.55);
      }
      context.moveTo(0, 0);
      context.lineTo(0, radius * 1.1);
      break;
    case "bridge":
      context.moveTo(-half, half * 0.6);
      context.quadraticCurveTo(0, -half * 1.4, half, half * 0.6);
      if (type === "ovsbridge") {
        context.moveTo(-half, half * 1.2);
        context.quadraticCurveTo(0, -half * 0.6, half, half * 1.2);
      }
      break;
    case "physical":
      context.rect(-half * 0.8, -half * 0.3, half * 1.6, half * 1.1);
      context.moveTo(-half * 0.4, -half * 0.3);
      context.lineTo(-half * 0.4, -half * 0.9);
      context.lineTo(half * 0.4, -half * 0.9);
      context.lineTo(half * 0.4, -half * 0.3);
      break;
    case "virtual":
      context.moveTo(-half, 0);
      context.lineTo(half, 0);
      context.moveTo(half * 0.4, -half * 0.5);
      context.lineTo(half, 0);
      context.lineTo(half * 0.4, half * 0.5);
      if (type === "veth") {
        context.moveTo(0, radius * 0.9);
        context.lineTo(0, radius * 1.35);
      }
      break;
    case "tunnel":
      context.arc(0, 0, radius * 0.5, 0, 2 * Math.PI);
      break;
  }
}
