// Details of nodes that this host does not have: sockets, OpenFlow rules, alerts, hostile metadata.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { connected, downloads, item, pageTest, selectNode, textOf } from "./fixture.mjs";

/** Adds a node, optionally owned by another one. */
async function addNode(daemon, id, type, metadata, owner = undefined) {
  await daemon.request("POST", "/api/node", {
    ID: id,
    Host: "far",
    Metadata: { Name: id, Type: type, TID: id, ...metadata },
  });
  if (owner) {
    await daemon.request("POST", "/api/edge", {
      ID: `${owner}-${id}`,
      Parent: owner,
      Child: id,
      Host: "far",
      Metadata: { RelationType: "ownership" },
    });
  }
}

pageTest("a host lists sockets with processes, a namespace those of its addresses", async ({ page, daemon }) => {
  const socket = (address, port, name) => ({
    Process: `/usr/sbin/${name}`,
    Pid: 812,
    Name: name,
    LocalAddress: address,
    LocalPort: port,
    RemoteAddress: "203.0.113.9",
    RemotePort: 50112,
    Protocol: "TCP",
    State: "ESTABLISHED",
  });
  const Sockets = [socket("192.0.2.7", 443, "nginx"), socket("192.0.2.8", 53, "unbound")];
  await addNode(daemon, "far-host", "host", { Sockets });
  await addNode(daemon, "far-ns", "netns", { Path: "/run/netns/far" }, "far-host");
  await addNode(daemon, "far-eth", "veth", { IPV4: ["192.0.2.7/24"] }, "far-ns");
  await selectNode(page, "far-host");
  await page.click("tab", "Sockets");
  assert.match(await textOf(page, "table", "Sockets"), /nginx\s+812\s+TCP\s+192\.0\.2\.7:443[^]*unbound/);
  await selectNode(page, "far-ns");
  await page.click("tab", "Sockets");
  const text = await textOf(page, "table", "Sockets");
  assert.match(text, /nginx/);
  assert.doesNotMatch(text, /unbound/);
  await page.click("button", "Flows of 192.0.2.7:443");
  await page.get("region", "Flows");
  assert.equal(
    await (await page.get("searchbox", "Filter flows")).js("return this.value"),
    "192.0.2.7:443 203.0.113.9:50112",
  );
});

pageTest("a bridge lists OpenFlow rules by table and priority, with counters", async ({ page, daemon, browser }) => {
  await addNode(daemon, "ovs0", "ovsbridge", {});
  const rule = (id, Table, Priority, more) =>
    addNode(daemon, id, "ofrule", { Table, Priority, Filters: [], Actions: [], ...more }, "ovs0");
  await rule("r1", 0, 10, {
    Filters: [
      { Key: "in_port", Value: "1" },
      { Key: "nw_dst", Value: "10.0.0.0", Mask: "255.0.0.0" },
    ],
    Actions: [{ Function: "output", Arguments: [{ Function: "2" }] }],
  });
  await rule("r2", 0, 100, { Actions: [{ Type: "drop" }], Metric: { RxPackets: 7, RxBytes: 700 } });
  await rule("r3", 1, 1, { GotoTable: 2 });
  const files = await downloads(page, browser);
  try {
    await selectNode(page, "ovs0");
    await page.click("tab", "Rules");
    const first = await textOf(page, "table", "Rules of table 0");
    assert.match(
      first,
      /100\s+any\s+drop\s+7\s+700 B[^]*10\s+in_port=1,nw_dst=10\.0\.0\.0\/255\.0\.0\.0\s+output\(2\)/,
    );
    assert.match(await textOf(page, "table", "Rules of table 1"), /goto_table\(2\)/);
    await page.click("button", "Save Rules of table 0 as CSV");
    await files.next(/rules-of-table-0\.csv$/);
  } finally {
    files.remove();
  }
});

const LONG = "x".repeat(10_000);
const HOSTILE = [
  ["script", "<script>window.hacked = 1</script>"],
  ["long", LONG],
  ["hebrew", "שלום \u202eevil"],
  ["emoji", "🦀👩‍👩‍👧 name"],
  ["ansi", "\u001b[31mred\u001b[0m\u0007"],
  ["proto", "__proto__"],
];

pageTest("hostile names are text, cut, and visible", async ({ page, daemon }) => {
  for (const [id, text] of HOSTILE) {
    await addNode(daemon, id, "device", {
      Name: text,
      State: text,
      MAC: text,
      IPV4: [text, 7, null],
      [text.slice(0, 50)]: { constructor: { prototype: { polluted: 1 } }, deep: { a: { b: { c: text } } } },
      MTU: "not a number",
      Speed: { very: "wrong" },
      Neighbors: "no list",
    });
  }
  await item(page, "🦀👩‍👩‍👧 name");
  for (const [id] of HOSTILE) {
    await page.open(`${daemon.url}#select=${id}`);
    await page.get("complementary", "Details");
    for (const { name } of await page.all("tab")) {
      await (await page.all("tab", name))[0]?.click();
      await page.until(async () => (await page.all("tabpanel")).length === 1, "a section");
    }
    const widths = await page.js("[document.documentElement.scrollWidth, innerWidth]");
    assert.ok(widths[0] <= widths[1], `${id} scrolls sideways: ${widths}`);
  }
  await page.click("button", "Changes");
  await page.until(async () => /<script>/.test(await textOf(page, "table", "Changes")), "hostile changes are text");
  const wide = await page.js("[document.documentElement.scrollWidth, innerWidth]");
  assert.ok(wide[0] <= wide[1], `changes scroll sideways: ${wide}`);
  assert.equal(await page.js("window.hacked"), undefined);
  assert.equal(await page.js("({}).polluted"), undefined);
  const title = await page.js("document.title");
  assert.ok(title.length < 200);
  const names = (await page.all("treeitem")).map(({ name }) => name);
  assert.ok(
    names.some((name) => name.includes("⟨RLO⟩evil")),
    "direction characters are visible",
  );
  assert.ok(
    names.some((name) => name.includes("␛[31mred")),
    "control characters are visible",
  );
  assert.ok(
    names.every((name) => name.length < 400),
    "long names are cut",
  );
});

pageTest("favorites are named, opened, exported, and imported", async ({ page, browser }) => {
  const files = await downloads(page, browser);
  try {
    await selectNode(page, "v-blue");
    await page.click("button", "Flows");
    await page.click("button", "Favorites");
    await (await page.get("textbox", "Name")).fill("blue port");
    await page.click("button", "Save this view");
    await page.absent("dialog");
    await page.press("Escape");
    await page.absent("complementary", "Details");
    await page.click("button", "Favorites");
    await page.click("button", "Export");
    const path = await files.next(/favorites\.json$/);
    await page.click("button", "Delete blue port");
    await page.absent("button", "blue port");
    await page.upload("Favorites file", path);
    await page.click("button", "blue port");
    await page.get("heading", "v-blue");
    await page.get("region", "Flows");
    await page.click("button", "Favorites");
    const wrong = join(files.folder, "wrong.json");
    writeFileSync(wrong, "{}");
    await page.upload("Favorites file", wrong);
    await page.until(
      async () => /has no favorites/.test(await textOf(page, "status", "Import")),
      "the file is refused",
    );
  } finally {
    files.remove();
  }
});

pageTest(
  "the settings of the daemon's configuration are applied",
  async ({ page, daemon }) => {
    await connected(page, "Live");
    await page.until(() => page.js("document.documentElement.dataset.theme === 'dark'"), "the theme");
    await page.until(
      async () => /^2 nodes/.test(await textOf(page, "region", "Query result")),
      "the highlight is a query",
    );
    await page.absent("treeitem", /^br0/);
    await item(page, "blue");
    await page.click("button", "Show all nodes");
    await item(page, "br0");
    await page.click("button", "Clear query");
    await page.click("button", "Favorites");
    await page.click("button", "all bridges");
    await page.until(async () => /1 node[^]*br0/.test(await textOf(page, "region", "Query result")), "the query runs");
    await selectNode(page, "v-blue");
    await page.click("button", "Start capture");
    const filters = "[...document.querySelectorAll('datalist option')].map((option) => option.value)";
    assert.deepEqual(await page.js(filters), ["udp port 53"]);
    await page.open("about:blank");
    await page.open(`${daemon.url}#query=G.V().Count()`);
    await item(page, "br0");
    assert.equal((await page.all("button", "Show all nodes")).length, 0, "an address with a query has no default");
  },
  {
    settings: [
      "ui.theme=dark",
      "ui.topology.favorites={all bridges: \"G.V().Has('Type', 'bridge')\", spaces: \"G.V().Has('Type', 'netns')\"}",
      "ui.topology.default_filter=spaces",
      "ui.topology.default_highlight=spaces",
      "ui.bpf.favorites={dns: udp port 53}",
    ],
  },
);
