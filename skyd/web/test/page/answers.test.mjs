// Questions by a click: who talks to whom, what changed, where a packet goes; and what the daemon notes about
// its answers.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { shell, talk } from "./daemon.mjs";
import { connected, downloads, item, pageTest, selectNode, textOf } from "./fixture.mjs";

pageTest("flows are grouped by what they have in common, and a group shows its flows", async ({ page, daemon }) => {
  const Names = "Within('v-blue', 'v-red')";
  await daemon.request("POST", "/api/capture", { GremlinQuery: `G.V().Has('Name', ${Names})` });
  await item(page, "v-red", "captured");
  const stops = [talk(9999), talk(7777, 50)];
  try {
    await page.click("button", "Flows");
    const choose = async (name, value) =>
      (await page.get("combobox", name)).js(
        "this.value = args[0]; this.dispatchEvent(new Event('change', { bubbles: true }))",
        value,
      );
    const shows = (pattern) =>
      page.until(async () => pattern.test(await textOf(page, "table", "Flow groups")), `groups show ${pattern}`);
    await choose("Group flows by", "pairs");
    await shows(/192\.0\.2\.1\s+192\.0\.2\.2\s[^\n]*kB\s+[\d.]+ kB\/s\s+\d+\s+2\s/);
    assert.ok((await page.js("location.hash.includes('group=pairs')")) || (await sleep(600), true));
    await choose("Group flows by", "ports");
    await shows(/9999[^]*7777/);
    await page.click("button", "Packets");
    await choose("Counted period", "600");
    await shows(/9999/);
    await choose("Group flows by", "interfaces");
    await shows(/v-red/);
    await choose("Group flows by", "addresses");
    await page.click("button", "192.0.2.1");
    await page.get("table", "Flows");
    assert.equal(await (await page.get("searchbox", "Filter flows")).js("return this.value"), "192.0.2.1");
    await page.until(async () => /:9999/.test(await textOf(page, "table", "Flows")), "the flows of the group");
  } finally {
    stops.forEach((stop) => stop());
  }
});

pageTest("what changed is listed with old and new values, of a node too", async ({ page, browser }) => {
  const files = await downloads(page, browser);
  await page.click("button", "Changes");
  shell("ip link add new0 type bridge; ip link set br0 mtu 1400");
  const shows = (pattern) =>
    page.until(async () => pattern.test(await textOf(page, "table", "Changes")), `changes show ${pattern}`);
  try {
    await shows(/added\s+new0\s+bridge/);
    await shows(/changed\s+br0\s+bridge\s+MTU\s+1500 → 1400/);
    await selectNode(page, "v-blue");
    await page.click("button", "Changes");
    await page.absent("region", "Changes");
    await (await page.get("application", "Topology graph")).focus();
    await page.press("m");
    await page.click("menuitem", "Show changes");
    await page.get("region", "Changes");
    assert.equal(await (await page.get("searchbox", "Filter changes")).js("return this.value"), "v-blue");
    await page.until(async () => !/new0/.test(await textOf(page, "table", "Changes")), "only those of the node");
    await page.click("button", "Save CSV");
    await files.next(/^changes\.csv$/);
  } finally {
    shell("ip link del new0; ip link set br0 mtu 1500");
    files.remove();
  }
});

pageTest("two times are compared by nodes, links, and keys", async ({ page }) => {
  await item(page, "br0");
  await sleep(1500);
  const first = Date.now() - 300;
  shell("ip link set br0 mtu 1400; ip link add between0 type bridge");
  await item(page, "between0");
  await sleep(1500);
  const second = Date.now() - 300;
  shell("ip link set br0 mtu 1450; ip link del between0");
  try {
    await page.absent("treeitem", /^between0/);
    await (await page.get("textbox", "Go to time")).fill(String(first));
    await page.press("Enter");
    await connected(page, /^Past: /);
    await page.click("button", "Compare with now");
    const text = async () => (await textOf(page, "region", "Comparison")).replace(/\s+/g, " ");
    await page.until(async () => /~ changed br0 bridge [^~]*MTU: 1500 → 1450/.test(await text()), "the present");
    assert.doesNotMatch(await text(), /between0/);
    await (await page.get("textbox", "Compare with time")).fill(String(second));
    await page.press("Enter");
    await page.until(async () => /\+ added between0/.test(await text()), "the time between");
    assert.match(await text(), /MTU: 1500 → 1400/);
  } finally {
    shell("ip link set br0 mtu 1500; ip link del between0 2>/dev/null || true");
  }
});

pageTest("the way of a packet is followed by routes, or its end is explained", async ({ page }) => {
  const find = async (target) => {
    await selectNode(page, "blue");
    await page.click("button", "Path to…");
    await (await page.get("textbox", /^Destination/)).fill(target);
    await page.click("button", "Find path");
    await page.absent("dialog");
  };
  await find("192.0.2.2");
  await page.until(async () => /^Reached: MTU 1500/.test(await textOf(page, "status", "Path state")), "it is reached");
  const list = await textOf(page, "list", "Path");
  assert.match(list, /eth0 on [^]*v-blue on [^]*br0 on [^]*v-red on [^]*eth0 on /);
  await page.click("button", "Close path");
  await find("198.51.100.9");
  await page.until(async () => /^Not reached: .+/.test(await textOf(page, "status", "Path state")), "why not");
});

pageTest("the daemon's notes about an answer are shown", async ({ page }) => {
  const ask = async (text) => {
    await (await page.get("combobox", "Search or Gremlin")).fill(text);
    await page.press("Enter");
  };
  await ask("G.V().Has('Nmae', 'br0')");
  await page.until(async () => /Nmae/.test(await textOf(page, "note")), "the unknown key");
  await ask("G.V().Has('Name', 'br0')");
  await page.absent("note");
  await (await page.get("textbox", "Go to time")).fill("-20d");
  await page.press("Enter");
  await page.until(
    async () => /The history begins at \d{4}-/.test(await textOf(page, "status", "Time note")),
    "how far the history reaches",
  );
});

pageTest("the slider shows when something changed", async ({ page }) => {
  await sleep(2500);
  await (await page.get("slider", "Time")).focus();
  const [image] = await page.until(async () => {
    const found = await page.all("image", /^\d+ changes in the history$/);
    return found.length > 0 && found;
  }, "marks on the slider");
  assert.ok(Number.parseInt(image.name, 10) > 5);
});

pageTest("a box is moved, stays there after a reload, and moves back", async ({ page, daemon }) => {
  await selectNode(page, "br0");
  const stored = () => page.js("JSON.parse(localStorage.getItem('skyd.offsets') ?? '[]')");
  await (await page.get("application", "Topology graph")).focus();
  await page.press("ArrowRight", 8);
  await page.press("ArrowDown", 8);
  const [[, dx, dy]] = await stored();
  assert.deepEqual([dx, dy], [20, 20]);
  await page.open(daemon.url);
  await item(page, "br0");
  await page.click("button", "Reset layout");
  await page.absent("button", "Reset layout");
  assert.deepEqual(await stored(), []);

  // A drag with Shift moves the host; one without pans.
  const { x, y } = await page.js(
    "(({ left, top, width, height }) => ({ x: left + width / 2, y: top + height / 2 }))(document.querySelector('.graph canvas').getBoundingClientRect())",
  );
  const drag = async (modifiers) => {
    const event = { button: "left", buttons: 1, clickCount: 1, modifiers };
    await page.call("Input.dispatchMouseEvent", { ...event, type: "mousePressed", x, y });
    await page.call("Input.dispatchMouseEvent", { ...event, type: "mouseMoved", x: x + 30, y: y + 10 });
    await page.call("Input.dispatchMouseEvent", { ...event, type: "mouseReleased", x: x + 30, y: y + 10 });
  };
  await drag(0);
  assert.deepEqual(await stored(), []);
  await drag(8);
  assert.equal((await stored()).length, 1);
});
