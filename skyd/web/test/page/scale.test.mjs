// Many nodes, many changes, and nothing at all. The limits are loose because machines are shared.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { pageTest, textOf } from "./fixture.mjs";

/** Script that publishes hosts of 34 namespaces, and later changes, from inside the page. */
const PUBLISH = `
window.publish = (hosts) => new Promise((resolve) => {
  const Nodes = [], Edges = [];
  const node = (ID, Name, Type, more) => Nodes.push({ ID, Host: "far", Origin: "", Revision: 1, Metadata: { Name, Type, TID: ID, ...more } });
  const edge = (Parent, Child, RelationType, more) => Edges.push({ ID: Parent + Child + RelationType, Parent, Child, Host: "far", Origin: "", Revision: 1, Metadata: { RelationType, ...more } });
  for (let h = 0; h < hosts; h += 1) {
    const host = "host-" + h;
    node(host, host, "host");
    node(host + "-br0", "br0", "bridge", { State: "UP" });
    edge(host, host + "-br0", "ownership");
    for (let i = 0; i < 33; i += 1) {
      const [outer, space, inner] = [host + "-v" + i, host + "-ns" + i, host + "-eth" + i];
      node(outer, "v" + i, "veth", { State: i % 7 ? "UP" : "DOWN" });
      node(space, "web-" + i, "netns", { Path: "/run/netns/web" });
      node(inner, "eth0", "veth", { State: "UP", IPV4: ["10." + (h >> 8) + "." + (h & 255) + "." + (i + 1) + "/24"] });
      edge(host, outer, "ownership"); edge(host, space, "ownership"); edge(space, inner, "ownership");
      edge(outer, inner, "layer2", { Type: "veth" }); edge(host + "-br0", outer, "layer2");
    }
  }
  const socket = new WebSocket("ws://" + location.host + "/ws/publisher?x-client-type=page-test&x-host-id=page-test");
  const send = (Type, Obj) => socket.send(JSON.stringify({ Namespace: "Graph", Type, UUID: "u", Status: 200, Obj }));
  socket.onopen = () => { send("Sync", { Nodes, Edges }); resolve(Nodes.length); };
  window.change = (count) => {
    for (let k = 0; k < count; k += 1) {
      const node = Nodes[(window.changed = (window.changed ?? 0) + 1) % Nodes.length];
      node.Revision += 1;
      node.Metadata.State = node.Revision % 2 ? "UP" : "DOWN";
      send("NodeUpdated", node);
    }
  };
})`;

async function publish(page, browser, daemon, hosts) {
  const publisher = await browser.page();
  await publisher.open(`${daemon.url}ui/status`);
  await publisher.js(PUBLISH);
  const count = await publisher.js(`publish(${hosts})`);
  await page.until(async () => Number.parseInt(await textOf(page, "status", "Graph size"), 10) >= count, `${count} nodes are shown`, 60);
  return { publisher, count };
}

pageTest("10 000 nodes are a bounded document, searched and opened at once", async ({ page, daemon, browser }) => {
  const { publisher } = await publish(page, browser, daemon, 100);
  await page.open(daemon.url);
  await page.until(async () => Number.parseInt(await textOf(page, "status", "Graph size"), 10) > 10_000, "the first view", 30);
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
  const end = performance.now() + 6000;
  let slowest = 0;
  while (performance.now() < end) {
    await publisher.js("change(100)");
    const start = performance.now();
    await page.js("1 + 1");
    slowest = Math.max(slowest, performance.now() - start);
    await sleep(100);
  }
  assert.ok(slowest < 1500, `the page answered after ${slowest} ms`);
  const [last] = await daemon.query("G.V('host-0-v1').Values('State')");
  await page.click("button", "Expand all");
  await page.get("treeitem", new RegExp(`^v1, veth, ${last.toLowerCase()}$`), 15).catch(async () => {
    const shown = (await page.all("treeitem", /^v1, veth/)).map(({ name }) => name);
    assert.ok(shown.some((name) => name === `v1, veth, ${last.toLowerCase()}`), `${last}: ${shown}`);
  });
  await publisher.close();
});

pageTest("a page on which nothing happens paints nothing", async ({ page }) => {
  await sleep(2000);
  await page.js("window.paints = 0; const fill = CanvasRenderingContext2D.prototype.fillRect; CanvasRenderingContext2D.prototype.fillRect = function (...a) { window.paints += 1; return fill.apply(this, a); }; 0");
  await sleep(3000);
  assert.equal(await page.js("window.paints"), 0);
});
