// The page follows the network, travels in time, and survives the loss of the daemon.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { shell } from "./daemon.mjs";
import { connected, item, pageTest, selectNode, textOf } from "./fixture.mjs";

const SHIFT = 8;

pageTest("the past shows what was there, without events and actions", async ({ page }) => {
  await selectNode(page, "br0");
  await sleep(1500);
  const before = Date.now() - 500;
  shell("ip link add late0 type bridge");
  try {
    await item(page, "late0");
    await (await page.get("textbox", "Go to time")).fill(String(before));
    await page.press("Enter");
    await connected(page, /^Past: /);
    await page.absent("treeitem", /^late0, /);
    const edge = await page.js("getComputedStyle(document.querySelector('.graph'), '::after').borderTopWidth");
    assert.equal(edge, "3px", "the graph has an edge above its canvas");
    await page.get("heading", "br0");
    const start = await page.get("button", "Start capture");
    assert.equal(start.properties.disabled, true);
    shell("ip link add later0 type bridge");
    await sleep(1500);
    assert.equal((await page.all("treeitem", /^later0, /)).length, 0, "events do not change the past");

    await page.click("button", "Compare with now");
    const region = await page.get("region", "Comparison");
    await page.until(async () => /\+ added\s+late0/.test(await region.text()), "late0 was added");

    await page.click("button", "Live");
    await connected(page, "Live");
    await item(page, "late0");
    await item(page, "later0");
    await page.absent("region", "Comparison");
  } finally {
    shell("ip link del late0; ip link del later0 2>/dev/null || true");
  }
});

pageTest("the slider and its buttons move in time", async ({ page }) => {
  const slider = await page.get("slider", "Time");
  assert.equal(await slider.js("return this.getAttribute('aria-valuetext')"), "live");
  await sleep(2500);
  await slider.focus();
  await page.press("ArrowLeft");
  await page.press("ArrowLeft");
  await connected(page, /^Past: /);
  await page.press("End");
  await connected(page, "Live");
  assert.equal((await page.get("button", "Live")).properties.pressed, "true");
  await sleep(2500);
  const [x, y] = await (
    await page.get("button", "Back")
  ).js(
    "const { left, top, width, height } = this.getBoundingClientRect(); return [left + width / 2, top + height / 2]",
  );
  const press = (type) =>
    page.call("Input.dispatchMouseEvent", { type, x, y, button: "left", clickCount: 1, modifiers: SHIFT });
  await press("mousePressed");
  await sleep(1500);
  await press("mouseReleased");
  await connected(page, /^Past: /);
  const shown = Date.parse((await textOf(page, "status", "Connection")).slice("Past: ".length).replace(" ", "T"));
  assert.ok(Date.now() - shown > 3000, "a held button steps back again and again");
  await page.click("button", "Live");
  await connected(page, "Live");
});

pageTest("a lost daemon is announced, and its return restores the view", async ({ page, daemon }) => {
  await selectNode(page, "br0");
  const id = (await daemon.query("G.V().Has('Name', 'br0').Values('@ID')")) ?? [];
  await daemon.kill();
  await page.until(async () => (await page.all("alert")).length > 0, "an alert", 5);
  const [alert] = await page.all("alert");
  assert.match(await alert.text(), /^Connection lost/);
  await connected(page, "Reconnecting", 1);
  await page.get("heading", "br0");
  const before = page.requests.length;
  await sleep(6000);
  assert.ok(page.requests.length - before <= 30, "attempts to connect become rare");
  await daemon.start();
  await connected(page, "Live", 15);
  await page.absent("alert");
  await page.get("heading", "br0");
  shell("ip link add after0 type bridge");
  try {
    await item(page, "after0");
  } finally {
    shell("ip link del after0");
  }
  assert.notEqual(id, undefined);
});

pageTest("the newest of many changes is shown", async ({ page }) => {
  shell("ip link add flap0 type bridge");
  try {
    await item(page, "flap0");
    shell("for i in $(seq 60); do ip link set flap0 up; ip link set flap0 down; done; ip link set flap0 up");
    await item(page, "flap0", "(up|unknown)");
    await textOf(page, "status", "Graph size");
  } finally {
    shell("ip link del flap0");
  }
  await page.absent("treeitem", /^flap0/);
});
