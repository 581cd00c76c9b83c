// The description of the item under the pointer, beside it. The tree has the same in words.

import type { ReadonlySignal } from "@preact/signals";
import type { Camera, Size } from "../graph/camera.ts";
import { hoverText } from "../graph/hover_text.ts";
import { layout } from "../state/layout.ts";
import { alertCounts } from "../state/marks.ts";
import { contentVersion } from "../state/session.ts";

interface Props {
  hovered: ReadonlySignal<string | undefined>;
  camera: ReadonlySignal<Camera | undefined>;
  size: ReadonlySignal<Size>;
}

/** Pixels that the description may need: it stays inside the graph. */
const [WIDTH, HEIGHT] = [320, 48];

export function GraphHover({ hovered, camera, size }: Props) {
  const box = hovered.value === undefined ? undefined : layout.value.boxes.get(hovered.value);
  const view = camera.value;
  // A box with others inside has its title at its top, where the pointer usually is not.
  if (!box || !view || box.children.length > 0) {
    return null;
  }
  contentVersion.value;
  const [left, bottom] = [(box.x - view.x) * view.zoom, (box.y + box.height - view.y) * view.zoom + 4];
  return (
    <p
      class="graph-hover"
      aria-hidden="true"
      style={{
        left: `${Math.max(0, Math.min(left, size.value.width - WIDTH))}px`,
        top: `${Math.max(0, Math.min(bottom, size.value.height - HEIGHT))}px`,
      }}
    >
      {hoverText(box.item, alertCounts.value.get(box.item.node.id))}
    </p>
  );
}
