// A picture of the graph as SVG: a surface that writes elements where a canvas would paint.

import type { Surface } from "./colors.ts";

interface State {
  fillStyle: string;
  strokeStyle: string;
  globalAlpha: number;
  lineWidth: number;
  lineCap: CanvasLineCap;
  lineJoin: CanvasLineJoin;
  dash: readonly number[];
  textAlign: CanvasTextAlign;
  font: string;
  /** Translation of the elements, in layout units. */
  x: number;
  y: number;
}

const INITIAL: State = {
  fillStyle: "#000",
  strokeStyle: "#000",
  globalAlpha: 1,
  lineWidth: 1,
  lineCap: "butt",
  lineJoin: "miter",
  dash: [],
  textAlign: "start",
  font: "12px sans-serif",
  x: 0,
  y: 0,
};

const ANCHORS: Partial<Record<CanvasTextAlign, string>> = { center: "middle", end: "end", right: "end" };

/** Returns a number with at most two digits after the point. */
function short(value: number): string {
  return String(Math.round(value * 100) / 100);
}

/** Returns a text as the content of an element or attribute. Control characters are left out: XML has
 * none. */
function escaped(text: string): string {
  const plain = text.replace(/[\u0000-\u0008\u000b-\u001f\ufffe\uffff]/g, "");
  return plain.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

/** Collects what is painted on it as SVG elements. */
export class SvgSurface implements Surface {
  readonly #elements: string[] = [];
  readonly #saved: State[] = [];
  #state: State = { ...INITIAL };
  #path = "";
  /** Scale and origin of the whole picture. */
  #transform = "";

  /** Returns the picture. */
  text(width: number, height: number, title: string): string {
    const size = `width="${short(width)}" height="${short(height)}" viewBox="0 0 ${short(width)} ${short(height)}"`;
    return [
      `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img">`,
      `<title>${escaped(title)}</title>`,
      `<g${this.#transform}>`,
      ...this.#elements,
      "</g>",
      "</svg>",
      "",
    ].join("\n");
  }

  get fillStyle() {
    return this.#state.fillStyle;
  }
  set fillStyle(value: string | CanvasGradient | CanvasPattern) {
    this.#state.fillStyle = String(value);
  }
  get strokeStyle() {
    return this.#state.strokeStyle;
  }
  set strokeStyle(value: string | CanvasGradient | CanvasPattern) {
    this.#state.strokeStyle = String(value);
  }
  get globalAlpha() {
    return this.#state.globalAlpha;
  }
  set globalAlpha(value: number) {
    this.#state.globalAlpha = value;
  }
  get lineWidth() {
    return this.#state.lineWidth;
  }
  set lineWidth(value: number) {
    this.#state.lineWidth = value;
  }
  get lineCap() {
    return this.#state.lineCap;
  }
  set lineCap(value: CanvasLineCap) {
    this.#state.lineCap = value;
  }
  get lineJoin() {
    return this.#state.lineJoin;
  }
  set lineJoin(value: CanvasLineJoin) {
    this.#state.lineJoin = value;
  }
  get textAlign() {
    return this.#state.textAlign;
  }
  set textAlign(value: CanvasTextAlign) {
    this.#state.textAlign = value;
  }
  get font() {
    return this.#state.font;
  }
  set font(value: string) {
    this.#state.font = value;
  }

  setTransform(...numbers: unknown[]): void {
    const [scale, , , , x, y] = numbers as number[];
    this.#transform =
      scale === 1 && x === 0 && y === 0
        ? ""
        : ` transform="translate(${short(x ?? 0)} ${short(y ?? 0)}) scale(${scale ?? 1})"`;
  }

  save(): void {
    this.#saved.push({ ...this.#state });
  }

  restore(): void {
    this.#state = this.#saved.pop() ?? this.#state;
  }

  translate(x: number, y: number): void {
    this.#state.x += x;
    this.#state.y += y;
  }

  setLineDash(dash: Iterable<number>): void {
    this.#state.dash = [...dash];
  }

  beginPath(): void {
    this.#path = "";
  }

  #point(x: number, y: number): string {
    return `${short(x + this.#state.x)} ${short(y + this.#state.y)}`;
  }

  moveTo(x: number, y: number): void {
    this.#path += `M${this.#point(x, y)}`;
  }

  lineTo(x: number, y: number): void {
    this.#path += `L${this.#point(x, y)}`;
  }

  quadraticCurveTo(cx: number, cy: number, x: number, y: number): void {
    this.#path += `Q${this.#point(cx, cy)} ${this.#point(x, y)}`;
  }

  bezierCurveTo(ax: number, ay: number, bx: number, by: number, x: number, y: number): void {
    this.#path += `C${this.#point(ax, ay)} ${this.#point(bx, by)} ${this.#point(x, y)}`;
  }

  closePath(): void {
    this.#path += "Z";
  }

  rect(x: number, y: number, width: number, height: number): void {
    this.#path += `M${this.#point(x, y)}h${short(width)}v${short(height)}h${short(-width)}Z`;
  }

  /** Adds a rectangle; a list of radii is that of the corners, clockwise from the top left. */
  roundRect(x: number, y: number, width: number, height: number, radii?: unknown): void {
    const list = (Array.isArray(radii) ? radii : [radii, radii, radii, radii]).map(Number);
    const [a = 0, b = 0, c = 0, d = 0] = list.map((radius) => Math.min(radius || 0, width / 2, height / 2));
    const corner = (radius: number, dx: number, dy: number) =>
      radius > 0 ? `a${short(radius)} ${short(radius)} 0 0 1 ${short(dx * radius)} ${short(dy * radius)}` : "";
    this.#path +=
      `M${this.#point(x + a, y)}h${short(width - a - b)}${corner(b, 1, 1)}v${short(height - b - c)}` +
      `${corner(c, -1, 1)}h${short(c + d - width)}${corner(d, -1, -1)}v${short(a + d - height)}${corner(a, 1, -1)}Z`;
  }

  /** Adds a whole circle: painting needs no other arcs. */
  arc(x: number, y: number, radius: number): void {
    const size = `${short(radius)} ${short(radius)}`;
    this.#path += `M${this.#point(x - radius, y)}a${size} 0 1 0 ${short(2 * radius)} 0a${size} 0 1 0 ${short(-2 * radius)} 0Z`;
  }

  #opacity(): string {
    return this.#state.globalAlpha === 1 ? "" : ` opacity="${short(this.#state.globalAlpha)}"`;
  }

  #stroke(): string {
    const { strokeStyle, lineWidth, lineCap, lineJoin, dash } = this.#state;
    const more = [
      lineCap === "butt" ? "" : ` stroke-linecap="${lineCap}"`,
      lineJoin === "miter" ? "" : ` stroke-linejoin="${lineJoin}"`,
      dash.length === 0 ? "" : ` stroke-dasharray="${dash.join(" ")}"`,
    ];
    return ` stroke="${escaped(strokeStyle)}" stroke-width="${short(lineWidth)}"${more.join("")}`;
  }

  fill(): void {
    const { fillStyle } = this.#state;
    this.#elements.push(`<path d="${this.#path}" fill="${escaped(fillStyle)}"${this.#opacity()}/>`);
  }

  stroke(): void {
    this.#elements.push(`<path d="${this.#path}" fill="none"${this.#stroke()}${this.#opacity()}/>`);
  }

  fillRect(x: number, y: number, width: number, height: number): void {
    const [left, top] = this.#point(x, y).split(" ");
    const size = `x="${left}" y="${top}" width="${short(width)}" height="${short(height)}"`;
    this.#elements.push(`<rect ${size} fill="${escaped(this.#state.fillStyle)}"${this.#opacity()}/>`);
  }

  #write(text: string, x: number, y: number, paint: string): void {
    const { font, textAlign } = this.#state;
    const [left, top] = this.#point(x, y).split(" ");
    const [weight = "400", size = "12px"] = font.split(" ");
    const anchor = ANCHORS[textAlign] === undefined ? "" : ` text-anchor="${ANCHORS[textAlign]}"`;
    const style = `font-family="system-ui, sans-serif" font-size="${Number.parseFloat(size)}" font-weight="${weight}"`;
    this.#elements.push(`<text x="${left}" y="${top}" ${style}${anchor}${paint}>${escaped(text)}</text>`);
  }

  fillText(text: string, x: number, y: number): void {
    this.#write(text, x, y, ` fill="${escaped(this.#state.fillStyle)}"${this.#opacity()}`);
  }

  strokeText(text: string, x: number, y: number): void {
    this.#write(text, x, y, ` fill="none"${this.#stroke()}${this.#opacity()}`);
  }
}
