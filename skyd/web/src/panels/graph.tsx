// The topology graph: a canvas with pointer and keyboard control.

import { batch, useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Size } from "../graph/camera.ts";
import { type Direction, nearest } from "../graph/hit.ts";
import type { Box, Layout } from "../graph/layout.ts";
import { isSelectKey, isMenuKey } from "../parts/keys.ts";
import { label } from "../parts/names.ts";
import { fold, setOpen, unfold } from "../state/branches.ts";
import { layout, scene } from "../state/layout.ts";
import { openMenu } from "../state/menu.ts";
import { moveBox, offsets, resetLayout, storeOffsets } from "../state/offsets.ts";
import { selectedNodes, toggleSelected } from "../state/selected.ts";
import { model, structureVersion, syncCount } from "../state/session.ts";
import { graphFilter, pastTime, savedGraph, select } from "../state/view.ts";
import { useCamera } from "./graph_camera.ts";
import { useCursor } from "./graph_cursor.ts";
import { GraphHover } from "./graph_hover.tsx";
import { usePainting } from "./graph_painting.ts";
import { nodeOf, usePointer } from "./graph_pointer.ts";
import { GraphSelection } from "./graph_selection.tsx";
import { useTraffic } from "./graph_traffic.ts";
import { Legend } from "./legend.tsx";
import { SaveMenu } from "./save_menu.tsx";

const ARROWS: Record<string, Direction> = { ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right" };

const STEPS: Record<Direction, [number, number]> = { up: [0, -1], down: [0, 1], left: [-1, 0], right: [1, 0] };
/** Layout units by which a key moves a box. */
const MOVE_STEP = 20;

export function Graph() {
  const canvas = useRef<HTMLCanvasElement>(null);
  const traffic = useRef<HTMLCanvasElement>(null);
  const size = useSignal<Size>({ width: 0, height: 0 });
  const hovered = useSignal<string | undefined>(undefined);
  const { cursor, moveCursor } = useCursor();
  const selectedItems = useComputed(() => selectedNodes.value.flatMap(({ id }) => scene.value.itemOf.get(id) ?? []));
  const outlined = useComputed(() => new Set(selectedItems.value));
  /** Item that keys act on. */
  const current = useComputed(() => cursor.value ?? selectedItems.value.at(-1));
  const pointed = useComputed(() => hovered.value ?? cursor.value);
  useEffect(() => {
    const element = canvas.current;
    const observer = new ResizeObserver(() => {
      size.value = { width: element?.clientWidth ?? 0, height: element?.clientHeight ?? 0 };
    });
    element && observer.observe(element);
    return () => observer.disconnect();
  }, [size]);

  const { camera, control, fitAll, zoomBy } = useCamera({ size, selected: selectedItems, cursor });
  usePainting(canvas, size, camera, outlined, pointed);
  useTraffic(traffic, size, camera);
  usePointer({ canvas, layout, camera, hovered, control, toggle });

  const onKeyDown = (event: KeyboardEvent) => {
    const box = current.value === undefined ? undefined : layout.value.boxes.get(current.value);
    const direction = ARROWS[event.key];
    const isToggle = isSelectKey(event);
    if (event.altKey || event.metaKey || (event.ctrlKey && !direction && !isToggle)) {
      return;
    }
    if (isToggle) {
      // The keyboard stays at its item, also if another one is now the last selected one.
      batch(() => {
        const node = nodeOf(box);
        node && toggleSelected(node);
        box && moveCursor(box.item.id);
      });
    } else if (direction && event.shiftKey) {
      if (box) {
        const [dx, dy] = STEPS[direction];
        moveBox(box, dx * MOVE_STEP, dy * MOVE_STEP);
        storeOffsets();
      }
    } else if (direction) {
      const next = box ? neighbor(layout.value, scene.value.links, box, direction) : layout.value.roots[0];
      const node = nodeOf(next);
      if (event.ctrlKey) {
        next && moveCursor(next.item.id);
      } else if (node) {
        select(node.tid);
      }
    } else if (event.key === "+" || event.key === "=") {
      zoomBy(1.25);
    } else if (event.key === "-") {
      zoomBy(0.8);
    } else if (event.key === "0") {
      fitAll();
    } else if (event.key === "Enter" && box) {
      toggle(box);
    } else if ((isMenuKey(event) || event.key.toLowerCase() === "m") && box) {
      const area = canvas.current?.getBoundingClientRect();
      const view = camera.value;
      if (area && view) {
        const point = (at: number, origin: number) => (at - origin) * view.zoom;
        openMenu.value = {
          x: area.left + point(box.x + box.width / 2, view.x),
          y: area.top + point(box.y + Math.min(box.height, 56), view.y),
        };
      }
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  structureVersion.value;
  return (
    <div class={pastTime.value === null && savedGraph.value === null ? "graph" : "graph past"}>
      <div
        class="graph-canvas"
        role="application"
        aria-label="Topology graph"
        aria-describedby="graph-selected"
        tabIndex={0}
        onKeyDown={onKeyDown}
      >
        <canvas ref={canvas} aria-hidden="true" />
        <canvas ref={traffic} class="traffic" aria-hidden="true" />
      </div>
      <GraphHover hovered={hovered} camera={camera} size={size} />
      <GraphSelection id="graph-selected" cursor={cursor} />
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
        {offsets.value.size > 0 && (
          <button type="button" title="Move all boxes back" onClick={resetLayout}>
            Reset layout
          </button>
        )}
        <SaveMenu canvas={canvas} camera={camera} size={size} />
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

/** Opens or closes a box or a rack, or unfolds a group. */
function toggle(box: Box): void {
  const { item } = box;
  if (item.folded > 1) {
    unfold(item.id);
  } else if (item.rack) {
    item.hidden > 0 ? unfold(item.id) : fold(item.id);
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
