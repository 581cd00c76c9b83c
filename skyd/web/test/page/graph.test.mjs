// The graph: its menu, rates, pictures, files, and its part of the address.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { talk } from "./daemon.mjs";
import { connected, downloads, item, pageTest, selectNode } from "./fixture.mjs";

const SHIFT = 8;

pageTest("the menu of a node opens by key and by right click, and returns the focus", async ({ page }) => {
  await selectNode(page, "v-blue");
  const graph = await page.get("application", "Topology graph");
  await graph.focus();
  await page.press("m");
  await page.get("menu", "Actions of v-blue");
  const names = (await page.all("menuitem")).map(({ name }) => name);
  assert.deepEqual(names, [
    "Start capture",
    "Inject packets",
    "Path to…",
    "Show flows",
    "Show changes",
    "Copy Gremlin",
  ]);
  await page.press("ArrowDown");
  assert.equal(await page.js("document.activeElement.firstChild.textContent"), "Inject packets");
  await page.press("Escape");
  await page.absent("menu");
  assert.equal(await page.js("document.activeElement.getAttribute('role')"), "application");

  const tree = await item(page, "br0");
  await tree.focus();
  await page.press("F10", SHIFT);
  await page.get("menu", "Actions of br0");
  await page.press("Escape");
  await (await item(page, "v-red")).click("right");
  await page.get("menu", "Actions of v-red");
  await page.click("menuitem", "Start capture");
  await page.get("dialog", "Start capture");
});

pageTest("links show the rates of their interfaces, in pictures too", async ({ page, browser, daemon }) => {
  const files = await downloads(page, browser);
  const stop = talk(9999, 1000);
  try {
    await page.until(
      async () => {
        const rates = await daemon.query("G.V().Has('Name', 'v-blue').Values('LastUpdateMetric.RxBytes')");
        return Number(rates?.[0]) > 5000;
      },
      "traffic",
      20,
    );
    await sleep(1500);
    await page.click("button", "SVG");
    const svg = readFileSync(await files.next(/\.svg$/), "utf8");
    assert.match(svg, /^<svg xmlns/);
    assert.match(svg, />v-blue<\/text>/);
    assert.match(svg, />[\d.]+ kB\/s<\/text>/);
    await page.click("button", "PNG");
    assert.equal(
      readFileSync(await files.next(/\.png$/))
        .subarray(1, 4)
        .toString(),
      "PNG",
    );
  } finally {
    stop();
    files.remove();
  }
});

pageTest("a graph is saved, opened again, and left for the present", async ({ page, browser }) => {
  const files = await downloads(page, browser);
  try {
    await page.click("button", "JSON");
    const path = await files.next(/\.json$/);
    assert.ok(JSON.parse(readFileSync(path, "utf8"))[0].Nodes.length > 5);
    await page.upload("Saved graph", path);
    await connected(page, /^Saved: topology/);
    await selectNode(page, "v-blue");
    assert.equal((await page.get("button", "Start capture")).properties.disabled, true);
    await page.click("button", "Live");
    await connected(page, "Live");
    assert.notEqual((await page.get("button", "Start capture")).properties.disabled, true);
  } finally {
    files.remove();
  }
});

pageTest("the shown part of the graph is in the address, and restored from it", async ({ page, daemon }) => {
  await page.click("button", "Zoom in");
  await page.click("button", "Zoom in");
  const hash = await page.until(() => page.js("/zoom=/.test(location.hash) && location.hash"), "the address has it");
  await page.open("about:blank");
  await page.open(daemon.url + hash);
  await item(page, "br0");
  await sleep(500);
  assert.equal(await page.js("location.hash"), hash);
  await page.click("button", "Show everything");
  await page.until(() => page.js("!/zoom=/.test(location.hash)"), "the address forgets it");
});

pageTest("edges between areas move by keys, and their sizes are remembered", async ({ page, daemon }) => {
  const width = () => page.js("Math.round(document.querySelector('.tree-panel').getBoundingClientRect().width)");
  const before = await width();
  await (await page.get("separator", "Width of the tree")).focus();
  await page.press("ArrowRight");
  await page.press("ArrowRight");
  assert.equal(await width(), before + 40);
  await page.open(daemon.url);
  await item(page, "br0");
  assert.equal(await width(), before + 40);
});

pageTest("the theme is switched, and back to that of the system it follows the system", async ({ page }) => {
  const theme = () => page.js("document.documentElement.dataset.theme");
  const emulate = (value) =>
    page.call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value }] });
  await emulate("light");
  await page.click("button", "Dark theme");
  await page.until(async () => (await theme()) === "dark" && /theme=dark/.test(await page.js("location.hash")), "dark");
  await page.click("button", "Light theme");
  await page.until(async () => !/theme/.test(await page.js("location.hash")), "the address has no theme");
  await emulate("dark");
  await page.until(async () => (await theme()) === "dark", "the theme of the system");
});

pageTest("what users prefer is respected: motion, contrast, forced colors", async ({ page }) => {
  const stop = talk(9999, 1000);
  const emulate = (features) => page.call("Emulation.setEmulatedMedia", { features });
  const dots = async () => {
    await page.js(
      `window.dots = 0; document.querySelector(".traffic").getContext("2d").constructor.prototype.setLineDash = function (dash) { window.dots += dash[0] === 0.1 ? 1 : 0; }; 0`,
    );
    await sleep(600);
    return page.js("window.dots");
  };
  try {
    await page.until(async () => (await dots()) > 0, "dots move along links", 20);
    await emulate([{ name: "prefers-reduced-motion", value: "reduce" }]);
    await page.until(async () => (await dots()) === 0, "nothing moves");
    const border = () => page.js("getComputedStyle(document.documentElement).getPropertyValue('--border')");
    const usual = await border();
    await emulate([{ name: "prefers-contrast", value: "more" }]);
    assert.notEqual(await border(), usual);
    await emulate([{ name: "forced-colors", value: "active" }]);
    await selectNode(page, "br0");
    assert.match(await page.js("getComputedStyle(document.querySelector('.row.selected')).outlineStyle"), /solid/);
  } finally {
    stop();
  }
});
