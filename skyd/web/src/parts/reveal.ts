// Scrolls to what opens below the visible part of a narrow screen.

import { useEffect, useRef } from "preact/hooks";
import type { RefObject } from "preact";

/** Width up to which the areas of the page are below each other, in pixels. */
const NARROW = 500;

/** Returns a reference for an element that is scrolled to when it appears, and when `what` changes. */
export function useReveal<E extends Element>(what: unknown): RefObject<E | null> {
  const element = useRef<E>(null);
  useEffect(() => {
    // On a wide screen, everything fits, and the page does not scroll.
    element.current?.scrollIntoView({ block: innerWidth <= NARROW ? "start" : "nearest" });
  }, [what]);
  return element;
}
