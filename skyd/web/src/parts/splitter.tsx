// The edge between two areas: dragged, or moved by arrow keys. Sizes are remembered by this browser.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { readStored, store } from "./storage.ts";

interface Props {
  /** Accessible name. */
  name: string;
  /** CSS variable of the size, such as `--tree-width`. */
  variable: string;
  /** Whether the edge is horizontal, so that it changes a height. */
  isHorizontal?: boolean;
  /** Whether the area is right of the edge, or below it. */
  isAfter?: boolean;
  initial: number;
  min: number;
  max: number;
}

const STEP = 20;

export function Splitter({ name, variable, isHorizontal = false, isAfter = false, initial, min, max }: Props) {
  const stored = readStored(`size${variable}`);
  const size = useSignal(typeof stored === "number" ? Math.min(Math.max(stored, min), max) : initial);
  useEffect(() => document.documentElement.style.setProperty(variable, `${size.value}px`), [variable, size.value]);
  const set = (value: number) => {
    size.value = Math.round(Math.min(Math.max(value, min), max));
    store(`size${variable}`, size.value);
  };
  const drag = (event: PointerEvent) => {
    const element = event.currentTarget as HTMLElement;
    element.setPointerCapture(event.pointerId);
    const position = (at: PointerEvent) => (isHorizontal ? at.clientY : at.clientX);
    const [start, before] = [position(event), size.value];
    const move = (at: PointerEvent) => set(before + (position(at) - start) * (isAfter ? -1 : 1));
    const end = () => {
      element.removeEventListener("pointermove", move);
      element.removeEventListener("lostpointercapture", end);
    };
    element.addEventListener("pointermove", move);
    element.addEventListener("lostpointercapture", end);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const [less, more] = isHorizontal ? ["ArrowUp", "ArrowDown"] : ["ArrowLeft", "ArrowRight"];
    const step = event.key === less ? -STEP : event.key === more ? STEP : 0;
    if (step !== 0) {
      event.preventDefault();
      set(size.value + step * (isAfter ? -1 : 1));
    } else if (event.key === "Home") {
      event.preventDefault();
      set(initial);
    }
  };
  return (
    <div
      class={isHorizontal ? "splitter across" : "splitter"}
      role="separator"
      aria-label={name}
      aria-orientation={isHorizontal ? "horizontal" : "vertical"}
      aria-valuenow={size.value}
      aria-valuemin={min}
      aria-valuemax={max}
      tabIndex={0}
      onPointerDown={drag}
      onKeyDown={onKeyDown}
    />
  );
}
