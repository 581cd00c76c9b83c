// Which field of a form an error of the daemon names. Pure.

/** Returns the key of the field that an error names as a whole word, such as `BPFFilter`; the first in the
 * error if it names several, `undefined` if it names none. */
export function namedField(error: string, keys: readonly string[]): string | undefined {
  const words = error.match(/[\p{L}\p{N}_]+/gu) ?? [];
  return words.find((word) => keys.includes(word));
}
