// Saves the graph as JSON, or as a picture; opens a saved graph.

import type { Signal } from "@preact/signals";
import type { RefObject } from "preact";
import type { Camera, Size } from "../graph/camera.ts";
import { paint } from "../graph/paint.ts";
import { graphText } from "../graph/saved.ts";
import { SvgSurface } from "../graph/svg.ts";
import { errorText } from "../net/rest.ts";
import { FileButton } from "../parts/file_button.tsx";
import { saveFile } from "../parts/save.ts";
import { host } from "../state/health.ts";
import { layout, scene } from "../state/layout.ts";
import { notify } from "../state/notices.ts";
import { openGraph } from "../state/saved_graph.ts";
import { model } from "../state/session.ts";
import { activeTheme } from "../state/theme.ts";
import { pastTime } from "../state/view.ts";
import { colorsOf } from "./graph_colors.ts";
import { marksOf } from "./graph_painting.ts";

interface Props {
  canvas: RefObject<HTMLCanvasElement | null>;
  camera: Signal<Camera | undefined>;
  size: Signal<Size>;
}

export function SaveMenu({ canvas, camera, size }: Props) {
  const savePng = () => canvas.current?.toBlob((data) => data && saveFile("topology.png", data));
  const saveSvg = () => {
    const surface = new SvgSurface();
    const [view, area] = [camera.value, size.value];
    if (view) {
      const marks = marksOf(new Set(), undefined);
      paint(surface, area, 1, layout.value, scene.value.links, view, colorsOf(activeTheme.value), marks);
      const text = surface.text(area.width, area.height, `Topology of ${host.value}`);
      saveFile("topology.svg", new Blob([text], { type: "image/svg+xml" }));
    }
  };
  const saveJson = () => {
    const time = new Date(pastTime.value ?? Date.now()).toISOString().replaceAll(":", "-");
    saveFile(`topology-${time}.json`, new Blob([graphText(model)], { type: "application/json" }));
  };
  const open = (file: File) =>
    file
      .text()
      .then((text) => openGraph(file.name, text))
      .catch((error: unknown) => notify(errorText(error)));
  return (
    <>
      <button type="button" title="Save the shown part as a picture" onClick={savePng}>
        PNG
      </button>
      <button type="button" title="Save the shown part as a picture that can be enlarged" onClick={saveSvg}>
        SVG
      </button>
      <button type="button" title="Save all nodes and links" onClick={saveJson}>
        JSON
      </button>
      <FileButton
        text="Open"
        title="Show a graph that was saved as JSON"
        label="Saved graph"
        accept=".json,application/json"
        onChoose={open}
      />
    </>
  );
}
