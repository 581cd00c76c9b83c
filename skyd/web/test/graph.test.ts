// Racks, rates of links, and pictures of the graph.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Marks } from "../src/graph/colors.ts";
import { FAMILY_ORDER, type Family } from "../src/graph/family.ts";
import { hoverText } from "../src/graph/hover_text.ts";
import { traceDetail, traceShape } from "../src/graph/icons.ts";
import { areEqual, layOut, layoutAt, shapesOf } from "../src/graph/layout.ts";
import { paint } from "../src/graph/paint.ts";
import { shownLinks } from "../src/graph/paint_links.ts";
import { positionsOf } from "../src/graph/positions.ts";
import { racksOf } from "../src/graph/racks.ts";
import { DEFAULT_THRESHOLDS, linkRates, nodeRate } from "../src/graph/rates.ts";
import { type SceneOptions, buildScene } from "../src/graph/scene.ts";
import { SvgSurface } from "../src/graph/svg.ts";
import { edge, hostOf, modelOf, node } from "./builders.ts";

const ALL: SceneOptions = { isOpen: () => true, unfolded: new Set(), hidden: new Set() };
const NO_MARKS: Marks = {
  selected: new Set(),
  hovered: undefined,
  found: new Set(),
  path: [],
  compared: new Map(),
  alerted: new Set(),
  onHover: new Set(),
  rates: new Map(),
};
const COLORS = {
  theme: "light" as const,
  background: "#fff",
  box: "#fff",
  boxBorder: "#ccc",
  text: "#000",
  dimText: "#555",
  link: "#777",
  accent: "#00f",
  found: "#a50",
  warning: "#b30",
  added: "#080",
  removed: "#d00",
};

/** Returns hosts of which each has a port that is linked to one of two switches. */
function datacenter(hosts: number) {
  const nodes = [node("switch-a", "switch"), node("switch-b", "switch")];
  const edges = [];
  for (let index = 0; index < hosts; index += 1) {
    const host = `host-${index}`;
    nodes.push(node(host, "host"), node(`${host}/eth0`, "device", { State: index === 0 ? "DOWN" : "UP" }));
    edges.push(edge(host, `${host}/eth0`), edge(index % 2 ? "switch-a" : "switch-b", `${host}/eth0`, "layer2"));
  }
  return modelOf(nodes, edges);
}

test("many hosts are grouped into racks, by their switch or else by their names", () => {
  assert.deepEqual(racksOf(datacenter(300)), []);
  const model = datacenter(302);
  const racks = racksOf(model);
  assert.deepEqual(racks.map(({ name, hosts }) => [name, hosts.length]).sort(), [
    ["switch-a", 151],
    ["switch-b", 151],
  ]);
  const scene = buildScene(model, ALL);
  assert.deepEqual(
    scene.roots.map((item) => item.hidden),
    [0, 0, 302, 302],
    "racks are closed, switches are not in them",
  );
  assert.equal(
    scene.roots.reduce((sum, item) => sum + item.down, 0),
    1,
  );
  const [first] = racks;
  assert.ok(first && scene.itemOf.get(first.hosts[0]?.id ?? "") === first.id);
  const open = buildScene(model, { ...ALL, unfolded: new Set(racks.map(({ id }) => id)) });
  assert.equal(
    open.roots.reduce((sum, item) => sum + item.children.length, 0),
    302,
  );

  const hosts = Array.from({ length: 321 }, (_, index) => node(`h${index}`, "host"));
  const names = racksOf(modelOf(hosts, [])).map(({ name }) => name);
  assert.deepEqual([names[0], names.at(-1), names.length], ["h0 – h39", "h320 – h320", 9]);
});

test("a scene of the same shapes keeps its positions, also from a worker", () => {
  const model = modelOf(hostOf("h", 5).nodes, hostOf("h", 5).edges);
  const scene = buildScene(model, ALL);
  const shapes = shapesOf(scene);
  const changes = { structure: false, nodes: new Set<string>() };
  model.apply("NodeUpdated", node("h/v1", "veth", { State: "DOWN" }), changes);
  const next = buildScene(model, ALL);
  assert.ok(areEqual(shapes, shapesOf(next)), "a state is not a shape");
  const copied = positionsOf(structuredClone(shapes));
  const positions = (layout: ReturnType<typeof layOut>) =>
    [...layout.boxes].map(([id, box]) => `${id} ${box.x},${box.y},${box.width},${box.height}`);
  assert.deepEqual(positions(layoutAt(next, copied)), positions(layOut(scene)));
  model.apply("NodeAdded", node("h/new", "dummy"), changes);
  model.apply("EdgeAdded", edge("h", "h/new"), changes);
  assert.ok(!areEqual(shapes, shapesOf(buildScene(model, ALL))));
});

const metric = (last: number, bytes: number) => ({
  LastUpdateMetric: { Start: last - 1000, Last: last, RxBytes: bytes, TxBytes: bytes },
});

test("a link carries what its port carries, closed boxes the sum, and nothing when it rests", () => {
  const { nodes, edges } = hostOf("h", 2);
  const traffic = nodes.map((item) => {
    const { ID } = item as { ID: string };
    return /v\d$/.test(ID) ? node(ID, "veth", metric(10_000, 5000)) : item;
  });
  const model = modelOf(traffic, edges);
  const links = buildScene(model, ALL).links;
  const rates = [...linkRates(links, 10_500, DEFAULT_THRESHOLDS).values()];
  assert.deepEqual(
    rates.map(({ bytes }) => bytes),
    [10_000, 10_000, 10_000, 10_000],
  );
  assert.deepEqual(new Set(rates.map(({ step }) => step)), new Set([1]), "80 kbit/s");
  assert.equal(linkRates(links, 20_000, DEFAULT_THRESHOLDS).size, 0, "no news for long");
  const relative = { isRelative: true, limits: [0.1, 0.5, 0.8] as const };
  const fast = model.nodes.get("h/v0");
  assert.ok(fast && nodeRate(fast, 10_500) === 10_000);
  fast.metadata["Speed"] = 1;
  const steps = [...linkRates(links, 10_500, relative).values()].map(({ step }) => step);
  assert.ok(steps.includes(0), "8 % of a megabit is below the first limit");
});

test("a picture has what is shown, as text that markup in names cannot leave", () => {
  const nodes = [node("h", "host"), node("<b>&\u0007", "veth", { State: "DOWN" }), node("br0", "bridge")];
  const model = modelOf(nodes, [edge("h", "<b>&\u0007"), edge("h", "br0"), edge("br0", "<b>&\u0007", "layer2")]);
  const scene = buildScene(model, ALL);
  const surface = new SvgSurface();
  const rates = new Map(scene.links.map(({ id }) => [id, { bytes: 12_300, step: 2 }]));
  const camera = { x: 0, y: 0, zoom: 1 };
  paint(surface, { width: 800, height: 600 }, 1, layOut(scene), scene.links, camera, COLORS, { ...NO_MARKS, rates });
  const text = surface.text(800, 600, "T<");
  assert.match(text, /<title>T&lt;<\/title>/);
  assert.match(text, />&lt;b&gt;&amp;␇<\/text>/);
  assert.doesNotMatch(text, /<b>|NaN|undefined/);
  assert.equal(text.match(/<g/g)?.length, text.match(/<\/g>/g)?.length);
});

test("links of a kind can be shown only while an end is hovered or selected", () => {
  const nodes = [node("a", "device"), node("b", "device"), node("c", "device")];
  const model = modelOf(nodes, [edge("a", "b", "layer3"), edge("b", "c", "layer2")]);
  const scene = buildScene(model, ALL);
  const layout = layOut(scene);
  const shown = (marks: Partial<Marks>) => {
    const all = { ...NO_MARKS, onHover: new Set(["layer3"]), ...marks };
    const boxes = new Set(layout.boxes.keys());
    return shownLinks(scene.links, boxes, layout, { x: 0, y: 0, zoom: 1 }, all).map(({ link }) => link.relation);
  };
  assert.deepEqual(shown({}), ["layer2"]);
  assert.deepEqual(shown({ hovered: "a" }).sort(), ["layer2", "layer3"]);
  assert.deepEqual(shown({ selected: new Set(["b"]) }).sort(), ["layer2", "layer3"]);
  assert.deepEqual(shown({ hovered: "c" }), ["layer2"]);
});

test("the item under the pointer is described with the packets of its captures", () => {
  const Captures = [
    { ID: "1", PacketsReceived: 12, PacketsDropped: 2 },
    { ID: "2", PacketsReceived: 5, PacketsIfDropped: 1 },
  ];
  const ports = Array.from({ length: 13 }, (_, index) => node(`tap${index}`, "tap", { State: index ? "UP" : "DOWN" }));
  const scene = buildScene(modelOf([node("eth0", "device", { State: "UP", Captures }), ...ports], []), ALL);
  const texts = scene.roots.map((item) => hoverText(item)).sort();
  assert.deepEqual(texts, ["eth0, device, up, captured: 17 packets, 3 dropped", "tap ×13, 1 down"]);
  const [item] = buildScene(modelOf([node("lo", "device", { State: "UNKNOWN" })], []), ALL).roots;
  assert.equal(item && hoverText(item, 2), "lo, device, unknown, 2 alerts");
  const racks = buildScene(datacenter(302), ALL).roots.filter(({ rack }) => rack);
  assert.match(racks[0] ? hoverText(racks[0]) : "", /^switch-[ab], 151 hosts$/);
});

test("each selected node is outlined, and no other", () => {
  const names = ["a", "b", "c"];
  const model = modelOf(
    names.map((name) => node(name, "device")),
    [],
  );
  const scene = buildScene(model, ALL);
  const outlines = (selected: string[]) => {
    const surface = new SvgSurface();
    const marks = { ...NO_MARKS, selected: new Set(selected) };
    paint(surface, { width: 400, height: 200 }, 1, layOut(scene), [], { x: 0, y: 0, zoom: 1 }, COLORS, marks);
    return surface.text(400, 200, "").match(/stroke="#00f"/g)?.length ?? 0;
  };
  assert.deepEqual([outlines([]), outlines(["a"]), outlines(["a", "c"]), outlines(names)], [0, 1, 2, 3]);
});

test("a comparison marks what was added, removed, and changed with colors and signs of their own", () => {
  const scene = buildScene(modelOf([node("a", "device", { State: "UP" })], []), ALL);
  const mark = (difference: "added" | "removed" | "changed") => {
    const surface = new SvgSurface();
    const marks = { ...NO_MARKS, compared: new Map([["a", difference]]) };
    paint(surface, { width: 200, height: 200 }, 1, layOut(scene), [], { x: 0, y: 0, zoom: 1 }, COLORS, marks);
    return surface.text(200, 200, "");
  };
  assert.match(mark("added"), /stroke="#080" stroke-width="2.5"[^]*>\+<\/text>/);
  assert.match(mark("removed"), /stroke="#d00" stroke-width="2.5" stroke-dasharray="6 4"[^]*>−<\/text>/);
  assert.match(mark("changed"), /stroke="#a50" stroke-width="2.5"[^]*>~<\/text>/);
});

test("a marked path has arrow heads in place of the rates of its links", () => {
  const names = ["a", "b", "c"];
  const nodes = names.map((name) => node(name, "device", { State: "UP" }));
  const scene = buildScene(modelOf(nodes, [edge("a", "b", "layer2"), edge("b", "c", "layer2")]), ALL);
  const rates = new Map(scene.links.map(({ id }) => [id, { bytes: 12_300, step: 1 }]));
  const plates = (path: string[]) => {
    const surface = new SvgSurface();
    const marks = { ...NO_MARKS, rates, path };
    paint(surface, { width: 800, height: 200 }, 1, layOut(scene), scene.links, { x: 0, y: 0, zoom: 1 }, COLORS, marks);
    return surface.text(800, 200, "").match(/fill="#000">12\.3 kB\/s/g)?.length ?? 0;
  };
  assert.deepEqual([plates([]), plates(["a", "b"]), plates(names)], [2, 1, 0]);
});

test("an interface that is down is hollow also where it is too small for an icon", () => {
  const squares = (state: string) => {
    const scene = buildScene(modelOf([node("eth0", "device", { State: state })], []), ALL);
    const surface = new SvgSurface();
    paint(surface, { width: 99, height: 99 }, 1, layOut(scene), [], { x: 0, y: 0, zoom: 0.2 }, COLORS, NO_MARKS);
    const picture = surface.text(99, 99, "");
    return [...picture.matchAll(/<rect [^>]*fill="([^"]+)"/g)].map(([, color]) => color);
  };
  assert.deepEqual(squares("UP"), ["#fff", "#0B054D"]);
  assert.deepEqual(squares("DOWN"), ["#fff", "#0B054D", "#fff"]);
});

test("families have shapes of their own, and what is down is hollow", () => {
  const outlines = new Set<string>();
  for (const family of Object.keys(FAMILY_ORDER) as Family[]) {
    const surface = new SvgSurface();
    traceShape(surface, family, family, 10);
    surface.stroke();
    traceDetail(surface, family, family, 10);
    surface.stroke();
    outlines.add(surface.text(20, 20, ""));
  }
  assert.equal(outlines.size, Object.keys(FAMILY_ORDER).length);
  const picture = (state: string) => {
    const model = modelOf([node("eth0", "device", { State: state })], []);
    const scene = buildScene(model, ALL);
    const surface = new SvgSurface();
    paint(surface, { width: 200, height: 200 }, 1, layOut(scene), [], { x: 0, y: 0, zoom: 1 }, COLORS, NO_MARKS);
    return surface.text(200, 200, "");
  };
  assert.match(picture("UP"), /fill="#0B054D"/);
  assert.doesNotMatch(picture("DOWN"), /fill="#0B054D"/);
});
