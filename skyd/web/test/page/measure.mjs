// Measures the page at several sizes of the graph, and prints a table (see benches/README.md):
//
//     skyd/web/test/page/run --skyd target/release/skyd ./measure.mjs
//
// Processor times are thread times of the page's process, so other load disturbs them little.

import { setTimeout as sleep } from "node:timers/promises";
import { startBrowser } from "./browser.mjs";
import { startDaemon } from "./daemon.mjs";
import { publish } from "./publisher.mjs";

const FRAMES = 60;
/** Time after which events of the new graph have arrived. */
const SETTLE_MS = 3000;

/** Returns the processor time of the page's main thread, in milliseconds. */
async function taskTime(page) {
  const { metrics } = await page.call("Performance.getMetrics");
  return metrics.find(({ name }) => name === "TaskDuration").value * 1000;
}

/** Drags the graph for some frames and returns the processor time of each, in milliseconds. */
async function pan(page) {
  const before = await taskTime(page);
  await page.js(`(async () => {
    const canvas = document.querySelector("canvas");
    canvas.setPointerCapture = () => {};
    const send = (type, x) => canvas.dispatchEvent(new PointerEvent(type, { pointerId: 1, clientX: x, clientY: 400, bubbles: true }));
    send("pointerdown", 700);
    for (let frame = 0; frame < ${FRAMES}; frame += 1) {
      send("pointermove", 700 + Math.sin(frame / 10) * 200);
      await new Promise(requestAnimationFrame);
    }
    send("pointercancel", 700);
  })()`);
  return (await taskTime(page)) - before;
}

async function measure(browser, hosts) {
  const daemon = await startDaemon();
  const page = await browser.page();
  try {
    const { publisher, count } = await publish(page, browser, daemon, hosts);
    await publisher.open("about:blank").catch(() => {});
    await page.call("Performance.enable", { timeDomain: "threadTicks" });
    return await figures(page, daemon, count);
  } finally {
    await page.close();
    await daemon.close();
  }
}

async function figures(page, daemon, count) {
  const before = await taskTime(page);
  await page.open(daemon.url);
  await page.until(
    () => page.js("Number.parseInt(document.querySelector('.graph-size')?.textContent ?? '0', 10) > 10"),
    "the first view",
    120,
  );
  const first = (await taskTime(page)) - before;
  await page.until(
    () => page.js(`Number.parseInt(document.querySelector('.graph-size').textContent, 10) >= ${count}`),
    "all nodes",
    120,
  );
  await sleep(SETTLE_MS);
  const closed = await pan(page);
  await page.click("button", "Expand all");
  await page.click("button", "Show everything");
  await sleep(SETTLE_MS);
  const open = await pan(page);
  const heap = await page.js("performance.memory.usedJSHeapSize");
  const elements = await page.js("document.querySelectorAll('*').length");
  const cells = [
    count,
    first.toFixed(0),
    (closed / FRAMES).toFixed(1),
    (open / FRAMES).toFixed(1),
    (heap / 1e6).toFixed(0),
    elements,
  ];
  return `| ${cells.join(" | ")} |`;
}

const browser = await startBrowser();
console.log(
  "| nodes | first view, ms CPU | pan, hosts closed, ms CPU per frame | pan, all open | heap, MB | elements |",
);
console.log("|---|---|---|---|---|---|");
for (const hosts of (process.env.HOSTS ?? "10,100").split(",")) {
  console.log(await measure(browser, Number(hosts)));
}
await browser.close();
