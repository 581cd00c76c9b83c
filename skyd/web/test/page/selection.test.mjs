// Several selected nodes: by keys, by mouse, in the details, and what can be done with all of them.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { talk } from "./daemon.mjs";
import { item, pageTest, selectNode, textOf } from "./fixture.mjs";

const [CTRL, SHIFT] = [2, 8];

/** Returns the names of the selected items of the tree. */
async function selectedItems(page) {
  const items = await page.all("treeitem");
  return items.filter(({ properties }) => properties.selected === true).map(({ name }) => name.split(",")[0]);
}

/** Selects two nodes by the tree. */
async function selectBoth(page, first, second) {
  await selectNode(page, first);
  await (await item(page, second)).click("left", CTRL);
  await page.get("heading", "2 nodes");
}

/** Returns a point inside the box of the selected node, from the menu that opens below it. */
async function pointOfSelected(page) {
  await (await page.get("application", "Topology graph")).focus();
  await page.press("m");
  await page.get("menu");
  const point = await page.js(
    "(({ left, top }) => ({ x: left, y: top - 6 }))(document.querySelector('.node-menu').getBoundingClientRect())",
  );
  await page.press("Escape");
  await page.absent("menu");
  return point;
}

async function clickAt(page, { x, y }, modifiers = 0) {
  const event = { x, y, button: "left", clickCount: 1, modifiers };
  await page.call("Input.dispatchMouseEvent", { ...event, type: "mousePressed" });
  await page.call("Input.dispatchMouseEvent", { ...event, type: "mouseReleased" });
}

pageTest("several nodes are selected by keys, listed with their count, and reduced to the first", async ({ page }) => {
  await selectNode(page, "v-blue");
  const address = await page.js("location.hash");
  await (await item(page, "v-red")).focus();
  await page.press(" ");
  await page.get("heading", "2 nodes");
  await (await item(page, "br0")).focus();
  await page.press("Enter", CTRL);
  await page.get("heading", "3 nodes");
  assert.match(await textOf(page, "table", "Selected nodes"), /v-blue\s+veth\s+up[^]*v-red\s+veth[^]*br0\s+bridge/);
  assert.deepEqual((await selectedItems(page)).sort(), ["br0", "v-blue", "v-red"]);
  assert.match(await page.js("document.title"), /^3 nodes – skyd/);
  assert.equal(await page.js("location.hash"), address, "the address has the first");
  await page.press("F10", SHIFT);
  await page.get("menu", "Actions of 3 nodes");
  await page.press("Escape");
  await page.click("button", "Take v-red out of the selection");
  await page.get("heading", "2 nodes");
  await page.click("button", "Take v-blue out of the selection");
  await page.get("heading", "br0");

  await (await item(page, "v-red")).focus();
  await page.press(" ");
  await page.get("heading", "2 nodes");
  await page.press("Escape");
  await page.get("heading", "br0");
  await page.press("Escape");
  await page.absent("complementary", "Details");

  await selectNode(page, "br0");
  await (await page.get("application", "Topology graph")).focus();
  await page.press("ArrowDown", CTRL);
  const description = () => page.js("document.getElementById('graph-selected').textContent");
  await page.until(async () => /^At v-blue, veth, up.*, not selected\. br0/.test(await description()), "it is said");
  await page.get("heading", "br0");
  await page.press(" ");
  await page.get("heading", "2 nodes");
  assert.match(await description(), /^At v-blue, .*, selected\. 2 nodes are selected: br0, v-blue\.$/);
  await page.press("Enter", CTRL);
  await page.get("heading", "br0");
  await page.press("ArrowDown");
  await page.get("heading", "eth0");
});

pageTest("clicks with Shift and Ctrl add nodes, and a plain click selects one", async ({ page }) => {
  await selectNode(page, "v-red");
  const red = await pointOfSelected(page);
  await selectNode(page, "v-blue");
  const blue = await pointOfSelected(page);
  await page.call("Input.dispatchMouseEvent", { ...blue, type: "mouseMoved" });
  const hover = () => page.js("document.querySelector('.graph-hover').textContent");
  await page.until(async () => /^v-blue, veth, up/.test(await hover()), "the node under the pointer is described");
  await clickAt(page, red, SHIFT);
  await page.get("heading", "2 nodes");
  await clickAt(page, red, SHIFT);
  await page.get("heading", "v-blue");
  await clickAt(page, red, CTRL);
  await page.get("heading", "2 nodes");
  await clickAt(page, blue);
  await page.get("heading", "v-blue");
  assert.deepEqual(await selectedItems(page), ["v-blue"]);

  await selectNode(page, "v-blue");
  await clickAt(page, red, CTRL);
  await page.get("heading", "2 nodes");
  for (let step = 0; step < 3; step += 1) {
    await page.click("button", "Zoom out");
  }
  const zoom = () => page.js("new URLSearchParams(location.hash.slice(1)).get('zoom') ?? ''");
  await page.until(async () => /,0\.64$/.test(await zoom()), "the address has the zoom");
  const zoomedOut = await zoom();
  await (await item(page, "v-red")).click("left", CTRL);
  await page.get("heading", "v-blue");
  await page.press("Escape");
  await page.absent("complementary", "Details");
  await sleep(1000);
  assert.equal(await zoom(), zoomedOut, "the camera stays where it was");

  const rows = (await page.all("treeitem")).map(({ name }) => name.split(",")[0]);
  const [from, to] = [rows.indexOf("br0"), rows.indexOf("v-red")];
  await selectNode(page, "br0");
  await (await item(page, "v-red")).click("left", SHIFT);
  await page.get("heading", `${to - from + 1} nodes`);
  await (await item(page, "v-red")).click("left", CTRL);
  await page.get("heading", to - from === 1 ? "br0" : `${to - from} nodes`);
  await (await item(page, "v-blue")).click("right");
  await page.get("menu", to - from === 1 ? "Actions of v-blue" : `Actions of ${to - from} nodes`);
  await page.press("Escape");
  await (await item(page, "v-red")).click("right");
  await page.get("menu", "Actions of v-red");
  await page.press("Escape");

  // The last selected node is in a branch that is then closed.
  await (await page.get("combobox", "Search or Gremlin")).fill("192.0.2.1/");
  await page.press("Enter");
  await page.get("heading", "eth0");
  const count = (await page.all("treeitem")).length;
  await (await item(page, "blue")).focus();
  await page.press("ArrowLeft");
  await page.until(async () => (await page.all("treeitem")).length < count, "the branch is closed");
  await (await item(page, "br0")).click("left", SHIFT);
  await page.get("heading", "2 nodes");
});

pageTest("the keyboard in the graph goes on from what was selected last elsewhere", async ({ page }) => {
  await selectNode(page, "br0");
  const graph = await page.get("application", "Topology graph");
  await graph.focus();
  await page.press("ArrowDown", CTRL);
  const description = () => page.js("document.getElementById('graph-selected').textContent");
  await page.until(async () => /^At v-blue/.test(await description()), "the cursor is at v-blue");
  await (await item(page, "v-red")).click("left", CTRL);
  await page.get("heading", "2 nodes");
  assert.match(await description(), /^2 nodes are selected: br0, v-red\./, "the cursor has ended");
  await graph.focus();
  await page.press(" ");
  await page.get("heading", "br0");
  assert.match(await description(), /^At v-red, .*, not selected\. br0/);
});

pageTest("captures, flows, queries, and paths are of all selected nodes", async ({ page, daemon }) => {
  const tids = await daemon.query("G.V().Has('Name', Within('v-blue', 'v-red')).Values('TID')");
  assert.equal(tids.length, 2);
  await selectBoth(page, "v-blue", "v-red");
  await page.click("button", "Copy Gremlin");
  await page.until(
    async () => /Copied G\.V\(\)\.Has\('TID', Within\('/.test(await textOf(page, "log", "Notices")),
    "the query is copied",
  );

  await page.click("button", "Start capture");
  const gremlin = await (await page.get("textbox", /^Nodes/)).js("return this.value");
  assert.match(gremlin, /^G\.V\(\)\.Has\('TID', Within\('[^']+', '[^']+'\)\)$/);
  assert.ok(
    tids.every((tid) => gremlin.includes(tid)),
    gremlin,
  );
  await page.click("button", "Start");
  await page.absent("dialog");
  await item(page, "v-blue", "captured");
  await item(page, "v-red", "captured");
  assert.equal(Object.keys(await daemon.request("GET", "/api/capture")).length, 1, "one capture for both");
  await page.until(
    async () => /captured[^]*captured/.test(await textOf(page, "table", "Selected nodes")),
    "the list says so",
  );

  const stop = talk();
  try {
    await page.click("button", "Show flows");
    const filter = await page.get("searchbox", "Filter flows");
    assert.equal(await filter.js("return this.value"), `${gremlin}.Flows()`);
    await page.until(
      async () => (await textOf(page, "table", "Flows")).match(/192\.0\.2\.1:/g)?.length >= 2,
      "flows of both nodes",
      30,
    );
  } finally {
    stop();
  }

  await page.click("button", "Path to…");
  await page.click("button", "Find path");
  await page.absent("dialog");
  assert.match(await textOf(page, "list", "Path"), /v-blue[^]*v-red/);
  await page.click("button", "Inject packets");
  const ends = [await page.get("textbox", /^From/), await page.get("textbox", /^To/)];
  const [from, to] = await Promise.all(ends.map((field) => field.js("return this.value")));
  assert.ok(from !== to && [from, to].every((query) => tids.some((tid) => query === `G.V().Has('TID', '${tid}')`)));
  await page.press("Escape");
  await page.absent("dialog");
  await page.click("button", "Stop capture");
  await page.absent("treeitem", /captured/);
  await page.click("button", "Select only the first");
  await page.get("heading", "v-blue");
});
