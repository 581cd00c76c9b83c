import assert from "node:assert/strict";
import { test } from "node:test";
import { GraphModel } from "../src/graph/model.ts";
import { outline } from "../src/graph/outline.ts";
import { resultName, search, treeName } from "../src/graph/search.ts";
import type { Json } from "../src/parts/json.ts";
import { edge, hostOf, modelOf, node } from "./builders.ts";

const none = () => ({ structure: false, nodes: new Set<string>() });

test("the outline shows what is open below its owner", () => {
  const { nodes, edges } = hostOf("h", 2);
  const model = modelOf(nodes, edges);
  const rows = outline(model, (item) => item.id !== "h/ns1");
  assert.deepEqual(
    rows.map((row) => [row.level, row.node.id, row.isOpen]),
    [
      [1, "h", true],
      [2, "h/br0", undefined],
      [2, "h/v0", undefined],
      [2, "h/v1", undefined],
      [2, "h/ns0", true],
      [3, "h/ns0/eth0", undefined],
      [2, "h/ns1", false],
    ],
  );
  assert.deepEqual([rows[4]?.position, rows[4]?.siblings], [4, 5]);
});

test("names are in natural order", () => {
  const model = modelOf([node("eth10", "device"), node("eth9", "device")], []);
  assert.deepEqual(
    outline(model, () => true).map((row) => row.node.name),
    ["eth9", "eth10"],
  );
});

test("partial updates set and delete paths", () => {
  const model = modelOf([node("a", "device", { State: "UP", Docker: { Labels: { x: 1 } } })], []);
  const changes = none();
  model.apply(
    "NodePartiallyUpdated",
    {
      ID: "a",
      Revision: 7,
      Ops: [
        { Type: 1, Key: "State", Value: "DOWN" },
        { Type: 2, Key: "Docker.Labels.x", Value: null },
        { Type: 9, Key: "State", Value: "X" },
      ],
    },
    changes,
  );
  const a = model.find("a");
  assert.equal(a?.state, "down");
  assert.equal(a?.revision, 7);
  assert.equal(Object.hasOwn(a?.metadata ?? {}, "Docker"), false, "empty objects are deleted");
  assert.equal(changes.structure, true);
  const metrics = none();
  model.apply("NodePartiallyUpdated", { ID: "a", Ops: [{ Type: 1, Key: "MTU", Value: 9000 }] }, metrics);
  assert.equal(metrics.structure, false, "the tree does not show the MTU");
});

test("unknown and malformed messages change nothing", () => {
  const model = modelOf([node("a", "device")], []);
  const messages: [string, Json | undefined][] = [
    ["NodeExploded", node("b", "device")],
    ["NodeAdded", null],
    ["NodeAdded", {}],
    ["NodeAdded", [1]],
    ["EdgeAdded", { ID: "e" }],
    ["NodeUpdated", undefined],
    ["NodePartiallyUpdated", { ID: "a", Ops: null }],
    ["NodePartiallyUpdated", { ID: "zz", Ops: [] }],
    ["EdgeDeleted", { ID: "zz" }],
  ];
  for (const [type, object] of messages) {
    model.apply(type, object, none());
  }
  assert.equal(model.nodes.size, 1);
  model.reset(null);
  assert.equal(model.nodes.size, 0);
});

test("a cycle of owners neither hides its nodes nor hangs", () => {
  const model = modelOf(
    [node("a", "netns"), node("b", "netns"), node("c", "netns")],
    [edge("a", "b"), edge("b", "c"), edge("c", "a"), edge("b", "b")],
  );
  assert.deepEqual(
    outline(model, () => true).map((row) => row.node.id),
    ["a", "b", "c"],
  );
});

test("an orphan gets its next owner", () => {
  const model = modelOf([node("a", "host"), node("b", "host"), node("c", "device")], [edge("a", "c"), edge("b", "c")]);
  assert.equal(model.owner(model.nodes.get("c")!)?.id, "a");
  model.apply("NodeDeleted", { ID: "a" }, none());
  assert.equal(model.owner(model.nodes.get("c")!)?.id, "b");
  assert.equal(model.edges.size, 1);
});

test("edges may arrive before their nodes", () => {
  const model = new GraphModel();
  model.apply("EdgeAdded", edge("a", "b"), none());
  model.apply("NodeAdded", node("b", "device"), none());
  assert.equal(model.roots().length, 1);
  model.apply("NodeAdded", node("a", "host"), none());
  assert.deepEqual(
    model.roots().map((root) => root.id),
    ["a"],
  );
});

test("hostile keys reach neither prototypes nor other nodes", () => {
  const model = new GraphModel();
  const text =
    '{"Nodes":[{"ID":"__proto__","Metadata":{"Name":"__proto__","__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}}]}';
  model.reset(JSON.parse(text) as Json);
  for (const key of ["__proto__.polluted", "constructor.prototype.polluted", "a.__proto__.polluted"]) {
    model.apply(
      "NodePartiallyUpdated",
      {
        ID: "__proto__",
        Ops: [
          { Type: 1, Key: key, Value: 1 },
          { Type: 2, Key: key, Value: null },
        ],
      },
      none(),
    );
  }
  assert.equal(({} as Record<string, unknown>)["polluted"], undefined);
  assert.equal(model.find("__proto__")?.name, "__proto__");
});

test("random patches never throw and stay on the node", () => {
  const model = modelOf([node("a", "device")], []);
  const keys = ["a", "a.b", "a.b.c", "__proto__.x", "", ".", "a..b", "constructor", "toString.length"];
  let seed = 42;
  const random = (below: number) => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return seed % below;
  };
  for (let step = 0; step < 5000; step += 1) {
    const values: Json[] = [1, null, {}, [], "x", { b: 1 }];
    const op = { Type: random(3), Key: keys[random(keys.length)] ?? "", Value: values[random(values.length)] ?? null };
    model.apply("NodePartiallyUpdated", { ID: "a", Ops: [op] }, none());
  }
  assert.equal(typeof {}.toString, "function");
  assert.equal(({} as Record<string, unknown>)["x"], undefined);
});

test("a whole name or address is found before those that only contain it", () => {
  const nodes = [
    node("a", "veth", { IPV4: ["10.0.0.10/24"] }),
    node("b", "veth", { IPV4: ["110.0.0.1/24"] }),
    node("c", "bridge", { IPV4: ["10.0.0.1/24"] }),
    node("veth1", "device"),
    node("veth", "device"),
  ];
  const model = modelOf(nodes, []);
  const found = (text: string) => search(model, text).map(({ id }) => id);
  assert.deepEqual(found("10.0.0.1"), ["c", "a", "b"]);
  assert.deepEqual(found("veth"), ["veth", "veth1", "a", "b"]);
});

test("a search finds names, addresses, and identifiers", () => {
  const model = modelOf(
    [
      node("ns", "netns"),
      node("eth0", "veth", { IPV4: ["192.0.2.1/24"], MAC: "02:00:00:00:00:AA", State: "UP", Captures: [{}] }),
    ],
    [edge("ns", "eth0")],
  );
  for (const text of ["192.0.2.1", "02:00:00:00:00:aa", "ETH", "eth0"]) {
    assert.deepEqual(
      search(model, text).map((found) => found.id),
      ["eth0"],
      text,
    );
  }
  assert.deepEqual(search(model, "nothing"), []);
  assert.deepEqual(search(model, "  "), []);
  const [eth0] = search(model, "eth0");
  assert.equal(treeName(eth0!), "eth0, veth, up, captured");
  assert.equal(resultName(model, eth0!), "eth0, veth, up, captured, 192.0.2.1/24, 02:00:00:00:00:AA, ns");
});
