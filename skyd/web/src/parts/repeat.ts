// Buttons that act again while they are held.

import { useEffect, useRef } from "preact/hooks";

/** Time between two actions of a held button. */
const REPEAT_MS = 400;

interface Handlers {
  onClick: (event: MouseEvent) => void;
  onPointerDown: (event: PointerEvent) => void;
  onPointerLeave: () => void;
}

/** Returns a function that returns the handlers of a button for a direction, 1 or -1.
 *
 * `act` is called with the direction and whether Shift is pressed; it returns whether it can act again. */
export function useRepeat(act: (direction: number, isShift: boolean) => boolean): (direction: number) => Handlers {
  // The function of the newest rendering: a held button continues from where it is.
  const newest = useRef(act);
  newest.current = act;
  const timer = useRef<ReturnType<typeof setInterval> | undefined>(undefined);
  const release = () => clearInterval(timer.current);
  useEffect(() => release, []);
  return (direction) => ({
    onClick: (event) => void act(direction, event.shiftKey),
    onPointerDown: ({ shiftKey }) => {
      release();
      timer.current = setInterval(() => newest.current(direction, shiftKey) || release(), REPEAT_MS);
      addEventListener("pointerup", release, { once: true });
    },
    onPointerLeave: release,
  });
}
