// A long list of which only the rows near the visible part are elements of the document.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useState } from "preact/hooks";
import type { RefObject } from "preact";

/** Height of a row of a list, in pixels; style sheets have it too. */
export const ROW_HEIGHT = 26;
/** Rows that are rendered beyond each end of the visible part. */
const OVERSCAN = 12;

/** Slice of a list, and the heights of what is left out. */
export interface Slice {
  first: number;
  end: number;
  before: number;
  after: number;
}

/** Returns the slice of `count` rows to render in a scrolling element. */
export function useSlice(scroller: RefObject<HTMLElement | null>, count: number, rowHeight: number): Slice {
  const [range, setRange] = useState({ top: 0, height: 600 });
  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element) {
      return undefined;
    }
    const measure = () => {
      const [top, height] = [element.scrollTop, element.clientHeight];
      setRange((old) => (old.top === top && old.height === height ? old : { top, height }));
    };
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    element.addEventListener("scroll", measure, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", measure);
    };
  }, [scroller]);
  const first = Math.max(0, Math.min(Math.floor(range.top / rowHeight) - OVERSCAN, count - 1));
  const end = Math.min(count, Math.ceil((range.top + range.height) / rowHeight) + OVERSCAN);
  return { first, end, before: first * rowHeight, after: (count - end) * rowHeight };
}

/** Scrolls so that a row is visible. */
export function scrollToRow(scroller: HTMLElement | null, index: number, rowHeight: number): void {
  if (!scroller || index < 0) {
    return;
  }
  const top = index * rowHeight;
  if (top < scroller.scrollTop) {
    scroller.scrollTop = top;
  } else if (top + rowHeight > scroller.scrollTop + scroller.clientHeight) {
    scroller.scrollTop = top + rowHeight - scroller.clientHeight;
  }
}

/** An empty element of a height that stands for rows that are not rendered. */
export function Spacer({ height }: { height: number }): ComponentChildren {
  return height > 0 ? <div role="presentation" style={{ height: `${height}px` }} /> : null;
}

/** An empty row of a table, for rows that are not rendered. */
export function SpacerRow({ height }: { height: number }): ComponentChildren {
  return height > 0 ? <tr aria-hidden="true" style={{ height: `${height}px` }} /> : null;
}
