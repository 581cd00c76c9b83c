// Several selected nodes, and the losses that Health lists.

import assert from "node:assert/strict";
import { test } from "node:test";
import { between, extended, reduced, toggled } from "../src/graph/node_selection.ts";
import { type Loss, lossesOf } from "../src/state/losses.ts";
import { modelOf, node } from "./builders.ts";

test("nodes are added to the selection and taken away, in the order of their selection", () => {
  assert.deepEqual(toggled([], "a"), ["a"]);
  assert.deepEqual(toggled(["a", "b"], "c"), ["a", "b", "c"]);
  assert.deepEqual(toggled(["a", "b"], "a"), ["b"], "the second becomes the first");
  assert.deepEqual(extended(["b"], ["a", "b", "c"]), ["b", "a", "c"]);
  assert.deepEqual(reduced(["a", "b", "c"]), ["a"]);
  assert.deepEqual(reduced([]), []);
});

test("a range of rows begins at the row that was selected last", () => {
  const rows = ["a", "b", "c", "d"];
  assert.deepEqual(between(rows, 1, 3), ["b", "c", "d"]);
  assert.deepEqual(between(rows, 3, 1), ["d", "c", "b"]);
  assert.deepEqual(between(rows, 2, 2), ["c"]);
});

test("losses are counted from the status, the collectors, and the captures", () => {
  const Captures = [
    { ID: "1", PacketsDropped: 2, PacketsIfDropped: 1, TargetErrors: 3, TargetSkipped: 7 },
    { ID: "2", PacketsDropped: 4, TargetErrors: 1 },
  ];
  const { nodes } = modelOf([node("a", "device", { Captures }), node("b", "device")], []);
  const status = {
    Queues: { FlowsDropped: 5, ConnectionsRefused: "many" },
    Collectors: [
      { Cut: 1, NotAllowed: 2, Flows: 100 },
      { Malformed: 4, WaitingSets: 9 },
    ],
    History: {
      Topology: { Evicted: 10 },
      Flows: { Evicted: 20 },
      Disk: { Flow: { Dropped: { age: 1000, disk: 1, slow: 2, damage: 3, size: 500 }, Failures: 6 } },
    },
  };
  const losses = lossesOf(status, nodes.values(), 8);
  const counted = Object.fromEntries(losses.filter(([, count]: Loss) => count !== 0));
  assert.deepEqual(counted, {
    "Flows dropped": 5,
    "Flow exports lost by collectors": 7,
    "Packets dropped by captures": 7,
    "Datagrams that captures could not send": 4,
    "Flows that NetFlow 5 cannot express": 7,
    "Rows of the flow history lost": 6,
    "Failed writes of the history": 6,
    "History evicted early": 30,
    "Events skipped by this page": 8,
  });
  assert.deepEqual(new Set(lossesOf(undefined, [], 0).map(([, count]) => count)), new Set([0]));
});
