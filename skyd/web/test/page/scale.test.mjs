// Many nodes, many changes, and nothing at all. The limits are loose because machines are shared.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { pageTest, textOf } from "./fixture.mjs";
import { publish } from "./publisher.mjs";

pageTest("10 000 nodes are a bounded document, searched and opened at once", async ({ page, daemon, browser }) => {
  const { publisher } = await publish(page, browser, daemon, 100);
  await page.open(daemon.url);
  await page.until(
    () => page.js("Number.parseInt(document.querySelector('.graph-size')?.textContent ?? '0', 10) > 10_000"),
    "the first view",
    60,
  );
  assert.equal((await page.all("treeitem", /^web-0/)).length, 0, "hosts are closed at first");
  await page.click("button", "Expand all");
  await page.until(() => page.js("document.querySelectorAll('*').length < 6000"), "few elements");
  await (await page.get("combobox", "Search or Gremlin")).fill("10.0.50.7/");
  await page.get("listbox", "Search results");
  await page.press("Enter");
  await page.get("heading", "eth0");
  await page.get("treeitem", /^eth0, veth, up$/, 10).catch(() => undefined);
  assert.match(await textOf(page, "complementary", "Details"), /host-50 › web-6/);
  const heap = await page.js("performance.memory.usedJSHeapSize");
  assert.ok(heap < 150e6, `${heap} bytes`);
  await publisher.close();
});

pageTest("1 000 changes a second end with the last state", async ({ page, daemon, browser }) => {
  const { publisher } = await publish(page, browser, daemon, 30);
  // Processor time of the main thread: other load on the machine does not disturb it.
  await page.call("Performance.enable", { timeDomain: "threadTicks" });
  const busy = async () => {
    const { metrics } = await page.call("Performance.getMetrics");
    return metrics.find(({ name }) => name === "TaskDuration").value * 1000;
  };
  const [start, before] = [performance.now(), await busy()];
  while (performance.now() < start + 6000) {
    await publisher.js("change(100)");
    await sleep(100);
  }
  const [elapsed, used] = [performance.now() - start, (await busy()) - before];
  assert.ok(used < elapsed / 2, `the page worked ${used} of ${elapsed} ms`);
  const last = await publisher.js("stateOf('host-0-v1')");
  await page.js("location.hash = '#select=host-0-v1'; 0");
  await page.get("heading", "v1");
  await page.until(
    async () => new RegExp(`State\\s+${last}`).test(await textOf(page, "tabpanel", "Overview")),
    "the last state",
    30,
  );
  await publisher.close();
});

pageTest("a page on which nothing happens paints nothing", async ({ page }) => {
  await sleep(2000);
  await page.js(
    "window.paints = 0; const fill = CanvasRenderingContext2D.prototype.fillRect; CanvasRenderingContext2D.prototype.fillRect = function (...a) { window.paints += 1; return fill.apply(this, a); }; 0",
  );
  // New interfaces announce themselves for some seconds, and links show that traffic.
  await page.until(
    async () => {
      await page.js("window.paints = 0; 0");
      await sleep(3000);
      return (await page.js("window.paints")) === 0;
    },
    "three seconds without painting",
    60,
  );
});
