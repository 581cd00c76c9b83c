// The topology graph: a canvas with pointer and keyboard control.

import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { type Camera, type Size, fit, pan, reveal, zoomAt } from "../graph/camera.ts";
import { type Direction, boxAt, nearest } from "../graph/hit.ts";
import { type Box, type Layout, layOut } from "../graph/layout.ts";
import { type Colors, paint } from "../graph/paint.ts";
import { buildScene } from "../graph/scene.ts";
import { treeName } from "../graph/search.ts";
import { label } from "../parts/names.ts";
import { isOpen, setOpen, unfold, unfolded } from "../state/branches.ts";
import { comparedItems, foundItems, pathItems } from "../state/marks.ts";
import { model, structureVersion, syncCount } from "../state/session.ts";
import { activeTheme } from "../state/theme.ts";
import { graphFilter, hidden, pastTime, select, selection } from "../state/view.ts";
import { Legend } from "./legend.tsx";
import { SaveMenu } from "./save_menu.tsx";

/** Pointer movement, in pixels, up to which a press is a click. */
const CLICK_DISTANCE = 4;
const ARROWS: Record<string, Direction> = { ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right" };

export function Graph() {
  const canvas = useRef<HTMLCanvasElement>(null);
  const size = useSignal<Size>({ width: 0, height: 0 });
  const camera = useSignal<Camera | undefined>(undefined);
  const hovered = useSignal<string | undefined>(undefined);
  const scene = useComputed(() => {
    structureVersion.value;
    const hides = new Set(hidden.value);
    return buildScene(model, { isOpen, unfolded: unfolded.value, hidden: hides });
  });
  const layout = useComputed(() => layOut(scene.value));
  const selectedItem = useComputed(() => {
    const node = model.find(selection.value);
    return node && scene.value.itemOf.get(node.id);
  });

  useEffect(() => {
    const element = canvas.current;
    const observer = new ResizeObserver(() => {
      size.value = { width: element?.clientWidth ?? 0, height: element?.clientHeight ?? 0 };
    });
    element && observer.observe(element);
    return () => observer.disconnect();
  }, [size]);

  // The whole graph is shown until the user moves the camera.
  const isMoved = useRef(false);
  useSignalEffect(() => {
    syncCount.value;
    if (!isMoved.current && size.value.width > 0 && layout.value.width > 0) {
      camera.value = fit(layout.value, size.value);
    }
  });
  useSignalEffect(() => {
    const box = selectedItem.value === undefined ? undefined : layout.peek().boxes.get(selectedItem.value);
    const view = camera.peek();
    if (box && view && size.peek().width > 0) {
      camera.value = reveal(view, box, size.peek());
    }
  });

  const frame = useRef(0);
  useSignalEffect(() => {
    const view = camera.value;
    const marks = {
      selected: selectedItem.value,
      hovered: hovered.value,
      found: foundItems(scene.value.itemOf),
      path: pathItems(scene.value.itemOf),
      compared: comparedItems(scene.value.itemOf),
    };
    const [shown, links, area, theme] = [layout.value, scene.value.links, size.value, activeTheme.value];
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(() => {
      const element = canvas.current;
      const context = element?.getContext("2d", { alpha: false });
      if (!element || !context || !view || area.width === 0) {
        return;
      }
      const ratio = Math.min(devicePixelRatio || 1, 2);
      const [width, height] = [Math.round(area.width * ratio), Math.round(area.height * ratio)];
      if (element.width !== width || element.height !== height) {
        element.width = width;
        element.height = height;
      }
      paint(context, area, ratio, shown, links, view, colorsOf(theme), marks);
    });
  });

  const control = (use: (view: Camera) => Camera) => {
    isMoved.current = true;
    camera.value = camera.value && use(camera.value);
  };
  const fitAll = () => {
    isMoved.current = false;
    camera.value = fit(layout.value, size.value);
  };
  const zoomBy = (factor: number) =>
    control((view) => zoomAt(view, factor, size.value.width / 2, size.value.height / 2));

  usePointer(canvas, layout, camera, control, hovered);

  const onKeyDown = (event: KeyboardEvent) => {
    const box = selectedItem.value === undefined ? undefined : layout.value.boxes.get(selectedItem.value);
    const direction = ARROWS[event.key];
    if (event.ctrlKey || event.altKey || event.metaKey) {
      return;
    }
    if (direction) {
      const next = box ? neighbor(layout.value, scene.value.links, box, direction) : layout.value.roots[0];
      next && select(next.item.node.tid);
    } else if (event.key === "+" || event.key === "=") {
      zoomBy(1.25);
    } else if (event.key === "-") {
      zoomBy(0.8);
    } else if (event.key === "0") {
      fitAll();
    } else if (event.key === "Enter" && box) {
      toggle(box);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  structureVersion.value;
  const selected = model.find(selection.value);
  return (
    <div class={pastTime.value === null ? "graph" : "graph past"}>
      <div
        class="graph-canvas"
        role="application"
        aria-label="Topology graph"
        aria-describedby="graph-selected"
        tabIndex={0}
        onKeyDown={onKeyDown}
      >
        <canvas ref={canvas} aria-hidden="true" />
      </div>
      <p id="graph-selected" class="visually-hidden">
        {selected ? treeName(selected) : "Nothing is selected. Arrow keys go to a neighbor."}
      </p>
      <p class="graph-size" role="status" aria-label="Graph size">
        {`${model.nodes.size} nodes, ${model.edges.size} links`}
      </p>
      {graphFilter.value !== "" && (
        <p class="graph-filter">
          Only <code>{label(graphFilter.value, 80)}</code>{" "}
          <button type="button" onClick={() => (graphFilter.value = "")}>
            Show all nodes
          </button>
        </p>
      )}
      <div class="graph-tools" role="group" aria-label="Zoom">
        <button type="button" title="Zoom in (+)" aria-label="Zoom in" onClick={() => zoomBy(1.25)}>
          +
        </button>
        <button type="button" title="Zoom out (−)" aria-label="Zoom out" onClick={() => zoomBy(0.8)}>
          −
        </button>
        <button type="button" title="Show everything (0)" aria-label="Show everything" onClick={fitAll}>
          ⤢
        </button>
        <SaveMenu canvas={canvas} />
      </div>
      <Legend />
      {model.nodes.size === 0 && syncCount.value > 0 && (
        <p class="graph-empty">
          No nodes. Either no probe runs on this host (see Health), or this analyzer has no agents: start{" "}
          <code>skyd agent</code> on the hosts, or <code>skyd allinone</code> here.
        </p>
      )}
    </div>
  );
}

/** Opens or closes a box, or unfolds a group. */
function toggle(box: Box): void {
  if (box.item.folded > 1) {
    unfold(box.item.id);
  } else if (model.hasChildren(box.item.node)) {
    setOpen([box.item.node], box.item.hidden > 0);
  }
}

/** Returns the linked box that is nearest in a direction, else the nearest of all boxes. */
function neighbor(
  layout: Layout,
  links: { from: string; to: string }[],
  box: Box,
  direction: Direction,
): Box | undefined {
  const linked = links.flatMap(({ from, to }) => {
    const other = from === box.item.id ? to : to === box.item.id ? from : undefined;
    return (other !== undefined && layout.boxes.get(other)) || [];
  });
  return nearest(box, linked, direction) ?? nearest(box, layout.boxes.values(), direction);
}

/** Connects pointer events: drag pans, wheel and pinch zoom, click selects, double click opens. */
function usePointer(
  canvas: { current: HTMLCanvasElement | null },
  layout: { value: Layout },
  camera: { value: Camera | undefined },
  control: (use: (view: Camera) => Camera) => void,
  hovered: { value: string | undefined },
): void {
  useEffect(() => {
    const element = canvas.current;
    if (!element) {
      return undefined;
    }
    const pointers = new Map<number, { x: number; y: number }>();
    let moved = 0;
    const boxOf = (event: MouseEvent) => {
      const view = camera.value;
      return view && boxAt(layout.value, view.x + event.offsetX / view.zoom, view.y + event.offsetY / view.zoom);
    };
    const down = (event: PointerEvent) => {
      element.parentElement?.focus({ preventScroll: true });
      element.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
      moved = 0;
    };
    const move = (event: PointerEvent) => {
      const last = pointers.get(event.pointerId);
      if (!last) {
        hovered.value = boxOf(event)?.item.id;
        return;
      }
      const [dx, dy] = [event.offsetX - last.x, event.offsetY - last.y];
      moved += Math.abs(dx) + Math.abs(dy);
      const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
      const [other] = others;
      pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
      if (other) {
        const before = Math.hypot(last.x - other.x, last.y - other.y);
        const after = Math.hypot(event.offsetX - other.x, event.offsetY - other.y);
        control((view) => zoomAt(view, after / Math.max(before, 1), other.x, other.y));
      } else if (moved > CLICK_DISTANCE) {
        control((view) => pan(view, dx, dy));
      }
    };
    const up = (event: PointerEvent) => {
      if (pointers.delete(event.pointerId) && moved <= CLICK_DISTANCE && event.type === "pointerup") {
        select(boxOf(event)?.item.node.tid ?? null);
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
    const leave = () => {
      hovered.value = undefined;
    };
    const listen: [string, (event: never) => void, AddEventListenerOptions?][] = [
      ["pointerdown", down],
      ["pointermove", move],
      ["pointerup", up],
      ["pointercancel", up],
      ["pointerleave", leave],
      ["wheel", wheel, { passive: false }],
      ["dblclick", open],
    ];
    listen.forEach(([name, use, options]) => element.addEventListener(name, use as EventListener, options));
    return () => listen.forEach(([name, use]) => element.removeEventListener(name, use as EventListener));
  }, [canvas, layout, camera, hovered]);
}

const cached = new Map<string, Colors>();

/** Returns the colors of a theme from the style sheet. */
function colorsOf(theme: "light" | "dark"): Colors {
  const known = cached.get(theme);
  if (known) {
    return known;
  }
  const style = getComputedStyle(document.documentElement);
  const color = (name: string) => style.getPropertyValue(`--${name}`).trim();
  const colors: Colors = {
    theme,
    background: color("graph-background"),
    box: color("graph-box"),
    boxBorder: color("border"),
    text: color("text"),
    dimText: color("dim-text"),
    link: color("graph-link"),
    accent: color("accent"),
    found: color("found"),
    warning: color("warning"),
  };
  cached.set(theme, colors);
  return colors;
}
