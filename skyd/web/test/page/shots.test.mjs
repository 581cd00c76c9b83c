// Pictures of the page for people to look at, and the picture of the README (`scripts/page-picture`).
// Runs only if SHOTS names a folder.

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { shell, talk } from "./daemon.mjs";
import { connected, item, pageTest, selectNode } from "./fixture.mjs";
import { publish } from "./publisher.mjs";

const folder = process.env.SHOTS;
const CTRL = 2;
const SIZES = [
  [1440, 900],
  [390, 844],
];

/** Adds namespaces on the bridge, named like services. */
function addServices(names) {
  for (const name of names) {
    shell(
      `ip netns add ${name}; ip link add v-${name} type veth peer name eth0 netns ${name}; ip link set v-${name} master br0 up; ip -n ${name} link set eth0 up; ip -n ${name} link set lo up`,
    );
  }
  return () => names.forEach((name) => shell(`ip netns del ${name}`));
}

async function capture(page, daemon) {
  await daemon.request("POST", "/api/capture", {
    GremlinQuery: "G.V().Has('Name', Regex('v-.*'))",
    RawPacketLimit: 2,
    Name: "all ports",
  });
  await item(page, "v-blue", "captured");
}

/** Creates an alert that fires, a rule, and injections. */
async function automate(daemon) {
  await daemon.request("POST", "/api/alert", { Name: "bridge seen", Expression: "G.V().Has('Type', 'bridge')" });
  await daemon.request("POST", "/api/noderule", {
    Name: "site",
    Action: "update",
    Query: "G.V().Has('Type', 'bridge')",
    Metadata: { Site: "Berlin" },
  });
  const injection = {
    Src: "G.V().Has('IPV4', '192.0.2.1')",
    DstIP: "192.0.2.2",
    DstMAC: "02:00:00:00:00:09",
    Type: "icmp4",
  };
  await daemon.request("POST", "/api/injectpacket", { ...injection, Count: 400, Interval: 100 });
}

/** Views of a small network, in the order in which a user would see them. */
async function networkViews({ page, daemon }, save) {
  const remove = addServices(["web"]);
  await item(page, "v-web");
  await sleep(1000);
  await save("first");
  await capture(page, daemon);
  const stop = talk();
  await automate(daemon);
  for (const panel of ["Flows", "Captures", "Injections", "Alerts", "Rules", "Workflows", "Changes", "Health"]) {
    await page.click("button", new RegExp(`^${panel}`));
    await sleep(panel === "Flows" ? 5000 : 800);
    await save(panel.toLowerCase());
  }
  await page.click("button", "Flows");
  const grouping = await page.get("combobox", "Group flows by");
  await grouping.js("this.value = 'pairs'; this.dispatchEvent(new Event('change', { bubbles: true }))");
  await sleep(2000);
  await save("groups");
  await page.click("button", "Flows");
  await selectNode(page, "blue");
  await page.click("button", "Path to…");
  await (await page.get("textbox", /^Destination/)).fill("192.0.2.2");
  await page.click("button", "Find path");
  await page.get("status", "Path state");
  await page.press("Escape");
  await save("path");
  await page.click("button", "Close path");
  await (await page.get("textbox", "Go to time")).fill("-5s");
  await page.press("Enter");
  await connected(page, /^Past/);
  await page.click("button", "Compare with now");
  await page.get("region", "Comparison");
  await save("past");
  await page.click("button", "Live");
  await connected(page, "Live");
  await selectNode(page, "v-blue");
  await page.click("tab", "Metrics");
  await sleep(1500);
  await save("metrics");
  // On a narrow screen, the details are above the tree.
  if (await page.js("innerWidth > 900")) {
    for (const name of ["v-red", "br0", "v-web"]) {
      await (await item(page, name)).click("left", CTRL);
    }
    await page.get("heading", "4 nodes");
    await save("several");
    await page.press("Escape");
  }
  await page.press("Escape");
  await selectNode(page, "v-blue");
  await page.click("button", "Start capture");
  await page.get("dialog");
  await save("dialog");
  await page.press("Escape");
  await (await page.get("application", "Topology graph")).focus();
  await page.press("m");
  await page.get("menu");
  await save("menu");
  await page.press("Escape");
  await (await page.get("combobox", "Search or Gremlin")).fill("G.V().HasKye('Name')");
  await page.press("Enter");
  await page.get("alert");
  await save("error");
  stop();
  remove();
  await daemon.kill();
  await connected(page, "Reconnecting");
  await save("lost");
}

/** Views of a published graph: closed, with an open host, and with everything open. */
async function graphViews({ page, daemon, browser }, hosts, save) {
  const { publisher } = await publish(page, browser, daemon, hosts);
  await publisher.open("about:blank").catch(() => {});
  await page.open(daemon.url);
  await page.until(async () => (await page.all("treeitem", /^host-/)).length > 0, "hosts", 30);
  await sleep(2500);
  await save("closed");
  await (await page.get("combobox", "Search or Gremlin")).fill("10.0.1.7/");
  await page.press("Enter");
  await page.get("heading", "eth0");
  await page.press("Escape");
  await sleep(1500);
  await save("host");
  await page.press("Escape");
  await page.click("button", "Expand all");
  await page.click("button", "Show everything");
  await sleep(3000);
  await save("open");
}

if (folder) {
  const only = new RegExp(process.env.VIEWS ?? "");
  const AUTH = ["analyzer.auth.api.backend=mine", "auth.mine.type=basic", "auth.mine.users={ann: one}"];
  for (const dark of [false, true]) {
    for (const [width, height] of SIZES) {
      const suffix = `${width}-${dark ? "dark" : "light"}`;
      const pictures = (name, run, options = {}) => {
        const title = `pictures of ${name} at ${width} pixels, ${dark ? "dark" : "light"}`;
        const withSave = (context) =>
          run(context, (view) => context.page.screenshot(join(folder, `${name}-${view}-${suffix}.png`)));
        only.test(title) && pageTest(title, withSave, { dark, width, height, ...options });
      };
      pictures("network", networkViews);
      pictures("500", (context, save) => graphViews(context, 5, save));
      pictures("10000", (context, save) => graphViews(context, 100, save));
      pictures(
        "empty",
        async ({ page }, save) => {
          await connected(page, "Live");
          await save("first");
        },
        { role: "analyzer", isEmpty: true },
      );
      pictures(
        "login",
        async ({ page }, save) => {
          await page.get("form", "Log in");
          await save("form");
        },
        { settings: AUTH },
      );
    }
  }

  pageTest(
    "picture of the README",
    async ({ page, daemon }) => {
      const remove = addServices(["api", "cache", "db", "dns", "web"]);
      const stop = [talk(443, 900), talk(53, 80)];
      try {
        await item(page, "web", "");
        await capture(page, daemon);
        await page.click("button", "Flows");
        await selectNode(page, "v-blue");
        await page.click("tab", "Metrics");
        await page.click("button", "Show everything");
        await sleep(25_000);
        await page.screenshot(join(folder, "readme.png"));
      } finally {
        stop.forEach((end) => end());
        remove();
      }
    },
    { width: 1440, height: 900, settings: ["agent.topology.probes=[]"] },
  );
}
