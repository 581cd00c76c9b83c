// Pictures of the page for people to look at, and the picture of the README (`scripts/page-picture`).
// Runs only if SHOTS names a folder.

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { shell, talk } from "./daemon.mjs";
import { connected, item, pageTest, selectNode } from "./fixture.mjs";

const folder = process.env.SHOTS;
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

if (folder) {
  for (const dark of [false, true]) {
    for (const [width, height] of SIZES) {
      const name = (view) => join(folder, `${view}-${width}-${dark ? "dark" : "light"}.png`);
      pageTest(
        `pictures at ${width} pixels, ${dark ? "dark" : "light"}`,
        async ({ page, daemon }) => {
          await sleep(1000);
          await page.screenshot(name("first"));
          await capture(page, daemon);
          const stop = talk();
          for (const panel of ["Flows", "Captures", "Alerts", "Health"]) {
            await page.click("button", new RegExp(`^${panel}`));
            await sleep(panel === "Flows" ? 6000 : 500);
            await page.screenshot(name(panel.toLowerCase()));
          }
          await page.click("button", /^Health/);
          await selectNode(page, "v-blue");
          await page.click("tab", "Metrics");
          await sleep(2000);
          await page.screenshot(name("metrics"));
          await page.click("button", "Start capture");
          await page.get("dialog");
          await page.screenshot(name("dialog"));
          await page.press("Escape");
          await (await page.get("combobox", "Search or Gremlin").catch(() => undefined))?.fill("G.V().HasKye('Name')");
          await page.press("Enter");
          await page.get("alert");
          await page.screenshot(name("error"));
          stop();
          await daemon.kill();
          await connected(page, "Reconnecting");
          await page.screenshot(name("lost"));
        },
        { dark, width, height },
      );
      pageTest(
        `picture of the login at ${width} pixels, ${dark ? "dark" : "light"}`,
        async ({ page }) => {
          await page.get("form", "Log in");
          await page.screenshot(name("login"));
        },
        {
          dark,
          width,
          height,
          settings: ["analyzer.auth.api.backend=mine", "auth.mine.type=basic", "auth.mine.users={ann: one}"],
        },
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
        await sleep(25_000);
        await page.screenshot(join(folder, "readme.png"));
      } finally {
        stop.forEach((end) => end());
        remove();
      }
    },
    { width: 1440, height: 900 },
  );
}
