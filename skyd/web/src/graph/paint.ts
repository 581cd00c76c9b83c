// Paints a layout on a 2D canvas with levels of detail: a box that is small on the screen is one
// rectangle, labels appear only where they fit, and links of hidden boxes are not drawn.

import { cut, visible } from "../parts/names.ts";
import type { Camera, Size } from "./camera.ts";
import type { Colors, Marks, Surface } from "./colors.ts";
import type { Difference } from "./difference.ts";
import { FAMILY_COLORS } from "./family.ts";
import { traceDetail, traceShape } from "./icons.ts";
import { type Box, LEAF_WIDTH, type Layout, TITLE_HEIGHT } from "./layout.ts";
import { ICON_TOP } from "./link_path.ts";
import { paintLinks, paintPath, paintRates, shownLinks } from "./paint_links.ts";
import { type Link, isItemDown, titleOf } from "./scene.ts";

/** Narrower boxes, in pixels, are one rectangle. */
const MIN_OPEN_WIDTH = 26;
/** Narrower boxes have no title. */
const MIN_DETAIL_WIDTH = 60;
/** Below this zoom, titles in the size of the layout cannot be read. */
const MIN_TITLE_ZOOM = 0.55;
const MAX_LABELS = 600;
const ICON_RADIUS = 13;

/** Paints one frame. */
export function paint(
  context: Surface,
  canvas: Size,
  ratio: number,
  layout: Layout,
  links: Link[],
  camera: Camera,
  colors: Colors,
  marks: Marks,
): void {
  new Painter(context, layout, camera, colors, marks).paint(canvas, ratio, links);
}

class Painter {
  /** Leaves to paint after the links. */
  readonly #leaves: Box[] = [];
  /** Ids of the items that this frame shows. */
  readonly #shown = new Set<string>();
  /** Hosts whose titles are painted last, in a readable size over what the hosts contain. */
  readonly #farTitles: Box[] = [];
  /** Boxes that are one rectangle, by color. */
  readonly #small = new Map<string, Box[]>();
  #labels = 0;

  constructor(
    readonly context: Surface,
    readonly layout: Layout,
    readonly camera: Camera,
    readonly colors: Colors,
    readonly marks: Marks,
  ) {}

  paint(canvas: Size, ratio: number, links: Link[]): void {
    const { context, camera, colors } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = colors.background;
    context.fillRect(0, 0, canvas.width * ratio, canvas.height * ratio);
    const scale = camera.zoom * ratio;
    context.setTransform(scale, 0, 0, scale, -camera.x * scale, -camera.y * scale);
    const view = {
      left: camera.x,
      top: camera.y,
      right: camera.x + canvas.width / camera.zoom,
      bottom: camera.y + canvas.height / camera.zoom,
    };
    const isInView = (box: Box) =>
      box.x < view.right && box.y < view.bottom && box.x + box.width > view.left && box.y + box.height > view.top;
    const frames = (boxes: Box[]) => {
      for (const box of boxes) {
        this.#shown.add(box.item.id);
        if (isInView(box)) {
          this.#frame(box, frames);
        }
      }
    };
    frames(this.layout.roots);
    this.#smallBoxes();
    const shown = shownLinks(links, this.#shown, this.layout, camera, this.marks);
    paintLinks(context, shown, camera, colors, this.marks);
    const path = paintPath(context, this.layout, camera, colors, this.marks);
    this.#leaves.forEach((leaf) => this.#leaf(leaf));
    path.forEach((box, index) => {
      this.#text(String(index + 1), box.x + 8, box.y + 14, 30, 13, colors.accent, "700");
    });
    context.textAlign = "center";
    // The arrow heads of the path are where the rates of its links would be.
    const onPath = new Set(path);
    const rated = shown.filter(({ from, to }) => !onPath.has(from) || !onPath.has(to));
    paintRates(context, rated, camera, colors, this.marks, (text, x, y) =>
      this.#text(text, x, y, 90, 11, colors.text, "400"),
    );
    context.textAlign = "start";
    this.#farTitles.forEach((box) => {
      const size = 11 / camera.zoom;
      const title = titleOf(box.item);
      // A plate, so that the boxes below do not cross the letters.
      context.fillStyle = colors.box;
      context.globalAlpha = 0.8;
      const border = 1 / camera.zoom;
      const width = Math.min(box.width - 2 * border, (title.length + 1.5) * size * 0.62);
      context.fillRect(box.x + border, box.y + border, width, size * 1.5);
      context.globalAlpha = 1;
      this.#text(title, box.x + size * 0.4, box.y + size * 1.2, box.width - size, size, colors.text, "600");
    });
  }

  /** Paints the frame of a box and continues inside, or remembers a leaf. */
  #frame(box: Box, inside: (boxes: Box[]) => void): void {
    const { context, camera, colors } = this;
    const width = box.width * camera.zoom;
    const isBox = box.children.length > 0 || box.width !== LEAF_WIDTH;
    if (!isBox) {
      this.#leaves.push(box);
      return;
    }
    const color = FAMILY_COLORS[box.item.node.family][colors.theme];
    if (width < MIN_OPEN_WIDTH && !this.#isMarked(box)) {
      const small = this.#small.get(color);
      small ? small.push(box) : this.#small.set(color, [box]);
      return;
    }
    context.fillStyle = colors.box;
    context.strokeStyle = color;
    context.lineWidth = Math.max(1 / camera.zoom, box.item.node.family === "host" ? 1.5 : 1);
    context.beginPath();
    context.roundRect(box.x, box.y, box.width, box.height, 6);
    context.fill();
    context.globalAlpha = 0.75;
    context.stroke();
    context.globalAlpha = 1;
    this.#outline(box);
    if (width < MIN_OPEN_WIDTH) {
      return;
    }
    if (width >= MIN_DETAIL_WIDTH) {
      this.#title(box, color);
    }
    inside(box.children);
  }

  #isMarked({ item: { id } }: Box): boolean {
    const { selected, hovered, found, compared } = this.marks;
    return selected.has(id) || id === hovered || found.has(id) || compared.has(id);
  }

  /** Paints boxes as two rectangles each: without a GPU, that is much faster than a stroked path. */
  #smallBoxes(): void {
    const { context, camera, colors } = this;
    const border = 1 / camera.zoom;
    for (const [color, boxes] of this.#small) {
      context.fillStyle = color;
      boxes.forEach((box) => context.fillRect(box.x, box.y, box.width, box.height));
      context.fillStyle = colors.box;
      boxes.forEach((box) =>
        context.fillRect(box.x + border, box.y + border, box.width - 2 * border, box.height - 2 * border),
      );
    }
  }

  #title(box: Box, color: string): void {
    const { context, camera, colors } = this;
    const { item } = box;
    context.fillStyle = color;
    context.globalAlpha = 0.14;
    context.beginPath();
    context.roundRect(box.x, box.y, box.width, TITLE_HEIGHT, [6, 6, 0, 0]);
    context.fill();
    context.globalAlpha = 1;
    if (camera.zoom < MIN_TITLE_ZOOM) {
      item.node.family === "host" && this.#farTitles.push(box);
      return;
    }
    context.save();
    context.translate(box.x + 15, box.y + TITLE_HEIGHT / 2);
    this.#icon(box, 7);
    context.restore();
    this.#text(titleOf(item), box.x + 28, box.y + 17, box.width - 36, 13, colors.text, "600");
    const isClosed = item.hidden > 0;
    if (isClosed) {
      const down = item.down > 0 ? `, ${item.down} down` : "";
      this.#text(
        `${item.hidden} nodes${down}`,
        box.x + 10,
        box.y + TITLE_HEIGHT + 17,
        box.width - 20,
        12,
        colors.dimText,
        "400",
      );
    }
  }

  #leaf(box: Box): void {
    const { context, camera, colors } = this;
    const x = box.x + box.width / 2;
    if (box.width * camera.zoom < MIN_OPEN_WIDTH) {
      const square = (half: number) => context.fillRect(x - half, box.y + ICON_TOP - half, 2 * half, 2 * half);
      context.fillStyle = FAMILY_COLORS[box.item.node.family][colors.theme];
      square(10);
      // What is down is hollow, as in its icon.
      if (isItemDown(box.item)) {
        context.fillStyle = colors.box;
        square(Math.max(0, 10 - 1 / camera.zoom));
      }
      this.#outline(box);
      return;
    }
    context.save();
    context.translate(x, box.y + ICON_TOP);
    this.#icon(box, ICON_RADIUS);
    context.restore();
    this.#outline(box);
    if (box.width * camera.zoom >= 46) {
      const { node, folded } = box.item;
      const name = folded > 1 ? `${node.type} ×${folded}` : node.name;
      this.#label(name, x, box.y + 47, isItemDown(box.item) ? colors.dimText : colors.text);
    }
  }

  /** Paints the icon of a node around the origin: filled if up, hollow and struck through if down. */
  #icon(box: Box, radius: number): void {
    const { context, colors } = this;
    const { node } = box.item;
    const down = isItemDown(box.item);
    const color = FAMILY_COLORS[node.family][colors.theme];
    // A namespace is an empty box, as in the tree.
    const isHollow = down || node.family === "namespace";
    context.lineWidth = node.family === "namespace" ? radius / 4 : radius / 7;
    traceShape(context, node.family, node.type, radius);
    context.fillStyle = isHollow ? colors.background : color;
    context.strokeStyle = color;
    context.fill();
    context.stroke();
    context.strokeStyle = down ? color : colors.background;
    context.lineCap = "round";
    if (down) {
      context.beginPath();
      context.moveTo(-radius, radius);
      context.lineTo(radius, -radius);
    } else {
      traceDetail(context, node.family, node.type, radius);
    }
    context.stroke();
    if (node.isCaptured) {
      this.#captureMark(radius);
    }
    if (node.isDropping || this.marks.alerted.has(box.item.id)) {
      this.#warningMark(radius, node.isDropping ? "!" : "⚑");
    }
  }

  /** Paints a triangle with a sign beside an icon: a capture loses packets, or an alert was reported. */
  #warningMark(radius: number, sign: string): void {
    const { context, colors } = this;
    const [x, y, half] = [-radius * 1.2, -radius * 0.8, radius * 0.6];
    context.beginPath();
    context.moveTo(x, y - half);
    context.lineTo(x + half, y + half);
    context.lineTo(x - half, y + half);
    context.closePath();
    context.fillStyle = colors.warning;
    context.fill();
    context.textAlign = "center";
    context.font = `700 ${radius * 0.8}px system-ui, sans-serif`;
    context.fillStyle = colors.background;
    context.fillText(sign, x, y + half * 0.8);
    context.textAlign = "start";
  }

  /** Paints the mark of a captured node: a second ring and a dot. */
  #captureMark(radius: number): void {
    const { context, colors } = this;
    context.strokeStyle = colors.warning;
    context.fillStyle = colors.warning;
    context.beginPath();
    context.arc(0, 0, radius * 1.35, 0, 2 * Math.PI);
    context.stroke();
    context.beginPath();
    context.arc(radius, -radius, radius * 0.32, 0, 2 * Math.PI);
    context.fill();
  }

  /** Paints the outline of a selected, found, hovered, or compared item. */
  #outline(box: Box): void {
    const { context, camera, colors, marks } = this;
    const id = box.item.id;
    const compared = marks.compared.get(id);
    const style = marks.selected.has(id)
      ? [colors.accent, 3]
      : marks.found.has(id) || compared
        ? [comparedColor(compared, colors), 2.5]
        : id === marks.hovered
          ? [colors.dimText, 1.5]
          : undefined;
    if (!style) {
      return;
    }
    context.strokeStyle = style[0] as string;
    context.lineWidth = Math.max(style[1] as number, (style[1] as number) / camera.zoom / 1.5);
    context.setLineDash(compared === "removed" ? [6, 4] : []);
    context.beginPath();
    context.roundRect(box.x - 2, box.y - 2, box.width + 4, box.height + 4, 8);
    context.stroke();
    context.setLineDash([]);
    if (compared) {
      const sign = { added: "+", removed: "−", changed: "~" }[compared];
      this.#text(sign, box.x + box.width - 14, box.y + 14, 14, 16, colors.text, "700");
    }
  }

  #label(name: string, x: number, y: number, color: string): void {
    const { context } = this;
    context.textAlign = "center";
    this.#text(name, x, y, LEAF_WIDTH + 8, 12, color, "400");
    context.textAlign = "start";
  }

  #text(text: string, x: number, y: number, width: number, size: number, color: string, weight: string): void {
    if (this.#labels >= MAX_LABELS) {
      return;
    }
    this.#labels += 1;
    const { context, colors } = this;
    context.font = `${weight} ${size}px system-ui, sans-serif`;
    const shown = cut(visible(text.slice(0, 80)), Math.max(2, Math.floor(width / (size * 0.56))));
    context.lineWidth = size / 4;
    context.lineJoin = "round";
    context.strokeStyle = colors.box;
    context.strokeText(shown, x, y);
    context.fillStyle = color;
    context.fillText(shown, x, y);
  }
}

/** Returns the color of an item that a comparison marks: of a found one, too. */
function comparedColor(difference: Difference | undefined, colors: Colors): string {
  return difference === "added" ? colors.added : difference === "removed" ? colors.removed : colors.found;
}
