import assert from "node:assert/strict";
import { test } from "node:test";
import { complete } from "../src/net/completion.ts";

const vocabulary = {
  keys: () => ["MTU", "Name", "Type", "it's"],
  values: (key: string) => (key === "Type" ? ["bridge", "veth"] : []),
};
const options = (text: string) => complete(text, vocabulary).options;

test("steps that can follow are completed", () => {
  assert.deepEqual(options("G."), ["V", "E", "Flows", "At", "Context", "Changes"]);
  assert.deepEqual(options("G.V().HasK"), ["HasKey"]);
  assert.deepEqual(options("G.E().In"), ["InV"]);
  assert.deepEqual(options("G.Flows().Ra"), ["Range", "RawPackets"]);
  assert.deepEqual(options("G.V().Has('a.b', 'x').SubG"), ["SubGraph"]);
  assert.deepEqual(options("G.V().Path"), ["PathTo"]);
  assert.deepEqual(options("G.Flows().GroupBy('Port').Sum('Bytes').R"), ["Rate", "Range"]);
  assert.equal(complete("G.V().HasK", vocabulary).start, 6);
});

test("keys and values are completed inside quotes", () => {
  assert.deepEqual(options("G.V().Has('"), ["MTU'", "Name'", "Type'"]);
  assert.deepEqual(options("G.V().Has('Type', 'v"), ["veth'"]);
  assert.deepEqual(options('G.V().Values("n'), ['Name"']);
  assert.deepEqual(options("G.Flows().Has('Transport.P"), ["Transport.Protocol'"]);
  assert.deepEqual(options("G.Flows().GroupBy('Na"), ["Namespace'", "Namespace.A'", "Namespace.B'"]);
  assert.deepEqual(options("G.Flows().GroupBy('Port').Sum('P"), ["Packets'"]);
  assert.deepEqual(options("G.V().Has('Name', 'a.V"), [], "a dot inside a string is not a step");
});

test("nothing is completed elsewhere", () => {
  for (const text of ["", "eth0", "G", "G.V()", "G.V().Limit(1", "G.V().Has('Type', 'veth')"]) {
    assert.deepEqual(options(text), [], text);
  }
});
