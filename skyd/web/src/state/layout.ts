// The layout of the scene that the graph shows. Small scenes are laid out at once; large ones by a worker,
// while the graph shows the layout before. A scene of the same shapes, for example after a change of
// states, keeps its positions.

import { type ReadonlySignal, computed, effect, signal } from "@preact/signals";
import { EMPTY_LAYOUT, type Layout, areEqual, layoutAt, shapesOf } from "../graph/layout.ts";
import { type Positions, type Shapes, positionsOf } from "../graph/positions.ts";
import { type Scene, buildScene } from "../graph/scene.ts";
import { isOpen, unfolded } from "./branches.ts";
import { offsets } from "./offsets.ts";
import { model, structureVersion } from "./session.ts";
import { hidden } from "./view.ts";

/** Address of the worker's script, which the build inserts. */
declare const LAYOUT_WORKER: string;

/** Larger scenes, in boxes, are laid out by the worker. */
const MAX_BOXES_AT_ONCE = 1500;

export const scene = computed(() => {
  structureVersion.value;
  return buildScene(model, { isOpen, unfolded: unfolded.value, hidden: new Set(hidden.value) });
});

/** Scene whose positions are known, with them. */
const positioned = signal<{ scene: Scene; shapes: Shapes; positions: Positions } | undefined>(undefined);

export const layout: ReadonlySignal<Layout> = computed(() => {
  const known = positioned.value;
  return known ? layoutAt(known.scene, known.positions, offsets.value) : EMPTY_LAYOUT;
});

let worker: Worker | undefined;
/** Whether the worker failed, so that the page lays out everything itself. */
let isBroken = false;
/** Scene that the worker positions now. */
let running: { scene: Scene; shapes: Shapes } | undefined;

/** Lays out each scene. */
export function followScene(): void {
  effect(() => {
    const next = scene.value;
    const shapes = shapesOf(next);
    const known = positioned.peek();
    if (known && areEqual(known.shapes, shapes)) {
      positioned.value = { scene: next, shapes, positions: known.positions };
    } else if (shapes.children.length <= MAX_BOXES_AT_ONCE || !startWorker()) {
      positioned.value = { scene: next, shapes, positions: positionsOf(shapes) };
    } else if (!running) {
      send(next, shapes);
    }
  });
}

function send(next: Scene, shapes: Shapes): void {
  running = { scene: next, shapes };
  worker?.postMessage(shapes);
}

/** Starts the worker. Returns whether there is one. */
function startWorker(): boolean {
  if (worker || isBroken) {
    return !isBroken;
  }
  try {
    worker = new Worker(workerAddress(LAYOUT_WORKER), { type: "module" });
  } catch {
    isBroken = true;
    return false;
  }
  worker.onmessage = (event: MessageEvent<Positions>) => {
    const done = running;
    running = undefined;
    if (done) {
      receive(done.scene, done.shapes, event.data);
    }
  };
  worker.onerror = () => {
    worker = undefined;
    isBroken = true;
    const shapes = shapesOf(scene.peek());
    positioned.value = { scene: scene.peek(), shapes, positions: positionsOf(shapes) };
  };
  return true;
}

/** Shows positions, and sends the scene again if its shapes have changed since. */
function receive(done: Scene, shapes: Shapes, positions: Positions): void {
  const newest = scene.peek();
  const newestShapes = newest === done ? shapes : shapesOf(newest);
  if (areEqual(newestShapes, shapes)) {
    positioned.value = { scene: newest, shapes, positions };
    return;
  }
  positioned.value = { scene: done, shapes, positions };
  if (newestShapes.children.length <= MAX_BOXES_AT_ONCE) {
    positioned.value = { scene: newest, shapes: newestShapes, positions: positionsOf(newestShapes) };
  } else {
    send(newest, newestShapes);
  }
}

interface TrustedTypes {
  createPolicy: (name: string, rules: object) => { createScriptURL: (url: string) => string };
}

/** Returns an address as browsers with trusted types require it: only of a policy that the daemon's
 * headers name. */
function workerAddress(url: string): string {
  const types = (globalThis as { trustedTypes?: TrustedTypes }).trustedTypes;
  const rules = { createScriptURL: () => url };
  return types ? types.createPolicy("skyd-worker", rules).createScriptURL(url) : url;
}
