// Which part of the layout the canvas shows. Pure.

export interface Camera {
  /** Layout point at the top left corner of the canvas. */
  x: number;
  y: number;
  /** Pixels per layout unit. */
  zoom: number;
}

export interface Size {
  width: number;
  height: number;
}

const MIN_ZOOM = 0.01;
const MAX_ZOOM = 4;
/** Largest zoom at which a whole graph is shown. */
const MAX_FIT_ZOOM = 1.25;
const MARGIN = 24;
/** Margin at the top, where the size of the graph and the zoom buttons are. */
const TOP_MARGIN = 46;

/** On a narrower canvas, the size of the graph is at the bottom. */
const NARROW = 500;

/** Returns the camera that shows a whole layout, centered. */
export function fit(layout: Size, canvas: Size): Camera {
  const bottom = canvas.width <= NARROW ? TOP_MARGIN : MARGIN;
  const across = (canvas.width - 2 * MARGIN) / Math.max(layout.width, 1);
  const down = (canvas.height - bottom - TOP_MARGIN) / Math.max(layout.height, 1);
  const zoom = Math.min(Math.max(Math.min(across, down), MIN_ZOOM), MAX_FIT_ZOOM);
  return {
    x: (layout.width - canvas.width / zoom) / 2,
    y: (layout.height - (canvas.height + TOP_MARGIN - bottom) / zoom) / 2,
    zoom,
  };
}

/** Returns the camera that has a layout point in the middle of the canvas. */
export function centered(view: Camera, canvas: Size): Camera {
  return { x: view.x - canvas.width / 2 / view.zoom, y: view.y - canvas.height / 2 / view.zoom, zoom: view.zoom };
}

/** Returns the camera zoomed by a factor; the layout point below the canvas point (`x`, `y`) stays. */
export function zoomAt(camera: Camera, factor: number, x: number, y: number): Camera {
  const zoom = Math.min(Math.max(camera.zoom * factor, MIN_ZOOM), MAX_ZOOM);
  return { x: camera.x + x / camera.zoom - x / zoom, y: camera.y + y / camera.zoom - y / zoom, zoom };
}

/** Returns the camera moved by a distance in pixels. */
export function pan(camera: Camera, dx: number, dy: number): Camera {
  return { ...camera, x: camera.x - dx / camera.zoom, y: camera.y - dy / camera.zoom };
}

/** Returns the camera that shows a box, moved only if the box is outside or too small to read. */
export function reveal(camera: Camera, box: { x: number; y: number } & Size, canvas: Size): Camera {
  const zoom = Math.max(camera.zoom, 0.7);
  const left = (box.x - camera.x) * camera.zoom;
  const top = (box.y - camera.y) * camera.zoom;
  const isInside =
    left >= 0 && top >= 0 && left + box.width * zoom <= canvas.width && top + box.height * zoom <= canvas.height;
  if (isInside && zoom === camera.zoom) {
    return camera;
  }
  return {
    x: box.x + box.width / 2 - canvas.width / zoom / 2,
    y: box.y + box.height / 2 - canvas.height / zoom / 2,
    zoom,
  };
}
