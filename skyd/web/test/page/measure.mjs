// Measures the page at several sizes of the graph, and prints two tables (see benches/README.md):
//
//     HOSTS=5,20,100 skyd/web/test/page/run --skyd target/release/skyd ./measure.mjs
//
// Processor times are thread times of the page's process, so other load disturbs them little; times between
// frames and of the first load are those of a clock.

import { setTimeout as sleep } from "node:timers/promises";
import { startBrowser } from "./browser.mjs";
import { startDaemon } from "./daemon.mjs";
import { publish } from "./publisher.mjs";

const FRAMES = 60;
/** Time after which events of the new graph have arrived. */
const SETTLE_MS = 3000;
/** Time for which the graph changes while it is dragged, and changes in that time per second. */
const [BUSY_MS, CHANGES] = [6000, 1000];
/** Time after the start of the load in which tasks block it. */
const LOAD_MS = 5000;

/** Returns the processor time of the page's main thread, in milliseconds. */
async function taskTime(page) {
  const { metrics } = await page.call("Performance.getMetrics");
  return metrics.find(({ name }) => name === "TaskDuration").value * 1000;
}

/** Drags the graph in each frame until a condition in the page is true for the number of frames and the
 * milliseconds since the start. Returns the times between frames, in milliseconds. */
function drag(page, condition) {
  return page.js(`(async () => {
    const canvas = document.querySelector("canvas");
    canvas.setPointerCapture = () => {};
    const send = (type, x) => canvas.dispatchEvent(new PointerEvent(type, { pointerId: 1, clientX: x, clientY: 400, bubbles: true }));
    send("pointerdown", 700);
    const times = [performance.now()];
    for (let frame = 0; !((frame, elapsed) => ${condition})(frame, times.at(-1) - times[0]); frame += 1) {
      send("pointermove", 700 + Math.sin(frame / 10) * 200);
      await new Promise(requestAnimationFrame);
      times.push(performance.now());
    }
    send("pointercancel", 700);
    return times.slice(1).map((time, index) => time - times[index]);
  })()`);
}

/** Drags the graph for some frames and returns the processor time of each, in milliseconds. */
async function pan(page) {
  const before = await taskTime(page);
  await drag(page, `frame >= ${FRAMES}`);
  return ((await taskTime(page)) - before) / FRAMES;
}

/** Drags the graph while nodes change. Returns the median, the 95th percentile, and the maximum of the times
 * between frames, the processor time of each, and the share of the time in which the page works. */
async function panWhileChanging(page, publisher) {
  await publisher.js(`window.timer = setInterval(() => change(${CHANGES / 20}), 50); 0`);
  const before = await taskTime(page);
  const times = (await drag(page, `elapsed >= ${BUSY_MS}`)).sort((a, b) => a - b);
  const used = (await taskTime(page)) - before;
  await publisher.js("clearInterval(timer)");
  const at = (part) => times[Math.min(times.length - 1, Math.floor(times.length * part))].toFixed(0);
  const share = (100 * used) / times.reduce((sum, time) => sum + time, 0);
  return [`${at(0.5)} / ${at(0.95)} / ${at(1)}`, (used / times.length).toFixed(1), `${share.toFixed(0)} %`];
}

/** Script that collects what the browser reports about the load. */
const OBSERVE = `
window.vitals = { paint: 0, largest: 0, shift: 0, tasks: [] };
const observe = (type, use) => new PerformanceObserver((list) => list.getEntries().forEach(use)).observe({ type, buffered: true });
observe("paint", (entry) => { if (entry.name === "first-contentful-paint") vitals.paint = entry.startTime; });
observe("largest-contentful-paint", (entry) => { vitals.largest = entry.startTime; });
observe("layout-shift", (entry) => { vitals.shift += entry.hadRecentInput ? 0 : entry.value; });
observe("longtask", (entry) => vitals.tasks.push([entry.startTime, entry.duration]));`;

/** Loads the page in a context of its own without a cache. Returns the times of the first and of the largest
 * paint, the time for which tasks longer than 50 ms blocked the load, in milliseconds, the layout shift, and
 * the bytes that were transferred for the page. */
async function load(browser, daemon) {
  const page = await browser.page();
  let bytes = 0;
  browser.sessions.set(page.session, (method, params) => {
    bytes += method === "Network.loadingFinished" ? params.encodedDataLength : 0;
  });
  try {
    await page.call("Page.addScriptToEvaluateOnNewDocument", { source: OBSERVE });
    await page.open(daemon.url);
    await sleep(LOAD_MS);
    const { paint, largest, shift, tasks } = await page.js("vitals");
    const blocked = tasks.filter(([start]) => start > paint).reduce((sum, [, time]) => sum + time - 50, 0);
    return [
      paint.toFixed(0),
      largest.toFixed(0),
      blocked.toFixed(0),
      shift.toFixed(3),
      `${(bytes / 1000).toFixed(0)} kB`,
    ];
  } finally {
    await page.close();
  }
}

async function measure(browser, hosts) {
  const daemon = await startDaemon();
  const page = await browser.page();
  try {
    const { publisher, count } = await publish(page, browser, daemon, hosts);
    await page.open("about:blank");
    const loaded = await load(browser, daemon);
    await page.call("Performance.enable", { timeDomain: "threadTicks" });
    return [await figures(page, daemon, publisher, count), `| ${[count, ...loaded].join(" | ")} |`];
  } finally {
    await page.close();
    await daemon.close();
  }
}

async function figures(page, daemon, publisher, count) {
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
  const changing = await panWhileChanging(page, publisher);
  const heap = await page.js("performance.memory.usedJSHeapSize");
  const elements = await page.js("document.querySelectorAll('*').length");
  const cells = [
    count,
    first.toFixed(0),
    closed.toFixed(1),
    open.toFixed(1),
    ...changing,
    (heap / 1e6).toFixed(0),
    elements,
  ];
  return `| ${cells.join(" | ")} |`;
}

const browser = await startBrowser();
const rows = [];
for (const hosts of (process.env.HOSTS ?? "5,20,100").split(",")) {
  rows.push(await measure(browser, Number(hosts)));
}
console.log(`| nodes | first view, ms CPU | pan, hosts closed, ms CPU per frame | pan, all open | \
with ${CHANGES} changes/s: ms between frames, median / 95 % / most | ms CPU per frame | main thread | heap, MB | elements |`);
console.log("|---|---|---|---|---|---|---|---|---|");
rows.forEach(([row]) => console.log(row));
console.log("\n| nodes | first paint, ms | largest paint, ms | blocked, ms | layout shift | transferred |");
console.log("|---|---|---|---|---|---|");
rows.forEach(([, row]) => console.log(row));
await browser.close();
