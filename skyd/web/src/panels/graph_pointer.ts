// Pointer control of the graph: drag pans, Shift-drag moves a box, wheel and pinch zoom, click selects,
// Shift-click and Ctrl-click add to the selection or take away from it, double click opens, right click and
// long press open the menu.

import { useEffect } from "preact/hooks";
import { type Camera, pan, zoomAt } from "../graph/camera.ts";
import { boxAt } from "../graph/hit.ts";
import type { Box, Layout } from "../graph/layout.ts";
import type { GraphNode } from "../graph/model.ts";
import { openMenu } from "../state/menu.ts";
import { moveBox, storeOffsets } from "../state/offsets.ts";
import { selectAlone, toggleSelected } from "../state/selected.ts";
import { select } from "../state/view.ts";

/** Pointer movement, in pixels, up to which a press is a click. */
const CLICK_DISTANCE = 4;
const LONG_PRESS_MS = 550;

interface Target {
  canvas: { current: HTMLCanvasElement | null };
  layout: { value: Layout };
  camera: { value: Camera | undefined };
  hovered: { value: string | undefined };
  /** Changes the camera as the user wants. */
  control: (use: (view: Camera) => Camera) => void;
  /** Opens or closes a box. */
  toggle: (box: Box) => void;
}

/** Returns the node of a box; `undefined` for racks, which are no nodes. */
export function nodeOf(box: Box | undefined): GraphNode | undefined {
  return box?.item.rack ? undefined : box?.item.node;
}

export function usePointer(target: Target): void {
  const { canvas } = target;
  useEffect(() => {
    const element = canvas.current;
    if (!element) {
      return undefined;
    }
    const handlers = handlersOf(element, target);
    handlers.forEach(([name, use, options]) => element.addEventListener(name, use as EventListener, options));
    return () => handlers.forEach(([name, use]) => element.removeEventListener(name, use as EventListener));
  }, [canvas]);
}

type Handler = [string, (event: never) => void, AddEventListenerOptions?];

function handlersOf(element: HTMLCanvasElement, { layout, camera, hovered, control, toggle }: Target): Handler[] {
  const pointers = new Map<number, { x: number; y: number }>();
  let moved = 0;
  let press: ReturnType<typeof setTimeout> | undefined;
  /** Id of the box that is moved. */
  let grabbed: string | undefined;
  const boxOf = (event: MouseEvent) => {
    const view = camera.value;
    return view && boxAt(layout.value, view.x + event.offsetX / view.zoom, view.y + event.offsetY / view.zoom);
  };
  const menu = (event: MouseEvent) => {
    const node = nodeOf(boxOf(event));
    if (node) {
      selectAlone(node);
      openMenu.value = { x: event.clientX, y: event.clientY };
    }
  };
  const down = (event: PointerEvent) => {
    element.parentElement?.focus({ preventScroll: true });
    element.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    moved = 0;
    grabbed = event.shiftKey ? boxOf(event)?.item.id : undefined;
    clearTimeout(press);
    if (event.pointerType === "touch" && pointers.size === 1) {
      press = setTimeout(() => {
        moved = CLICK_DISTANCE + 1;
        menu(event);
      }, LONG_PRESS_MS);
    }
  };
  const move = (event: PointerEvent) => {
    const last = pointers.get(event.pointerId);
    if (!last) {
      hovered.value = boxOf(event)?.item.id;
      return;
    }
    const [dx, dy] = [event.offsetX - last.x, event.offsetY - last.y];
    moved += Math.abs(dx) + Math.abs(dy);
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
    pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
    if (moved > CLICK_DISTANCE) {
      clearTimeout(press);
    }
    if (other) {
      const before = Math.hypot(last.x - other.x, last.y - other.y);
      const after = Math.hypot(event.offsetX - other.x, event.offsetY - other.y);
      control((view) => zoomAt(view, after / Math.max(before, 1), other.x, other.y));
    } else if (moved > CLICK_DISTANCE && grabbed !== undefined) {
      const [box, zoom] = [layout.value.boxes.get(grabbed), camera.value?.zoom ?? 1];
      box && moveBox(box, dx / zoom, dy / zoom);
    } else if (moved > CLICK_DISTANCE) {
      control((view) => pan(view, dx, dy));
    }
  };
  const up = (event: PointerEvent) => {
    clearTimeout(press);
    if (grabbed !== undefined && moved > CLICK_DISTANCE) {
      storeOffsets();
    }
    grabbed = undefined;
    const isClick = moved <= CLICK_DISTANCE && event.type === "pointerup" && event.button === 0;
    if (pointers.delete(event.pointerId) && isClick) {
      click(event);
    }
  };
  const click = (event: PointerEvent) => {
    const node = nodeOf(boxOf(event));
    if (!event.shiftKey && !event.ctrlKey && !event.metaKey) {
      select(node?.tid ?? null);
    } else if (node) {
      toggleSelected(node);
    }
  };
  const wheel = (event: WheelEvent) => {
    event.preventDefault();
    const step = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * 20 : event.deltaY;
    control((view) => zoomAt(view, Math.exp(-step * 0.0015), event.offsetX, event.offsetY));
  };
  const open = (event: MouseEvent) => {
    const box = boxOf(event);
    box && toggle(box);
  };
  const context = (event: MouseEvent) => {
    event.preventDefault();
    menu(event);
  };
  const leave = () => {
    hovered.value = undefined;
  };
  return [
    ["pointerdown", down],
    ["pointermove", move],
    ["pointerup", up],
    ["pointercancel", up],
    ["pointerleave", leave],
    ["wheel", wheel, { passive: false }],
    ["dblclick", open],
    ["contextmenu", context],
  ];
}
