// The camera of the graph: shows the whole graph until the user moves it, reveals what is selected, and is
// part of the address.

import { type ReadonlySignal, type Signal, useSignal, useSignalEffect } from "@preact/signals";
import { useRef } from "preact/hooks";
import { type Camera, type Size, centered, fit, reveal, zoomAt } from "../graph/camera.ts";
import { Revealing } from "../graph/revealing.ts";
import { layout } from "../state/layout.ts";
import { syncCount } from "../state/session.ts";
import { zoom } from "../state/view.ts";

export interface CameraControl {
  camera: Signal<Camera | undefined>;
  control: (use: (view: Camera) => Camera) => void;
  /** Shows the whole graph again. */
  fitAll: () => void;
  zoomBy: (factor: number) => void;
}

interface Shown {
  size: Signal<Size>;
  /** Selected items, in the order of their selection. */
  selected: ReadonlySignal<readonly string[]>;
  cursor: ReadonlySignal<string | undefined>;
}

export function useCamera({ size, selected, cursor }: Shown): CameraControl {
  const camera = useSignal<Camera | undefined>(undefined);
  const write = (view: Camera) => {
    const { width, height } = size.peek();
    zoom.value = { x: view.x + width / 2 / view.zoom, y: view.y + height / 2 / view.zoom, zoom: view.zoom };
  };
  useSignalEffect(() => {
    syncCount.value;
    if (size.value.width === 0) {
      return;
    }
    if (zoom.value) {
      camera.value = centered(zoom.value, size.value);
    } else {
      camera.value = fit(layout.value, size.value);
    }
  });
  // A worker may position the selected item later than it is selected. An address with both a selection
  // and a position shows that position.
  const revealing = useRef(new Revealing()).current;
  const isGiven = useRef(zoom.peek() !== null);
  useSignalEffect(() => {
    const item = revealing.next(cursor.value, selected.value);
    const box = item === undefined ? undefined : layout.value.boxes.get(item);
    const view = camera.peek();
    if (box && view) {
      revealing.done();
      const next = isGiven.current ? view : reveal(view, box, size.peek());
      isGiven.current = false;
      next !== view && write(next);
    }
  });
  const control = (use: (view: Camera) => Camera) => camera.value && write(use(camera.value));
  return {
    camera,
    control,
    fitAll: () => {
      zoom.value = null;
    },
    zoomBy: (factor) => control((view) => zoomAt(view, factor, size.value.width / 2, size.value.height / 2)),
  };
}
