// Texts of elements: hostile text made visible, natural order, accessible names.

/** Names of the characters that change the direction of text, which could disguise a name. */
const DIRECTION: Record<string, string> = {
  "\u200e": "LRM",
  "\u200f": "RLM",
  "\u061c": "ALM",
  "\u202a": "LRE",
  "\u202b": "RLE",
  "\u202c": "PDF",
  "\u202d": "LRO",
  "\u202e": "RLO",
  "\u2066": "LRI",
  "\u2067": "RLI",
  "\u2068": "FSI",
  "\u2069": "PDI",
};
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

function symbol(character: string): string {
  const code = character.charCodeAt(0);
  if (code < 0x20) {
    return String.fromCharCode(0x2400 + code);
  }
  return code === 0x7f ? "\u2421" : `\u27e8${DIRECTION[character] ?? `U+${code.toString(16)}`}\u27e9`;
}

/** Returns a text with visible symbols for control and direction characters. */
export function visible(text: string): string {
  return text.replace(INVISIBLE, symbol);
}

/** Returns a text of at most `length` characters, with an ellipsis if it is cut. */
export function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1).replace(/[\ud800-\udbff]$/, "")}…`;
}

/** Returns a visible text that fits into a label. */
export function label(text: string, length = 120): string {
  return visible(cut(text, length));
}

/** Longest text that is shown as it is. */
const MAX_TEXT = 200_000;

/** Returns a visible text that may have several lines. */
export function multiline(text: string): string {
  return label(text, MAX_TEXT).replaceAll("␊", "\n");
}

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** Compares texts in natural order: `eth2` before `eth10`. */
export function compareNatural(a: string, b: string): number {
  return collator.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);
}

/** Returns a key whose order as a string is the natural order of texts; faster than a collator. */
export function naturalKey(text: string): string {
  return text.toLowerCase().replace(/\d+/g, (digits) => digits.padStart(12, "0"));
}

/** Returns a count with its noun: `1 node`, `2 nodes`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
