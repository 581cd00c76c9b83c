// What the daemon executes, as the page shows it: alerts, rules, workflows, injections, captures, agents.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { shell } from "./daemon.mjs";
import { connected, downloads, item, pageTest, selectNode, textOf } from "./fixture.mjs";

/** Waits until a table matches a pattern. */
function shows(page, name, pattern, seconds = 20) {
  return page.until(async () => pattern.test(await textOf(page, "table", name)), `${name} shows ${pattern}`, seconds);
}

pageTest("alerts that fire are announced, listed, and counted on their nodes", async ({ page, daemon }) => {
  await connected(page, "Live");
  await page.click("button", "Alerts");
  const Expression = "G.V().Has('Name', 'v-blue', 'State', 'DOWN')";
  await daemon.request("POST", "/api/alert", { Name: "port is down", Expression });
  shell("ip -n blue link set eth0 down; ip link set v-blue down");
  try {
    await item(page, "v-blue", "1 alert");
    await shows(page, "Reported alerts", /port is down[^]*v-blue/);
    await page.until(async () => /Alert: port is down/.test(await textOf(page, "log", "Notices")), "a notice", 8);
  } finally {
    shell("ip link set v-blue up; ip -n blue link set eth0 up");
  }
});

pageTest("rules that the daemon executes change the graph until they are deleted", async ({ page }) => {
  await page.click("button", "Rules");
  await page.click("button", "New node rule");
  await (await page.get("textbox", "Name")).fill("uplink");
  await (await page.get("textbox", /^Metadata/)).fill('{"Name": "internet", "Type": "fabric"}');
  await page.click("button", "Create");
  await page.absent("dialog");
  await item(page, "internet");
  await page.click("button", "New edge rule");
  await (await page.get("textbox", "Name")).fill("cable");
  await (await page.get("textbox", /^Source/)).fill("G.V().Has('Name', 'internet')");
  await (await page.get("textbox", /^Destination/)).fill("G.V().Has('Name', 'br0')");
  await page.click("button", "Create");
  await page.absent("dialog");
  await shows(page, "Edge rules", /1\s*→\s*1/);
  await selectNode(page, "internet");
  await page.click("tab", "Links");
  await shows(page, "Links", /br0/);
  await page.click("button", "Delete cable");
  await page.until(async () => (await page.all("table", "Links")).length === 0, "the link is removed");
  await page.click("button", "Delete uplink");
  await page.absent("treeitem", /^internet/);
});

pageTest("a workflow runs, can be canceled, and shows what it returned", async ({ page, daemon, browser }) => {
  const files = await downloads(page, browser);
  await daemon.request("POST", "/api/workflow", {
    Name: "Wait",
    Source: "function(ms, node) { sleep(ms); return {Waited: ms, Node: node} }",
    Parameters: [
      { Name: "Time", Description: "milliseconds", Type: "integer", Default: 60000 },
      { Name: "Where", Description: "", Type: "node" },
    ],
  });
  try {
    await selectNode(page, "v-blue");
    await page.click("button", "Workflows");
    await choose(page, "Wait");
    await page.click("button", "Use the selected node as Where");
    await page.click("button", "Run");
    assert.match(await textOf(page, "status", "Workflow progress"), /^Running for/);
    await page.click("button", "Captures");
    await page.click("button", "Workflows");
    await choose(page, "Wait");
    await page.get("status", "Workflow progress");
    await page.click("button", "Cancel");
    assert.equal(await textOf(page, "alert"), "Canceled.");
    await page.until(async () => {
      const { Automation } = await daemon.request("GET", "/api/status");
      return Automation.WorkflowsRunning === 0;
    }, "the daemon has ended the call");

    await (await page.get("spinbutton", "Time")).fill("10");
    await page.click("button", "Use the selected node as Where");
    await page.click("button", "Run");
    const [tid] = await daemon.query("G.V().Has('Name', 'v-blue').Values('TID')");
    await page.until(async () => {
      const text = await textOf(page, "region", "Workflow result");
      return text.includes('"Waited": 10') && text.includes(`"Node": "${tid}"`);
    }, "what it returned");
    await page.click("button", "Save");
    await files.next(/^Wait\.json$/);
    await choose(page, "CheckConnectivity");
    for (const [address, parameter] of [
      ["192.0.2.1/", "source"],
      ["192.0.2.2/", "destination"],
    ]) {
      await (await page.get("combobox", "Search or Gremlin")).fill(address);
      await page.get("listbox", "Search results");
      await page.press("Enter");
      await page.get("heading", "eth0");
      await page.click("button", `Use the selected node as ${parameter}`);
    }
    await page.click("button", "Run");
    await page.until(
      async () => /"Connectivity": true/.test(await textOf(page, "region", "Workflow result")),
      "the pings arrive",
      40,
    );
  } finally {
    files.remove();
  }
});

/** Chooses a workflow by its title, or by a part of it. */
async function choose(page, title) {
  const field = await page.get("combobox", "Workflow");
  await page.until(
    () =>
      field.js(
        "const o = [...this.options].find((o) => o.text.replaceAll(' ', '').toLowerCase().includes(args[0].toLowerCase())); if (o) { this.value = o.value; this.dispatchEvent(new Event('change', { bubbles: true })); } return Boolean(o)",
        title,
      ),
    `the workflow ${title}`,
  );
}

pageTest("injections show what they send, that they are finished, and why they failed", async ({ page, daemon }) => {
  await page.click("button", "Injections");
  await daemon.request("POST", "/api/injectpacket", {
    Src: "G.V().Has('IPV4', '192.0.2.1')",
    DstIP: "192.0.2.2",
    DstMAC: "02:00:00:00:00:09",
    Type: "icmp4",
    Count: 60,
    Interval: 100,
  });
  await shows(page, "Injections", /sending: \d+ on eth0 of 60 packets/);
  await shows(page, "Injections", /finished/, 30);
  shell("ip link add quiet0 type bridge; ip addr add 198.51.100.1/24 dev quiet0");
  try {
    await item(page, "quiet0");
    const sent = await daemon.request("POST", "/api/injectpacket", {
      Src: "G.V().Has('Name', 'quiet0')",
      DstIP: "198.51.100.2",
      DstMAC: "02:00:00:00:00:09",
      Type: "udp4",
      Count: 3,
    });
    assert.ok(sent.UUID);
    await shows(page, "Injections", /udp4[^]*failed: /);
  } finally {
    shell("ip link del quiet0");
  }
});

pageTest("captures show their nodes, or why they have none", async ({ page, daemon }) => {
  await page.click("button", "Captures");
  await daemon.request("POST", "/api/capture", { GremlinQuery: "G.V().Has('Name', 'nothing')", Name: "none" });
  await daemon.request("POST", "/api/capture", { GremlinQuery: "G.V().Has('Name', 'v-blue')", Name: "blue" });
  await shows(page, "Captures", /blue[^\n]*v-blue\s+\d+/);
  const problem = await page.until(async () => {
    const captures = Object.values(await daemon.request("GET", "/api/capture"));
    return captures.find(({ Name }) => Name === "none").Status.Problem;
  }, "the daemon explains the capture without nodes");
  await page.until(
    async () => (await textOf(page, "table", "Captures")).replace(/\s+/g, " ").includes(problem),
    "the explanation",
  );
});

pageTest(
  "health lists agents, and counts those that do not answer",
  async ({ page, daemon }) => {
    const agent = spawn(process.env.SKYD, ["agent", "--set", `analyzers=127.0.0.1:${daemon.port}`], {
      stdio: "ignore",
    });
    try {
      await item(page, "br0");
      await page.click("button", /^Health: /);
      await shows(page, "Agents", /127\.0\.0\.1:\d+\s+connected/, 30);
    } finally {
      agent.kill("SIGKILL");
    }
  },
  { role: "analyzer", isEmpty: true },
);
