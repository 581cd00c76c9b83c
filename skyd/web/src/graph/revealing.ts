// Decides when the camera moves to an item: when it is newly selected, or when a key went to it. Pure.

export class Revealing {
  #current: string | undefined;
  #selected: ReadonlySet<string> = new Set();
  #pending: string | undefined;

  /** Returns the item to reveal; the same one until `done`, because its position may be known later.
   *
   * `cursor` is the item to which a key went, and `selected` are the selected items, in the order of their
   * selection. A node that is taken out of the selection reveals nothing: another item is then the last one,
   * but it was selected before. */
  next(cursor: string | undefined, selected: readonly string[]): string | undefined {
    const current = cursor ?? selected.at(-1);
    if (current !== this.#current) {
      const isNew = current === cursor || (current !== undefined && !this.#selected.has(current));
      this.#pending = isNew ? current : undefined;
      this.#current = current;
    }
    this.#selected = new Set(selected);
    return this.#pending;
  }

  /** Ends the revealing of the current item. */
  done(): void {
    this.#pending = undefined;
  }
}
