// Several selected nodes, and the losses that Health lists.

import assert from "node:assert/strict";
import { test } from "node:test";
import { readFileSync } from "node:fs";
import { between, extended, rangeTo, reduced, toggled } from "../src/graph/node_selection.ts";
import { Revealing } from "../src/graph/revealing.ts";
import { isMenuKey, isSelectKey } from "../src/parts/keys.ts";
import { KEYS } from "../src/state/key_help.ts";
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

test("Shift-click adds a range, or the item alone if the last selected one is not in the list", () => {
  const rows = ["a", "b", "c", "d"];
  assert.deepEqual(rangeTo(rows, "b", "d"), ["b", "c", "d"]);
  assert.deepEqual(rangeTo(rows, "hidden", "d"), ["d"]);
  assert.deepEqual(rangeTo(rows, undefined, "a"), ["a"]);
  assert.deepEqual(extended(["hidden"], rangeTo(rows, "hidden", "d")), ["hidden", "d"]);
});

test("the camera goes to what is newly selected and to the cursor, not to what remains selected", () => {
  const revealing = new Revealing();
  const next = (cursor: string | undefined, ...selected: string[]) => {
    const item = revealing.next(cursor, selected);
    revealing.done();
    return item;
  };
  assert.equal(next(undefined), undefined);
  assert.equal(next(undefined, "a"), "a");
  assert.equal(next(undefined, "a"), undefined, "once");
  assert.equal(next(undefined, "a", "b"), "b");
  assert.equal(next(undefined, "a"), undefined, "b was taken away");
  assert.equal(next("c", "a"), "c");
  assert.equal(next("a", "a"), "a", "the cursor is at a selected item");
  assert.equal(next(undefined, "a"), undefined);
  assert.equal(next(undefined), undefined);
  assert.equal(next(undefined, "a"), "a", "selected again");
  assert.equal(revealing.next(undefined, ["d"]), "d");
  assert.equal(revealing.next(undefined, ["d"]), "d", "until its position is known");
});

test("keys of the selection and of the menu are the same in the tree and the graph", () => {
  const press = (key: string, ctrlKey = false, shiftKey = false) => ({ key, ctrlKey, shiftKey });
  assert.deepEqual([press(" "), press("Enter", true), press("Enter")].map(isSelectKey), [true, true, false]);
  assert.deepEqual([press("ContextMenu"), press("F10", false, true), press("F10")].map(isMenuKey), [true, true, false]);
});

test("the help lists each letter that acts, and no other", () => {
  const listed = KEYS.flatMap(([keys]) => keys.split(", ")).filter((key) => /^[A-Z/?]$/.test(key));
  const source = (name: string) => readFileSync(`src/${name}`, "utf8");
  const acting = [
    ...source("state/node_actions.ts").matchAll(/key: "(.)"/g),
    ...source("state/keyboard.ts").matchAll(/^ {2}\["(.)", /gm),
    ...source("panels/graph.tsx").matchAll(/toLowerCase\(\) === "(.)"/g),
  ].map(([, key = ""]) => key.toUpperCase());
  assert.deepEqual([...new Set(listed)].sort(), [...new Set(acting)].sort());
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
    SPP: { 1: { totals: { rx: 100, drop: 3 } }, 2: { totals: { rx: 9, drop: 2 }, stats: { drop: 1 } }, 3: null },
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
    "Packets dropped by SPP recorders": 5,
    "Rows of the flow history lost": 6,
    "Failed writes of the history": 6,
    "History evicted early": 30,
    "Events skipped by this page": 8,
  });
  const read: string[] = [];
  function* one() {
    for (const found of nodes.values()) {
      yield found;
      read.push(found.id);
    }
  }
  lossesOf(status, one(), 0);
  assert.deepEqual(read, ["a", "b"], "each node is read once");
  assert.deepEqual(new Set(lossesOf(undefined, [], 0).map(([, count]) => count)), new Set([0]));
});
