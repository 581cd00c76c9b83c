// What the page shows of a small network: tree, graph, search, queries, details, captures, flows, address.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { shell, talk } from "./daemon.mjs";
import { connected, item, pageTest, selectNode, textOf } from "./fixture.mjs";

/** Types a text into the search field and presses Enter. */
async function ask(page, text) {
  await (await page.get("combobox", "Search or Gremlin")).fill(text);
  await page.press("Enter");
}

pageTest("the first view has landmarks, a title, and the sizes that the daemon has", async ({ page, daemon }) => {
  await page.get("banner");
  await page.get("navigation", "Panels");
  await page.get("main");
  const { Host } = await daemon.request("GET", "/api");
  await page.until(async () => (await page.js("document.title")) === `skyd – ${Host}`, "the title names the host");
  const sizes = async () => {
    const [nodes, links] = await Promise.all([daemon.query("G.V().Count()"), daemon.query("G.E().Count()")]);
    return `${nodes} nodes, ${links} links`;
  };
  await page.until(async () => (await textOf(page, "status", "Graph size")) === (await sizes()), "the sizes");
  const levels = new Map((await page.all("treeitem")).map(({ name, properties }) => [name, properties.level]));
  const level = (start) => [...levels].find(([name]) => name.startsWith(start))?.[1];
  assert.deepEqual([level(`${Host}, host`), level("blue, netns"), level("eth0, veth")], [1, 2, 3]);
});

pageTest("branches open and close by mouse and keys, and the graph follows", async ({ page }) => {
  const picture = () => page.js("document.querySelector('.graph canvas').toDataURL()");
  const before = await picture();
  await page.click("button", "Collapse all");
  await page.absent("treeitem", /^br0/);
  await page.until(async () => (await picture()) !== before, "the graph changes");
  await page.click("button", "Expand all");
  await (await item(page, "blue")).focus();
  await page.press("ArrowLeft");
  await page.until(async () => (await item(page, "blue")).properties.expanded === false, "blue is closed");
  assert.equal((await item(page, "red")).properties.expanded, true, "each branch for itself");
  await page.press("ArrowRight");
  await page.until(async () => (await item(page, "blue")).properties.expanded === true, "blue is open");
});

pageTest("changes of the kernel appear without loading again", async ({ page }) => {
  await page.js("window.marked = 1; 0");
  shell("ip link add seen0 type bridge; ip link set seen0 up");
  try {
    await item(page, "seen0", "(up|unknown|down)");
    shell("ip link set seen0 name seen1");
    await item(page, "seen1");
    await page.absent("treeitem", /^seen0/);
  } finally {
    shell("ip link del seen1 2>/dev/null || ip link del seen0");
  }
  await page.absent("treeitem", /^seen1/);
  assert.equal(await page.js("window.marked"), 1);
});

pageTest("unknown messages and members do no harm", async ({ page, daemon }) => {
  await page.hookSockets();
  await page.open(daemon.url);
  await connected(page, "Live");
  const [br0] = await daemon.query("G.V().Has('Name', 'br0')");
  const messages = [
    { Namespace: "Nothing", Type: "Known", Obj: {} },
    { Namespace: "Graph", Type: "NodeSang", Obj: { ID: br0.ID } },
    { Namespace: "Graph", Type: "NodePartiallyUpdated", Obj: { ID: br0.ID, Ops: [{ Type: 9, Key: "x" }, 5, null] } },
    { Namespace: "Graph", Type: "NodeAdded", Obj: null },
    { Namespace: "Live", Type: "Changes", UUID: "live-1", Obj: { Changes: "many" } },
  ];
  for (const message of messages) {
    await page.deliver(message);
  }
  await sleep(200);
  await selectNode(page, "br0");
});

pageTest("a search says when nothing matches, and opens the way to what is chosen", async ({ page }) => {
  await page.click("button", "Collapse all");
  const field = await page.get("combobox", "Search or Gremlin");
  await field.fill("nothing like this");
  assert.equal(await textOf(page, "status", "Search"), "No match");
  await field.fill("192.0.2.2/");
  const list = await page.get("listbox", "Search results");
  assert.match(await list.text(), /^eth0, veth, up, 192\.0\.2\.2\/24/);
  await page.press("Enter");
  await page.get("heading", "eth0");
  await page.until(async () => (await page.all("treeitem", /^eth0/)).length > 0, "the way is open");
});

pageTest("each kind of answer has its form", async ({ page, daemon }) => {
  await daemon.request("POST", "/api/capture", { GremlinQuery: "G.V().Has('Name', 'v-blue')" });
  // The first packet of the conversation must be captured: it decides which end is A.
  await item(page, "v-blue", "captured");
  const stop = talk();
  try {
    for (const [query, expected] of [
      ["G.V().Has('Type', 'netns')", /^2 nodes[^]*blue, netns/],
      ["G.E().Has('RelationType', 'layer2')", /^\d+ links[^]*br0 – v-/],
      ["G.V().Has('Name', 'blue').Values('Type')", /^1 value[^]*netns/],
      ["G.V().Count()", /^\d+\b(?! )/],
      [
        "G.V().Has('Name', 'v-blue').ShortestPathTo(Metadata('Name', 'v-red'), Metadata('RelationType', 'layer2'))",
        /^1 path[^]*v-blue → br0 → v-red/,
      ],
      ["G.Flows().Has('Transport.B', 9999)", /^1 flow[^]*192\.0\.2\.1:40999 – 192\.0\.2\.2:9999/],
    ]) {
      await ask(page, query);
      await page.until(async () => expected.test(await textOf(page, "region", "Query result")), query, 20);
    }
  } finally {
    stop();
  }
});

pageTest("a wrong query is marked at its mistake until it is corrected", async ({ page }) => {
  await ask(page, "G.V().Has('Name', 'é').HasKye('x')");
  assert.match(await textOf(page, "alert"), /Expected step function, got: HasKye/);
  const field = await page.get("combobox", "Search or Gremlin");
  assert.equal(field.properties.invalid, "true");
  assert.equal(await field.js("return this.value.slice(this.selectionStart, this.selectionEnd)"), "HasKye");
  await ask(page, "G.V().Has('Name', 'é').HasKey('x')");
  await page.absent("alert");
  assert.notEqual((await page.get("combobox", "Search or Gremlin")).properties.invalid, "true");
});

pageTest("the details of an interface follow it without replacing controls", async ({ page, daemon }) => {
  shell("ip -n blue neigh replace 192.0.2.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent");
  await ask(page, "192.0.2.1/");
  await page.get("heading", "eth0");
  for (const [tab, expected] of [
    ["Addresses", /192\.0\.2\.1\/24[^]*MAC/],
    ["Neighbours", /192\.0\.2\.9\s+02:00:00:00:00:09/],
    ["Features", /rx-checksum/],
    ["Raw", /"IfIndex"/],
    ["Overview", /MTU\s+1500/],
  ]) {
    await page.click("tab", tab);
    await page.until(async () => expected.test(await textOf(page, "tabpanel", tab)), `${tab} has its rows`);
  }
  await page.until(
    async () => (await daemon.query("G.V().Has('RoutingTables.Routes.Prefix', '203.0.113.0/24')")).length > 0,
    "a node has the route",
  );
  await page.js("document.querySelector('[role=tab]').marked = 1; 0");
  shell("ip -n blue link set eth0 mtu 1300");
  try {
    await page.until(async () => /MTU\s+1300/.test(await textOf(page, "tabpanel", "Overview")), "the MTU follows");
  } finally {
    shell("ip -n blue link set eth0 mtu 1500; ip -n blue neigh del 192.0.2.9 dev eth0");
  }
  assert.equal(await page.js("document.querySelector('[role=tab]').marked"), 1);
  await page.click("button", "Copy Name");
});

pageTest("traffic of an interface is plotted", async ({ page }) => {
  await selectNode(page, "v-blue");
  await page.click("tab", "Metrics");
  const stop = talk(9999, 1000);
  try {
    const shows = (pattern) => async () => pattern.test(await textOf(page, "tabpanel", "Metrics"));
    await page.until(shows(/Bytes a second: Received [1-9][\d.]* kB\/s/), "bytes", 20);
    await page.get("image", "Bytes a second, last 10 minutes");
    await page.get("image", "Errors and drops a second, last 10 minutes");
  } finally {
    stop();
  }
});

pageTest("a capture is refused, started, counted, and stopped", async ({ page, daemon }) => {
  await selectNode(page, "v-blue");
  await page.click("button", "Start capture");
  await (await page.get("textbox", "BPF filter")).fill("udp prot 9");
  await page.click("button", "Start");
  assert.match(await textOf(page, "alert"), /BPF/);
  const filter = await page.get("textbox", "BPF filter");
  assert.deepEqual([filter.properties.invalid, filter.properties.focused], ["true", true]);
  await (await page.get("textbox", "BPF filter")).fill("udp");
  await (await page.get("spinbutton", "Raw packets")).fill("2");
  await page.click("checkbox", "Extra TCP metrics");
  await page.click("button", "Start");
  await page.absent("dialog");
  await item(page, "v-blue", "captured");
  const [capture] = Object.values(await daemon.request("GET", "/api/capture"));
  assert.deepEqual([capture.BPFFilter, capture.RawPacketLimit, capture.ExtraTCPMetric], ["udp", 2, true]);
  const stop = talk();
  try {
    await page.click("tab", "Captures");
    await page.until(
      async () => /[1-9]\d* packets, 0 dropped/.test(await textOf(page, "tabpanel", "Captures")),
      "packets are counted",
      20,
    );
  } finally {
    stop();
  }
  await page.click("button", "Stop capture");
  await page.absent("treeitem", /captured/);
  await page.click("button", "Undo");
  await item(page, "v-blue", "captured");
});

pageTest("the flow table filters, sorts, and pauses", async ({ page, daemon }) => {
  await daemon.request("POST", "/api/capture", { GremlinQuery: "G.V().Has('Name', 'v-blue')" });
  await item(page, "v-blue", "captured");
  await page.click("button", "Flows");
  const stops = [talk(9999), talk(7777, 50)];
  const text = () => textOf(page, "table", "Flows");
  try {
    await page.until(async () => /:9999/.test(await text()) && /:7777/.test(await text()), "both flows", 20);
    await page.until(async () => /:9999[^]*[1-9][\d.]* kB\/s/.test(await text()), "a rate", 20);
    await page.click("button", "Bytes");
    await page.until(async () => /:9999[^]*:7777/.test(await text()), "most bytes first");
    await page.click("button", /^Bytes/);
    await page.until(async () => /:7777[^]*:9999/.test(await text()), "fewest bytes first");
    await (await page.get("searchbox", "Filter flows")).fill("udp 7777");
    await page.until(async () => !/:9999/.test(await text()), "the filter hides a flow");
    assert.equal(await textOf(page, "status", "Flow count"), "1 flow");
    await page.click("button", "Pause flows");
    const paused = (await text()).replace(/\d+ (ms|s|min)/g, "");
    await sleep(2500);
    assert.equal((await text()).replace(/\d+ (ms|s|min)/g, ""), paused);
    await page.click("button", "Pause flows");
  } finally {
    stops.forEach((stop) => stop());
  }
});

pageTest("a pause of the flow table ends with the newest answer", async ({ page, daemon }) => {
  await daemon.request("POST", "/api/capture", { GremlinQuery: "G.V().Has('Name', 'v-blue')" });
  await item(page, "v-blue", "captured");
  await page.click("button", "Flows");
  await (await page.get("searchbox", "Filter flows")).fill("G.Flows().Has('Transport.B', 7777)");
  const text = () => textOf(page, "table", "Flows");
  const bytes = async () => /[/]s\s+([\d.]+ k?B)/.exec(await text())?.[1];
  const stop = talk(7777, 500);
  try {
    await page.until(async () => /:7777[^]* kB\/s/.test(await text()), "a rate", 20);
    await page.click("button", "Pause flows");
    const before = await bytes();
    await sleep(4500);
    assert.equal(await bytes(), before);
    // No other answer comes.
    await daemon.kill();
    await connected(page, "Reconnecting");
    await page.click("button", "Pause flows");
    await page.until(async () => (await bytes()) !== before, "the newest answer");
  } finally {
    stop();
  }
});

pageTest("the hops of a flow are listed and marked", async ({ page, daemon }) => {
  await daemon.request("POST", "/api/capture", { GremlinQuery: "G.V().Has('Name', Within('v-blue', 'v-red'))" });
  await item(page, "v-red", "captured");
  const stop = talk();
  try {
    await page.click("button", "Flows");
    await (await page.get("searchbox", "Filter flows")).fill(":9999");
    await page.until(async () => (await textOf(page, "status", "Flow count")) === "2 flows", "two observations", 20);
    await page.js("document.querySelector('.flow-table tbody button').click(); 0");
    await page.get("heading", /192\.0\.2\.1:40999 – 192\.0\.2\.2:9999/);
    await page.click("button", "Show path");
    const list = await page.get("list", "Path");
    await page.until(async () => /v-blue[^]*v-red|v-red[^]*v-blue/.test(await list.text()), "both ports");
  } finally {
    stop();
  }
});

pageTest("an address shows the same view elsewhere, and the browser goes back and forward", async (context) => {
  const { page, daemon, browser } = context;
  await selectNode(page, "v-blue");
  await page.click("tab", "Raw");
  await page.until(() => page.js("/tab=Raw/.test(location.hash)"), "the address has the section");
  const address = await page.js("location.href");
  const other = await browser.page();
  try {
    await other.open(address);
    await other.get("heading", "v-blue");
    assert.equal((await other.get("tab", "Raw")).properties.selected, true);
  } finally {
    await other.close();
  }
  await selectNode(page, "br0");
  await page.js("history.back(); 0");
  await page.get("heading", "v-blue");
  await page.js("history.forward(); 0");
  await page.get("heading", "br0");
  for (const broken of [
    "#select=%00%ff&at=tomorrow&panel=../../etc&zoom=1,x",
    `#${"a".repeat(5000)}`,
    "#theme=<img>",
  ]) {
    await page.open(`${daemon.url}${broken}`);
    await page.open(`${daemon.url}ui/status${broken}`);
    await item(page, "br0");
  }
});

pageTest("the policy of the page is never violated, also by the worker", async ({ page, daemon }) => {
  await page.call("Page.addScriptToEvaluateOnNewDocument", {
    source:
      "window.violations = []; document.addEventListener('securitypolicyviolation', (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`));",
  });
  await page.open(daemon.url);
  await selectNode(page, "v-blue");
  await page.click("tab", "Metrics");
  const script = await page.js(
    "performance.getEntriesByType('resource').map(({ name }) => name).find((name) => /app-.*js$/.test(name))",
  );
  const text = await (await fetch(script)).text();
  const [, address] = /"(\/ui\/assets\/layout-[A-Z0-9]+\.js)"/.exec(text);
  const boxes = await page.js(`new Promise((resolve, reject) => {
    const policy = trustedTypes.createPolicy("skyd-worker", { createScriptURL: (url) => url });
    const worker = new Worker(policy.createScriptURL(${JSON.stringify(address)}), { type: "module" });
    worker.onerror = () => reject(new Error("the worker does not start"));
    worker.onmessage = ({ data }) => resolve(data.length);
    worker.postMessage({ children: new Int32Array(1), rows: new Uint8Array(1), closed: new Uint8Array(1), peers: new Int32Array([-1]) });
  })`);
  assert.equal(boxes, 6, "the worker positions one box");
  assert.deepEqual(await page.js("window.violations"), []);
});
