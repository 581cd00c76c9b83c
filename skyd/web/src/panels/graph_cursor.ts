// The item of the graph to which Ctrl and an arrow key went, without selecting it.

import { type ReadonlySignal, useComputed, useSignal } from "@preact/signals";
import { useCallback } from "preact/hooks";
import { alsoSelected, selection } from "../state/view.ts";

interface Place {
  item: string;
  /** The selection at that time: another one ends the cursor. */
  first: string | null;
  more: readonly string[];
}

export interface Cursor {
  /** Id of the item; `undefined` for none. */
  cursor: ReadonlySignal<string | undefined>;
  moveCursor: (item: string) => void;
}

export function useCursor(): Cursor {
  const place = useSignal<Place | undefined>(undefined);
  const cursor = useComputed(() => {
    const { item, first, more } = place.value ?? {};
    return first === selection.value && more === alsoSelected.value ? item : undefined;
  });
  const moveCursor = useCallback((item: string) => {
    place.value = { item, first: selection.value, more: alsoSelected.value };
  }, []);
  return { cursor, moveCursor };
}
