// A server that refuses, is slow, cuts connections, or returns: what the page shows, and how often it asks.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { shell } from "./daemon.mjs";
import { connected, item, pageTest, selectNode, textOf } from "./fixture.mjs";
import { startProxy } from "./proxy.mjs";

/** Defines a test of a page behind a proxy. */
function proxyTest(name, run) {
  pageTest(name, async (context) => {
    const proxy = await startProxy(context.daemon);
    try {
      context.origins.push(proxy.url);
      await context.page.open(proxy.url);
      await connected(context.page, "Live");
      await run({ ...context, proxy });
    } finally {
      proxy.close();
    }
  });
}

proxyTest("without WebSockets, the page asks by requests and says so", async ({ page, proxy }) => {
  proxy.behavior.refusesSockets = true;
  proxy.cut();
  await page.until(
    async () => {
      const alerts = await page.all("alert");
      const texts = await Promise.all(alerts.map((alert) => alert.text()));
      return texts.some((text) => text.startsWith("The WebSocket cannot be opened"));
    },
    "the page says that the WebSocket is blocked",
    15,
  );
  await connected(page, "Live");
  shell("ip link add polled0 type bridge");
  try {
    await item(page, "polled0");
    await (await page.get("combobox", "Search or Gremlin")).fill("G.V().Has('Name', 'polled0').Values('Type')");
    await page.press("Enter");
    await page.until(async () => /1 value[^]*bridge/.test(await textOf(page, "region", "Query result")), "an answer");
    proxy.behavior.refusesSockets = false;
    await page.absent("alert", /WebSocket/);
    await page.until(async () => (await page.all("alert")).length === 0, "the alert goes away", 15);
    await connected(page, "Live");
  } finally {
    shell("ip link del polled0");
  }
});

proxyTest("a short interruption keeps the view and marks nothing that is the same", async ({ page, proxy }) => {
  await selectNode(page, "v-blue");
  await page.click("tab", "Raw");
  await (await page.get("button", "Flows")).click();
  proxy.cut();
  await connected(page, "Reconnecting");
  await connected(page, "Live");
  await page.absent("alert");
  await page.get("heading", "v-blue");
  assert.equal((await page.get("tab", "Raw")).properties.selected, true);
  await page.get("region", "Flows");
});

proxyTest("while the server is down, attempts are few, and everything known stays", async ({ page, proxy, daemon }) => {
  await selectNode(page, "br0");
  const sockets = () => page.sockets.length;
  await daemon.kill();
  proxy.cut();
  await page.until(async () => (await page.all("alert")).length > 0, "an alert", 5);
  const before = sockets();
  await sleep(6000);
  assert.ok(sockets() - before <= 15, `${sockets() - before} attempts in 6 seconds`);
  await page.get("heading", "br0");
  await item(page, "v-red");
  assert.equal(await page.js("getComputedStyle(document.querySelector('.graph-canvas')).opacity < 1"), true, "dimmed");
});

proxyTest("refused changes are explained beside the form", async ({ page, proxy }) => {
  proxy.behavior.answer = (method, path) =>
    method === "POST" && path === "/api/capture" ? [413, "the request is too long: at most 1 MiB"] : undefined;
  await selectNode(page, "v-blue");
  await page.click("button", "Start capture");
  await page.click("button", "Start");
  assert.equal(await textOf(page, "alert"), "the request is too long: at most 1 MiB");
  proxy.behavior.answer = (method, path) => (method === "POST" && path === "/api/capture" ? [405, ""] : undefined);
  await page.click("button", "Start");
  await page.until(async () => /role does not allow/.test(await textOf(page, "alert")), "the role is named");
  proxy.behavior.answer = (method, path) => (path === "/api/capture" ? [500, ""] : undefined);
  await page.click("button", "Start");
  await page.until(async () => /status 500/.test(await textOf(page, "alert")), "the status is named");
});

proxyTest("a slow server delays answers, not the page", async ({ page, proxy }) => {
  proxy.behavior.delay = 1500;
  await (await page.get("textbox", "Go to time")).fill("-1s");
  await page.press("Enter");
  await selectNode(page, "v-blue");
  await page.click("button", /^Health/);
  await page.get("region", "Health");
  const start = performance.now();
  await page.js("1");
  assert.ok(performance.now() - start < 1000);
  await page.click("button", "Live");
  await connected(page, "Live");
});

proxyTest("the field that an error names is marked, a choice too", async ({ page, proxy }) => {
  proxy.behavior.answer = (method, path) =>
    method === "POST" && path === "/api/capture" ? [400, "LayerKeyMode: not possible here"] : undefined;
  await selectNode(page, "v-blue");
  await page.click("button", "Start capture");
  await page.click("button", "Start");
  assert.equal(await textOf(page, "alert"), "LayerKeyMode: not possible here");
  const field = await page.get("combobox", "Layer key");
  const state = () => field.js("return [this.ariaInvalid, this === document.activeElement].join()");
  await page.until(async () => (await state()) === "true,true", "the field is marked and has the focus");
  proxy.behavior.answer = (method, path) =>
    method === "POST" && path === "/api/capture" ? [400, "not possible at all"] : undefined;
  await page.click("button", "Start");
  await page.until(async () => (await state()) === ",false", "the mark is taken away");
});

proxyTest("a status that is refused or not JSON is a problem, not the loss of the daemon", async ({ page, proxy }) => {
  for (const answer of [
    [403, "no permission to read the status"],
    [200, "<html>another server</html>"],
  ]) {
    proxy.behavior.answer = (method, path) => (path === "/api/status" ? answer : undefined);
    await page.click("button", /^Health: [1-9]/);
    await page.until(async () => /Status of the daemon/.test(await textOf(page, "table", "Errors")), "the error");
    await connected(page, "Live");
    proxy.behavior.answer = () => undefined;
    await page.absent("table", "Errors");
    await page.click("button", /^Health/);
  }
});

proxyTest("answers that are not JSON are errors beside what asked", async ({ page, proxy }) => {
  proxy.behavior.answer = (method, path) =>
    method === "GET" || path === "/api/topology" ? [200, "<html>busy</html>"] : undefined;
  for (const panel of ["Captures", "Injections", "Alerts", "Rules", "Workflows"]) {
    await page.click("button", panel);
    await page.get("region", panel);
  }
  await page.until(async () => /JSON|token/.test(await textOf(page, "log", "Notices")), "a notice");
  await (await page.get("textbox", "Go to time")).fill("-1s");
  await page.press("Enter");
  await connected(page, /^Past/);
  await page.click("button", "Compare with now");
  await page.until(async () => /JSON|token/.test(await textOf(page, "status", "Time note")), "why it is not compared");
  await item(page, "br0");
});

proxyTest("a server that accepts and never answers is lost after some seconds", async ({ page, proxy }) => {
  proxy.behavior.delay = 600_000;
  proxy.behavior.refusesSockets = true;
  await connected(page, "Reconnecting", 15);
  await item(page, "br0");
  proxy.behavior.delay = 0;
  proxy.behavior.refusesSockets = false;
  await connected(page, "Live", 15);
});

proxyTest("a daemon of another version offers a reload", async ({ page, proxy }) => {
  await page.click("button", /^Health/);
  await page.until(async () => /Version \d/.test(await textOf(page, "region", "Health")), "a version");
  proxy.behavior.answer = (method, path) =>
    path === "/api" ? [200, JSON.stringify({ Host: "vm", Version: "99.0.0", Service: "analyzer" })] : undefined;
  await page.get("button", "Reload", 12);
});

pageTest("the page works without storage, and says that it forgets", async ({ page, daemon }) => {
  await page.call("Page.addScriptToEvaluateOnNewDocument", {
    source: "Object.defineProperty(window, 'localStorage', { get() { throw new Error('denied'); } });",
  });
  await page.open(daemon.url);
  await connected(page, "Live");
  const splitter = await page.get("separator", "Width of the tree");
  await splitter.focus();
  await page.press("ArrowRight");
  await page.until(async () => (await page.all("alert")).length === 1, "an alert");
  assert.match(await textOf(page, "alert"), /^This browser stores nothing/);
});

pageTest(
  "the end of a session asks for the password again",
  async ({ page, daemon }) => {
    await (await page.get("textbox", "User")).fill("ann");
    await (await page.get("textbox", "Password")).fill("one");
    await page.click("button", "Log in");
    await connected(page, "Live");
    await item(page, "br0");
    await daemon.kill();
    await daemon.start();
    await page.get("form", "Log in", 20);
    await (await page.get("textbox", "User")).fill("ann");
    await (await page.get("textbox", "Password")).fill("one");
    await page.click("button", "Log in");
    await connected(page, "Live");
    await item(page, "br0");
  },
  {
    settings: [
      "analyzer.auth.api.backend=mine",
      "auth.mine.type=basic",
      "auth.mine.users={ann: one}",
      "auth.mine.role=admin",
    ],
  },
);

pageTest(
  "a guest is not offered what its role may not do",
  async ({ page }) => {
    await (await page.get("textbox", "User")).fill("bob");
    await (await page.get("textbox", "Password")).fill("two");
    await page.click("button", "Log in");
    await connected(page, "Live");
    await selectNode(page, "v-blue");
    await page.until(
      async () => (await page.get("button", "Start capture")).properties.disabled === true,
      "no capture is offered",
    );
  },
  {
    settings: [
      "analyzer.auth.api.backend=mine",
      "auth.mine.type=basic",
      "auth.mine.users={bob: two}",
      "auth.mine.role=guest",
    ],
  },
);
