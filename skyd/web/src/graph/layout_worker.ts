// The worker that positions the boxes of large graphs, so that the page stays responsive.

import { type Shapes, positionsOf } from "./positions.ts";

addEventListener("message", (event: MessageEvent<Shapes>) => {
  const positions = positionsOf(event.data);
  postMessage(positions, { transfer: [positions.buffer] });
});
