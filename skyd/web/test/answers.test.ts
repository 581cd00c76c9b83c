// Answers of the daemon as the panels show them: groups of flows, changes, differences, ways of packets.

import assert from "node:assert/strict";
import { test } from "node:test";
import { GROUPINGS, groupQuery, groupRows } from "../src/flow/groups.ts";
import { changeRows, filterChanges } from "../src/graph/changes.ts";
import { compareGraphs } from "../src/graph/difference.ts";
import { resultText } from "../src/graph/result_text.ts";
import { routesOf } from "../src/graph/route.ts";
import { isAddress } from "../src/net/gremlin.ts";
import { historyNote, notesOf } from "../src/net/rest.ts";
import { markHeights } from "../src/state/time_marks.ts";
import { edge, modelOf, node } from "./builders.ts";

const grouping = (id: string) => {
  const found = GROUPINGS.find((other) => other.id === id);
  assert.ok(found);
  return found;
};

test("groups of flows are queried in the present, in a period, and in the past", () => {
  const pairs = grouping("pairs");
  const steps =
    "GroupBy('Network.A', 'Network.B').Sum('Bytes', 'Packets').Rate('Bytes').Sort(DESC, 'Bytes').Limit(200)";
  assert.equal(groupQuery(pairs, "", "Bytes", 0, null), `G.Flows().${steps}`);
  assert.equal(groupQuery(pairs, "udp 53", "Bytes", 600, null), `G.At(NOW, 600).Flows().${steps}`);
  assert.equal(groupQuery(pairs, "", "Bytes", 0, 1700000000000.4), `G.At(1700000000000).Flows().${steps}`);
  assert.equal(groupQuery(pairs, "", "Bytes", 60, 1700000000000), `G.At(1700000000000, 60).Flows().${steps}`);
  assert.match(
    groupQuery(grouping("ports"), " G.V('a').Flows()", "Bytes/s", 0, null),
    /^G\.V\('a'\)\.Flows\(\)\.GroupBy\('Port'\).*Sort\(DESC, 'Bytes\/s'\)/,
  );
});

test("groups have the values of their keys, and numbers", () => {
  const answer = [
    { "Network.A": "192.0.2.1", "Network.B": null, Bytes: 900, "Bytes/s": 9, Packets: 3, Connections: 1 },
    "no group",
    { "Network.A": "\u202eevil", Bytes: "many" },
  ];
  const rows = groupRows(grouping("pairs"), answer);
  assert.deepEqual(rows[0], {
    values: ["192.0.2.1", "–"],
    numbers: { Bytes: 900, "Bytes/s": 9, Packets: 3, Connections: 1 },
  });
  assert.deepEqual(rows[1]?.values, ["⟨RLO⟩evil", "–"]);
  assert.equal(rows[1]?.numbers.Bytes, 0);
  assert.equal(rows.length, 2);
});

test("changes are rows by key, newest first, and filtered by words", () => {
  const answer = [
    { Time: 1, Change: "added", Kind: "node", ID: "a", Name: "eth0", Type: "veth", Host: "h" },
    { Time: 2, Change: "added", Kind: "edge", ID: "e", Parent: "a", Child: "b", RelationType: "layer2" },
    {
      Time: 3,
      Change: "changed",
      Kind: "node",
      ID: "a",
      Name: "eth0",
      Keys: [
        { Key: "State", Old: "UP", New: "DOWN" },
        { Key: "MTU", New: 1400 },
      ],
    },
    7,
  ];
  const rows = changeRows(answer, (id) => `<${id}>`);
  assert.deepEqual(
    rows.map(({ time, change, name, type, key, text }) => [time, change, name, type, key, text]),
    [
      [0, "", "", "", "", ""],
      [3, "changed", "eth0", "", "MTU", "none → 1400"],
      [3, "changed", "eth0", "", "State", "UP → DOWN"],
      [2, "added", "<a> – <b>", "layer2 link", "", ""],
      [1, "added", "eth0", "veth", "", ""],
    ],
  );
  assert.deepEqual(
    filterChanges(rows, "ETH0 mtu").map(({ key }) => key),
    ["MTU"],
  );
  assert.equal(filterChanges(rows, " ").length, 5);
});

test("graphs differ by nodes, links, and keys, but not by counters or the order of members", () => {
  const model = modelOf(
    [
      node("a", "host"),
      node("b", "veth", { State: "UP", Metric: { RxBytes: 1 }, Docker: { x: 1, y: 2 } }),
      node("c", "veth"),
    ],
    [edge("a", "b"), edge("a", "c"), edge("b", "a", "layer2")],
  );
  const other = {
    Nodes: [
      node("a", "host"),
      node("b", "veth", { State: "DOWN", Metric: { RxBytes: 9 }, Docker: { y: 2, x: 1 }, MTU: 1500 }),
      node("d", "veth"),
    ],
    Edges: [edge("a", "b"), edge("a", "d"), edge("a", "b", "peer")],
  };
  const found = compareGraphs(model, other).map(({ name, difference, keys }) => [name, difference, keys.join("; ")]);
  assert.deepEqual(found, [
    ["b", "changed", "MTU: none → 1500; State: UP → DOWN"],
    ["d", "added", ""],
    ["c", "removed", ""],
    ["a – b", "added", ""],
    ["b – a", "removed", ""],
  ]);
  assert.deepEqual(compareGraphs(model, { Nodes: "none" }).length, 3, "a malformed graph is empty");
});

test("the way of a packet says what leads on, what limits it, and why it ends", () => {
  const [reached, lost] = routesOf([
    {
      From: "h/web",
      To: "192.0.2.1",
      Reached: true,
      MTU: 1400,
      Drops: 1,
      Hops: [
        { By: "route", NextHop: "10.0.0.1", Node: "n", Name: "web/eth0", MTU: 1500, State: "UP", Drops: 0 },
        { By: "link", Node: "m", Name: "h/v", MTU: 1400, State: "DOWN", Drops: 1, Outer: 1 },
      ],
    },
    { From: "h", To: "203.0.113.7", Reached: false, Reason: "no route", MTU: 1500 },
  ]);
  assert.equal(reached?.text, "MTU 1400, 1 packet dropped");
  assert.deepEqual(
    reached?.hops.map(({ id, text }) => [id, text]),
    [
      ["n", "route by 10.0.0.1, MTU 1500"],
      ["m", "link, inside 1 tunnel, MTU 1400, down, 1 packet dropped"],
    ],
  );
  assert.deepEqual([lost?.isReached, lost?.text, lost?.hops], [false, "no route", []]);
  assert.deepEqual(routesOf(null), []);
  assert.deepEqual(["192.0.2.1", "2001:db8::1", " ::1 ", "256.1.1.1", "eth0", "a:b", "1.2.3"].map(isAddress), [
    true,
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
});

test("headers of an answer are notes", () => {
  assert.deepEqual(notesOf(new Headers()), []);
  const headers = new Headers({
    "X-Warning": "no element has the key Nmae",
    "X-History-Begins": "2026-11-30T08:00:00Z",
  });
  assert.deepEqual(notesOf(headers), ["no element has the key Nmae", historyNote(Date.UTC(2026, 10, 30, 8))]);
  assert.deepEqual(notesOf(new Headers({ "X-History-Begins": "soon" })), []);
});

test("marks on the slider count the changes of each part", () => {
  const heights = markHeights([0, 1, 999, 1000, -5], 0, 1000);
  assert.equal(heights.length, 120);
  assert.deepEqual([heights[0], heights[119], heights[60]], [1, 1, 0], "what is before the slider is not counted");
  assert.ok(markHeights([5], 5, 5).every((height) => height === 0 || height === 1));
});

test("results of alerts are names of nodes, or JSON", () => {
  assert.equal(resultText([node("a", "veth"), node("b", "veth")]), "2 nodes: a, b");
  assert.deepEqual(
    [resultText([1]), resultText(true), resultText([]), resultText([{ Metadata: {} }])],
    ["[1]", "true", "[]", '[{"Metadata":{}}]'],
  );
});
