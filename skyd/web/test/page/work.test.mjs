// What users do with the page: captures, packets, injections, alerts, rules, paths.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { magicOf, shell, talk } from "./daemon.mjs";
import { downloads, item, pageTest, selectNode, textOf } from "./fixture.mjs";

pageTest("stored packets of a flow are saved as a capture file", async ({ page, daemon, browser }) => {
  const files = await downloads(page, browser);
  await daemon.request("POST", "/api/capture", { GremlinQuery: "G.V().Has('Name', 'v-blue')", RawPacketLimit: 5 });
  await item(page, "v-blue", "captured");
  const stop = talk();
  try {
    await page.click("button", "Flows");
    await page.until(
      async () => {
        const rows = await page.all("row");
        const texts = await Promise.all(rows.map((row) => row.text()));
        const row = rows[texts.findIndex((text) => text.includes(":9999"))];
        await row?.click();
        return row;
      },
      "a flow to port 9999",
      20,
    );
    await page.click("button", "Download packets");
    const path = await files.next(/\.pcap$/);
    assert.match(path, /\/192\.0\.2\.1-40999-192\.0\.2\.2-9999\.pcap$/);
    assert.ok(["d4c3b2a1", "a1b2c3d4", "4d3cb2a1", "a1b23c4d"].includes(magicOf(path)));
  } finally {
    stop();
    files.remove();
  }
});

pageTest("captures are listed, deleted, and restored", async ({ page, daemon }) => {
  await page.click("button", "Captures");
  await page.click("button", "New capture");
  await (await page.get("textbox", "Nodes")).fill("G.V().Has('Name', 'v-red')");
  await (await page.get("textbox", "Name")).fill("mine");
  await page.click("button", "Start");
  await page.absent("dialog");
  await item(page, "v-red", "captured");
  await page.click("button", "Delete capture mine");
  await page.absent("treeitem", /captured/);
  await page.click("button", "Undo");
  await item(page, "v-red", "captured");
  assert.equal(Object.keys(await daemon.request("GET", "/api/capture")).length, 1);
});

pageTest("an injection is created from a node", async ({ page, daemon }) => {
  await selectNode(page, "v-blue");
  await page.click("button", "Inject packets");
  await (await page.get("textbox", "Destination IP")).fill("not an address");
  await page.click("button", "Inject");
  await page.get("alert");
  const text = await textOf(page, "alert");
  assert.match(text, /Not a IP or CIDR address|DstIP/);
  await page.click("button", "Cancel");
  await page.absent("dialog");
  assert.deepEqual(await daemon.request("GET", "/api/injectpacket"), {});
});

pageTest("alerts are tried, created, edited, and deleted", async ({ page, daemon }) => {
  await page.click("button", "Alerts");
  await page.click("button", "New alert");
  await (await page.get("textbox", "Name")).fill("down");
  await (await page.get("textbox", /^Expression/)).fill("G.V().Has('Type', 'netns')");
  await page.click("button", "Try as Gremlin");
  await page.until(
    async () => /2 results now/.test(await textOf(page, "status", "Trial")),
    "the trial finds two namespaces",
  );
  await page.click("button", "Create");
  await page.absent("dialog");
  await page.click("button", "Edit down");
  await (await page.get("textbox", "Description")).fill("changed");
  await page.click("button", "Save");
  await page.absent("dialog");
  const [alert] = Object.values(await daemon.request("GET", "/api/alert"));
  assert.deepEqual([alert.Name, alert.Description, alert.Trigger], ["down", "changed", "graph"]);
  await page.click("button", "Delete down");
  await page.until(
    async () => Object.keys(await daemon.request("GET", "/api/alert")).length === 0,
    "the alert is deleted",
  );
});

pageTest("rules show what they match now", async ({ page, daemon }) => {
  await page.click("button", "Rules");
  await page.click("button", "New edge rule");
  await (await page.get("textbox", "Name")).fill("uplink");
  await (await page.get("textbox", /^Source/)).fill("G.V().Has('Name', 'br0')");
  await (await page.get("textbox", /^Destination/)).fill("G.V().Has('Type', 'netns')");
  await page.click("button", "Create");
  await page.absent("dialog");
  await page.until(
    async () => /1\s*→\s*2/.test(await textOf(page, "table", "Edge rules")),
    "one bridge and two namespaces match",
  );
  assert.equal(Object.keys(await daemon.request("GET", "/api/edgerule")).length, 1);
  shell("ip netns add third");
  try {
    await page.until(
      async () => /1\s*→\s*3/.test(await textOf(page, "table", "Edge rules")),
      "the count follows the graph",
    );
  } finally {
    shell("ip netns del third");
  }
});

pageTest("rules are edited, and the graph follows", async ({ page, daemon }) => {
  const rule = { Name: "site", Action: "update", Query: "G.V().Has('Name', 'br0')", Metadata: { Site: "Berlin" } };
  await daemon.request("POST", "/api/noderule", rule);
  const sites = async () => {
    const nodes = await daemon.query("G.V().HasKey('Site')");
    return nodes
      .map(({ Metadata }) => `${Metadata.Name} ${Metadata.Site}`)
      .sort()
      .join();
  };
  await page.until(async () => (await sites()) === "br0 Berlin", "the bridge has a site");
  await page.click("button", "Rules");
  await page.click("button", "Edit site");
  const query = await page.get("textbox", /^Nodes/);
  assert.equal(await query.js("return this.value"), rule.Query);
  const metadata = await page.get("textbox", /^Metadata/);
  assert.deepEqual(JSON.parse(await metadata.js("return this.value")), rule.Metadata);
  await query.fill("G.V().Has('Name', Regex('v-.*'))");
  await metadata.fill('{"Site": "Paris"}');
  await page.click("button", "Save");
  await page.absent("dialog");
  await page.until(async () => (await sites()) === "v-blue Paris,v-red Paris", "others have another");
  await page.until(async () => /v-\.\*[^]*Paris[^]*2/.test(await textOf(page, "table", "Node rules")), "the row");

  const [Src, Dst] = ["G.V().Has('Name', 'br0')", "G.V().Has('Name', 'blue')"];
  await daemon.request("POST", "/api/edgerule", { Name: "tie", Src, Dst, Metadata: { RelationType: "mine" } });
  const ties = async () => (await daemon.query("G.E().Has('RelationType', 'mine')")).length;
  await page.until(async () => (await ties()) === 1, "an edge");
  await page.click("button", "Edit tie");
  await (await page.get("textbox", "Name")).fill("tied");
  await page.click("button", "Save");
  await page.absent("dialog");
  await page.get("button", "Edit tied");
  await page.absent("button", "Edit tie");
  await page.until(async () => (await ties()) === 1, "the edge of the rule with the new name");
});

pageTest("a workflow has a form of its parameters", async ({ page, daemon }) => {
  await daemon.request("POST", "/api/workflow", {
    Name: "mine",
    Title: "My workflow",
    Source: "function f(a, b) { return a }",
    Parameters: [
      { Name: "Rate", Description: "packets", Type: "integer", Default: 7 },
      { Name: "Deep", Description: "Deep", Type: "boolean" },
    ],
  });
  await page.click("button", "Workflows");
  await (
    await page.get("combobox", "Workflow")
  ).js(
    "const o = [...this.options].find((o) => o.text === 'My workflow'); this.value = o.value; this.dispatchEvent(new Event('change', { bubbles: true }))",
  );
  const rate = await page.get("spinbutton", "Rate");
  assert.equal(await rate.js("return this.value"), "7");
  await page.get("checkbox", "Deep");
  await page.get("button", "Run");
});

pageTest("the path between two nodes is listed and marked", async ({ page }) => {
  await selectNode(page, "v-blue");
  await page.click("button", "Path to…");
  await (await page.get("textbox", /^Destination/)).fill("nothing like this");
  await page.click("button", "Find path");
  await page.get("alert");
  await (await page.get("textbox", /^Destination/)).fill("v-red");
  await page.click("button", "Find path");
  await page.absent("dialog");
  const list = await page.get("list", "Path");
  assert.match(await list.text(), /v-blue[^]*v-red/);
});

pageTest("kinds of links and types of nodes can be hidden", async ({ page }) => {
  await (await page.get("DisclosureTriangle", "Legend").catch(() => page.get("button", "Legend"))).click();
  await page.click("checkbox", "layer2");
  await page.until(() => page.js("location.hash.includes('hide=layer2')"), "the address names what is hidden");
  assert.equal((await page.get("checkbox", "layer2 only on hover")).properties.disabled, true);
  await page.click("checkbox", "layer2");
  await page.click("checkbox", "layer2 only on hover");
  await page.until(() => page.js("location.hash === '#hover=layer2'"), "the address names what is shown on hover");
});

pageTest("the graph can be limited to a query, and follows its changes", async ({ page }) => {
  const field = await page.get("combobox", "Search or Gremlin");
  await field.fill("G.V().Has('Type', 'veth')");
  await page.press("Enter");
  await page.click("button", "Show only these");
  await page.until(
    async () => (await textOf(page, "status", "Graph size")) === "4 nodes, 2 links",
    "only the veth pairs",
  );
  shell("ip link add only0 type veth peer name only1");
  try {
    await item(page, "only0");
    assert.ok(await page.js("location.hash.includes('only=')"));
    await page.click("button", "Show all nodes");
    await item(page, "br0");
  } finally {
    shell("ip link del only0");
  }
  await page.click("button", "Clear query");
  await page.press("ArrowDown");
  await page.get("option", "G.V().Has('Type', 'veth')");
});

pageTest("queries are completed and explained", async ({ page }) => {
  const field = await page.get("combobox", "Search or Gremlin");
  await field.fill("G.V().Has('Type', 'brid");
  await page.get("option", "bridge");
  await page.press("ArrowDown");
  await page.press("Enter");
  assert.equal(await field.js("return this.value"), "G.V().Has('Type', 'bridge'");
  await page.call("Input.insertText", { text: ").Values('Name')" });
  await page.press("Enter");
  const region = await page.get("region", "Query result");
  await page.until(async () => /1 value[^]*br0/.test(await region.text()), "the name of the bridge");
  await page.click("button", "Explain");
  await page.until(async () => /index Type/.test(await textOf(page, "table", "Plan")), "the plan uses the index");
});

pageTest("a link has details of its own", async ({ page }) => {
  await selectNode(page, "br0");
  await page.click("tab", "Links");
  await page.until(async () => {
    const [link] = await page.all("button", "layer2");
    await link?.click();
    return link;
  }, "a link of the bridge");
  await page.get("heading", /^br0 – v-/);
  assert.match(await textOf(page, "table", "Metadata"), /RelationType\s+layer2/);
});

pageTest("packets of a capture file are injected", async ({ page, daemon, browser }) => {
  const files = await downloads(page, browser);
  try {
    // Header of a capture file in nanoseconds, and one empty packet.
    const bytes = Buffer.from(`d4c3b2a1020004000000000000000000ffff000001000000${"00".repeat(16)}`, "hex");
    const path = join(files.folder, "mine.pcap");
    writeFileSync(path, bytes);
    await selectNode(page, "v-blue");
    await page.click("button", "Inject packets");
    await page.upload("field-Pcap", path);
    await page.click("button", "Inject");
    await page.absent("dialog");
    const [injection] = Object.values(await daemon.request("GET", "/api/injectpacket"));
    assert.equal(injection.Pcap, bytes.toString("base64"));
    assert.equal(injection.Count, 0, "all packets of the file");
    await page.click("button", "Injections");
    assert.match(await textOf(page, "table", "Injections"), /capture file/);
  } finally {
    files.remove();
  }
});

pageTest("the columns of the flow table are chosen, and both directions of a flow are counted", async (context) => {
  const { page, daemon } = context;
  await daemon.request("POST", "/api/capture", { GremlinQuery: "G.V().Has('Name', 'v-blue')" });
  await item(page, "v-blue", "captured");
  const stop = talk();
  try {
    await page.click("button", "Flows");
    await page.until(async () => /:9999/.test(await textOf(page, "table", "Flows")), "a flow to port 9999", 20);
    assert.doesNotMatch(await textOf(page, "table", "Flows"), /Layers/);
    await page.click("DisclosureTriangle", "Columns");
    await page.click("checkbox", "Layers");
    await page.click("checkbox", "RTT");
    await page.until(async () => /Ethernet\/IPv4\/UDP/.test(await textOf(page, "table", "Flows")), "the layers");
    assert.doesNotMatch(await textOf(page, "table", "Flows"), /RTT/);
    await page.open(`${daemon.url}#panel=Flows`);
    await page.until(async () => /Layers/.test(await textOf(page, "table", "Flows")), "the choice is remembered");
    await page.click("button", /^192\.0\.2\.\d:\d+$/);
    const text = await textOf(page, "table", "Directions");
    assert.match(text, /192\.0\.2\.1:40999 → 192\.0\.2\.2:9999\s+[1-9]\d*/);
    assert.match(text, /192\.0\.2\.2:9999 → 192\.0\.2\.1:40999\s+[1-9]\d*/);
  } finally {
    stop();
  }
});

pageTest(
  "SPP captures are listed, started, and stopped",
  async ({ page }) => {
    await page.click("button", "SPP captures");
    await page.until(async () => /1\s+idle\s+phy:0/.test(await textOf(page, "table", "SPP captures")), "one process");
    await page.click("button", "Start SPP capture 1");
    await page.until(
      async () => /running[^]*\.pcap/.test(await textOf(page, "table", "SPP captures")),
      "the process writes a file",
    );
    const stop = talk();
    try {
      const row = /1\s+running\s+phy:0\s+[1-9]\d*\s+0\s/;
      await page.until(async () => row.test(await textOf(page, "table", "SPP captures")), "its packets are counted");
    } finally {
      stop();
    }
    await page.click("button", "Stop SPP capture 1");
    await page.until(async () => /idle/.test(await textOf(page, "table", "SPP captures")), "the process is idle");
  },
  {
    settings: [
      "spp.listen=127.0.0.1:0",
      "spp.ports={phy: [v-blue]}",
      "spp.pcaps=[{client_id: 1, port: 'phy:0', cores: [1, 2, 3], out_dir: /tmp}]",
    ],
  },
);
