// Lets the page run for a long time while the graph changes, and compares the memory of its objects in the last
// minutes with that in the first ones (see benches/README.md):
//
//     MINUTES=30 skyd/web/test/page/run --skyd target/release/skyd ./soak.mjs

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { startBrowser } from "./browser.mjs";
import { startDaemon } from "./daemon.mjs";
import { publish } from "./publisher.mjs";

const MINUTES = Number(process.env.MINUTES ?? 30);
/** Number of hosts, each with 101 nodes. */
const HOSTS = 10;
/** Changes per second. */
const CHANGES = 200;
/** Interval between two movements of the time slider. */
const SLIDE_MS = 10_000;
/** Maximum of the memory at the end, as a share of that at the start. */
const GROWTH = 1.2;
/** Number of measurements of which the lowest counts: the last view of the past stays in memory until the next. */
const SAMPLES = 5;

/** Returns the memory of the objects that the page can reach, in bytes. */
async function heap(page) {
  await page.call("HeapProfiler.collectGarbage");
  const { usedSize } = await page.call("Runtime.getHeapUsage");
  return usedSize;
}

/** Moves into the past and back to the present. */
async function slide(page) {
  const slider = await page.get("slider", "Time");
  await slider.focus();
  for (const key of ["ArrowLeft", "ArrowLeft", "End"]) {
    await page.press(key);
    await sleep(500);
  }
}

const [browser, daemon] = [await startBrowser(), await startDaemon()];
const page = await browser.page();
try {
  const { publisher } = await publish(page, browser, daemon, HOSTS);
  await publisher.js(`setInterval(() => change(${CHANGES / 20}), 50); 0`);
  const sizes = [];
  const start = performance.now();
  for (let minute = 1; minute <= MINUTES; minute += 1) {
    while (performance.now() - start < minute * 60_000) {
      await slide(page);
      await sleep(SLIDE_MS);
    }
    sizes.push(await heap(page));
    console.log(`${minute} min: ${(sizes.at(-1) / 1e6).toFixed(1)} MB`);
  }
  assert.deepEqual(page.errors, []);
  const [first, last] = [Math.min(...sizes.slice(0, SAMPLES)), Math.min(...sizes.slice(-SAMPLES))];
  assert.ok(last <= GROWTH * first, `${last} B after ${first} B`);
} finally {
  await page.close();
  await daemon.close();
  await browser.close();
}
