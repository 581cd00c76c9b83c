// Login, keyboard, accessibility, narrow windows, and what other sites may do.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connected, item, pageTest, selectNode, textOf } from "./fixture.mjs";

const AUTH = [
  "analyzer.auth.api.backend=mine",
  "auth.mine.type=basic",
  "auth.mine.users={ann: one}",
  "auth.mine.role=admin",
];
const SHIFT = 8;

pageTest(
  "a wrong password is refused, the right one shows the page, and a logout hides it",
  async ({ page }) => {
    await page.get("form", "Log in");
    const enter = async (password) => {
      await (await page.get("textbox", "User")).fill("ann");
      await (await page.get("textbox", "Password")).fill(password);
      await page.click("button", "Log in");
    };
    await enter("two");
    assert.equal(await textOf(page, "alert"), "Wrong user or password");
    await enter("one");
    await connected(page, "Live");
    const stored = await page.js("JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + location.href");
    assert.ok(!/one|token/i.test(stored.replace(page.context, "")), stored);
    await page.click("button", "Log out");
    await page.get("form", "Log in");
    await page.absent("treeitem");
  },
  { settings: AUTH },
);

pageTest("the keyboard reaches every area and every action", async ({ page }) => {
  await page.press("/");
  assert.equal(await page.js("document.activeElement.getAttribute('aria-label')"), "Search or Gremlin");
  const visited = [];
  for (let step = 0; step < 5; step += 1) {
    await page.press("F6");
    visited.push(await page.js("document.activeElement.closest('nav, .tree-panel, .graph, .time, header')?.className"));
  }
  assert.equal(new Set(visited).size, 5, visited.join());

  const tree = await item(page, "br0");
  await tree.focus();
  await page.press("Enter");
  await page.get("heading", "br0");
  const focused = () => page.js("document.activeElement.getAttribute('aria-label') ?? ''");
  await page.press("Home");
  await page.until(async () => /, host$/.test(await focused()), "the focus is on the host");
  await page.press("b");
  await page.until(async () => /^br0/.test(await focused()), "the focus is on br0");

  await (await page.get("application", "Topology graph")).focus();
  await page.press("c");
  await page.get("dialog", "Start capture");
  await page.press("Escape");
  await page.absent("dialog");
  assert.equal(await page.js("document.activeElement.getAttribute('role')"), "application", "the focus returns");
  await page.press("?", SHIFT);
  await page.get("dialog", "Keys");
  await page.press("Escape");
  await page.press("Escape");
  await page.absent("complementary", "Details");
});

pageTest("arrow keys on the graph go to neighbors and name them", async ({ page }) => {
  await selectNode(page, "br0");
  const graph = await page.get("application", "Topology graph");
  await graph.focus();
  await page.press("ArrowDown");
  await page.get("heading", "v-blue");
  await page.press("ArrowDown");
  await page.get("heading", "eth0");
  await page.press("ArrowUp");
  await page.get("heading", "v-blue");
  assert.match(await page.js("document.getElementById('graph-selected').textContent"), /^v-blue, veth, up/);
});

pageTest("health counts problems and lists losses and probes", async ({ page }) => {
  await page.click("button", /^Health: /);
  assert.match(await textOf(page, "table", "Losses"), /Flows dropped\s+\d/);
  assert.match(await textOf(page, "table", "Probes"), /netlink\s+running/);
  assert.match(await textOf(page, "region", "Health"), /Topology: back to \d{4}-/);
});

/** Returns the value at a dotted path. */
const at = (value, path) => path.split(".").reduce((inner, key) => inner?.[key], value);

pageTest("each counter of losses is in the status of the daemon", async ({ daemon }) => {
  const status = await daemon.request("GET", "/api/status");
  const source = readFileSync(new URL("../../src/state/losses.ts", import.meta.url), "utf8");
  const paths = [...source.matchAll(/"([A-Z][A-Za-z]*\.[A-Za-z.]+)"/g)].map(([, path]) => path);
  assert.ok(paths.length > 25, paths.join());
  // Only with flows over UDP.
  const optional = ["FlowIngestion.DroppedByKernel"];
  const missing = paths.filter((path) => !optional.includes(path) && typeof at(status, path) !== "number");
  assert.deepEqual(missing, []);
});

const AXE = readFileSync(new URL("../../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const RUN =
  "axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }).then((r) => r.violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => `${n.target} ${n.failureSummary}`).join(' | ')}`))";

for (const dark of [false, true]) {
  pageTest(
    `no view violates WCAG 2.2 AA (${dark ? "dark" : "light"})`,
    async ({ page, daemon }) => {
      await page.js(AXE);
      const check = async (view) => assert.deepEqual(await page.js(RUN), [], view);
      await check("first view");
      await daemon.request("POST", "/api/capture", { GremlinQuery: "G.V().Has('Name', 'v-blue')", Name: "blue" });
      await daemon.request("POST", "/api/capture", { GremlinQuery: "G.V().Has('Name', 'nothing')", Name: "none" });
      await item(page, "v-blue", "captured");
      for (const name of ["Captures", "Injections", "Alerts", "Rules", "Workflows", "Changes", /^Health/, "Flows"]) {
        await page.click("button", name);
        await page.get("region", name instanceof RegExp ? "Health" : name);
        name === "Workflows" && (await page.get("combobox", "Workflow"));
        await check(`panel ${name}`);
      }
      const grouping = await page.get("combobox", "Group flows by");
      await grouping.js("this.value = 'pairs'; this.dispatchEvent(new Event('change', { bubbles: true }))");
      await page.get("table", "Flow groups");
      await check("groups of flows");
      await selectNode(page, "blue");
      await page.click("button", "Path to…");
      await (await page.get("textbox", /^Destination/)).fill("192.0.2.2");
      await page.click("button", "Find path");
      await page.get("status", "Path state");
      await check("path");
      await (await page.get("textbox", "Go to time")).fill("-1s");
      await page.press("Enter");
      await connected(page, /^Past/);
      await page.click("button", "Compare with now");
      await page.get("region", "Comparison");
      await check("comparison in the past");
      await page.click("button", "Live");
      await connected(page, "Live");
      await selectNode(page, "v-blue");
      for (const { name } of await page.all("tab")) {
        await page.click("tab", name);
        await check(`section ${name}`);
      }
      await (await item(page, "v-red")).click("left", 2);
      await page.get("heading", "2 nodes");
      await check("several nodes");
      await page.click("button", "Start capture");
      await check("dialog");
      await page.press("Escape");
      await (await page.get("combobox", "Search or Gremlin")).fill("eth");
      await page.get("listbox", "Search results");
      await check("search results");
      await (await page.get("combobox", "Search or Gremlin")).fill("G.V().HasKye()");
      await page.press("Enter");
      await page.get("alert");
      await check("wrong query");
      await page.press("Escape");
      await (await page.get("application", "Topology graph")).focus();
      await page.press("m");
      await page.get("menu");
      await check("menu");
      await page.press("Escape");
      for (const name of ["Favorites", "Keys"]) {
        await page.click("button", name);
        await page.get("dialog", name);
        await check(`dialog ${name}`);
        await page.press("Escape");
      }
      await daemon.kill();
      await connected(page, "Reconnecting");
      await check("lost");
    },
    { dark },
  );
}

for (const dark of [false, true]) {
  pageTest(
    `the login does not violate WCAG 2.2 AA (${dark ? "dark" : "light"})`,
    async ({ page }) => {
      await page.get("form", "Log in");
      await page.js(AXE);
      assert.deepEqual(await page.js(RUN), []);
    },
    { dark, settings: AUTH },
  );
}

pageTest(
  "the page fits 320 pixels",
  async ({ page }) => {
    const widths = await page.js("[document.documentElement.scrollWidth, innerWidth]");
    assert.ok(widths[0] <= widths[1], `scrolls sideways: ${widths}`);
    await selectNode(page, "br0");
    const after = await page.js("[document.documentElement.scrollWidth, innerWidth]");
    assert.ok(after[0] <= after[1], `scrolls sideways with details: ${after}`);
  },
  { width: 320, height: 640 },
);
