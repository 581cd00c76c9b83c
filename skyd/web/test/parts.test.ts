import assert from "node:assert/strict";
import { test } from "node:test";
import { arrangeFlows, flowDirections, flowEnd, flowName, flowRate, flowRow } from "../src/flow/flow.ts";
import { Moment } from "../src/parts/moment.tsx";
import { namedField } from "../src/parts/named_field.ts";
import { atTime, characterAt, errorOffset, isGremlin, literal, nodeQuery, nodesQuery } from "../src/net/gremlin.ts";
import { NO_ANSWER, answerOf, applyLive, failureOf } from "../src/net/live.ts";
import { csv } from "../src/parts/csv.ts";
import type { Json } from "../src/parts/json.ts";
import { counted, label, visible } from "../src/parts/names.ts";
import { ratesInBits } from "../src/parts/rate_unit.ts";
import { amount, base64, byteRate, bytes, duration, rate, timeZone } from "../src/parts/units.ts";
import { parseGraph } from "../src/graph/saved.ts";
import { clean } from "../src/state/favorite_list.ts";
import { DEFAULT_VIEW, formatView, isStep, parseView } from "../src/state/address.ts";
import { type Point, append, rest } from "../src/state/metrics_series.ts";
import { parseTime } from "../src/state/time_text.ts";

test("quantities have three digits and a unit", () => {
  assert.deepEqual([0, 999, 1000, 12_345, 999_950, 1.5e9].map(bytes), [
    "0 B",
    "999 B",
    "1.00 kB",
    "12.3 kB",
    "1.00 MB",
    "1.50 GB",
  ]);
  assert.equal(byteRate(12_345), "12.3 kB/s");
  ratesInBits.value = true;
  assert.equal(byteRate(12_345), "98.8 kbit/s");
  ratesInBits.value = false;
  assert.deepEqual([0, 0.5, 1200].map(rate), ["0 /s", "0.5 /s", "1.20 k /s"]);
  assert.equal(amount(1234567), "1\u202f234\u202f567");
  assert.deepEqual([5, 1500, 61_000, 7_200_000, 200_000_000].map(duration), ["5 ms", "1 s", "1 min", "2 h", "2 d"]);
});

test("hostile text is visible", () => {
  assert.equal(visible("\u202egnp.exe\u0000\u0007\u007f"), "⟨RLO⟩gnp.exe␀␇␡");
  assert.equal(label("a".repeat(500)).length, 120);
  assert.equal(label(`${"a".repeat(118)}😀b`, 120), `${"a".repeat(118)}…`, "no half of a surrogate pair");
  assert.equal(counted(1, "node") + counted(0, "node"), "1 node0 nodes");
});

test("Gremlin literals choose the other quote or are refused", () => {
  assert.equal(literal("a"), "'a'");
  assert.equal(literal("it's"), '"it\'s"');
  assert.equal(literal("'\""), undefined);
  assert.equal(literal("a\u0000"), undefined);
  const alphabet = ["'", '"', "\\", "a", ")", "\n", "é", "."];
  for (let code = 0; code < alphabet.length ** 3; code += 1) {
    const text = [0, 1, 2].map((at) => alphabet[Math.floor(code / alphabet.length ** at) % alphabet.length]).join("");
    const quoted = literal(text);
    const quote = quoted?.[0] ?? "";
    assert.ok(quoted === undefined || quoted.split(quote).length === 3, `${quoted} has one pair of quotes`);
  }
  assert.equal(nodeQuery({ id: "i", tid: "t", metadata: { TID: "t" } }), "G.V().Has('TID', 't')");
  assert.equal(nodeQuery({ id: "i", tid: "'\"", metadata: { TID: "'\"" } }), "G.V('i')");
  const [a, b] = ["a", "b'"].map((tid) => ({ id: `id-${tid}`, tid, metadata: { TID: tid } }));
  assert.ok(a && b);
  assert.equal(nodesQuery([a, b]), `G.V().Has('TID', Within('a', "b'"))`);
  assert.equal(nodesQuery([a]), "G.V().Has('TID', 'a')");
  assert.equal(nodesQuery([a, { id: "i", tid: "i", metadata: {} }]), undefined, "a query cannot name it");
  assert.equal(nodesQuery([]), undefined);
});

test("queries move to another time, and errors to characters", () => {
  assert.equal(atTime("G.V()", 1700000000000), "G.At(1700000000000).V()");
  assert.equal(atTime("G.V()", null), "G.V()");
  assert.deepEqual(["G.V()", " g . V()", "Gap", "eth0"].map(isGremlin), [true, true, false, false]);
  assert.equal(errorOffset("Expected\nat byte 6 (line 1, column 7): did you mean"), 6);
  assert.equal(characterAt("Gé😀x", 7), 4);
});

test("an address round-trips and ignores what is broken", () => {
  const view = {
    ...DEFAULT_VIEW,
    select: "a b&c",
    tab: "Raw",
    panel: "Flows" as const,
    query: "G.V('é')",
    at: 5,
    hide: ["layer2"],
    hover: ["layer3", "service"],
    theme: "dark" as const,
  };
  assert.deepEqual(parseView(formatView(view)), view);
  assert.equal(formatView(DEFAULT_VIEW), "");
  for (const junk of ["#select=%00%ff&at=tomorrow&panel=../../etc", `#${"a".repeat(5000)}`, "#%%%", "#=&&=="]) {
    const parsed = parseView(junk);
    assert.deepEqual([parsed.panel, parsed.at], [null, null]);
  }
  assert.equal(isStep(view, { ...view, tab: "Overview" }), false);
  assert.equal(isStep(view, { ...view, select: null }), true);
});

test("typed times are understood", () => {
  const now = new Date(2026, 10, 29, 12, 0, 0).getTime();
  assert.equal(parseTime("-10m", now), now - 600_000);
  assert.equal(parseTime("-1h30m", now), now - 5_400_000);
  assert.equal(parseTime("-1w2d", now), now - 9 * 86_400_000);
  assert.equal(parseTime("11:59", now), now - 60_000);
  assert.equal(parseTime("13:00", now), now - 23 * 3_600_000, "a later time of day is yesterday's");
  assert.equal(parseTime("2026-11-29 11:00", now), now - 3_600_000);
  assert.equal(parseTime("1700000000", now), 1_700_000_000_000);
  assert.equal(parseTime("1700000000123", now), 1_700_000_000_123);
  assert.equal(parseTime("1970-01-01T00:00:01Z", now), 1000);
  for (const text of ["", "tomorrow", "25:00", "-m", "-", "12"]) {
    assert.equal(parseTime(text, now), undefined, text);
  }
});

const message = (type: string, object: Json) => ({ namespace: "Live", type, uuid: "u", status: 200, object });

test("changes of a live query lead from answer to answer", () => {
  let answer = applyLive(NO_ANSWER, message("Answer", { Kind: "nodes", Answer: [1, 2, 3] }));
  answer = applyLive(
    answer,
    message("Changes", {
      Changes: [
        { Change: "Left", At: 0 },
        { Change: "Entered", At: 2, Item: 4 },
        { Change: "Changed", From: 2, At: 0, Item: 5 },
      ],
    }),
  );
  assert.deepEqual(answer.items, [5, 2, 3]);
  answer = applyLive(answer, message("Failed", { Error: "no", Offset: 2 }));
  assert.deepEqual([answer.error, answer.offset, answer.items], ["no", 2, [5, 2, 3]], "the old answer stays");
  const graph = applyLive(NO_ANSWER, message("Answer", { Kind: "graph", Answer: [{ Nodes: [1], Edges: [2] }] }));
  assert.deepEqual([graph.items, graph.edges], [[1], [2]]);
  assert.deepEqual(applyLive(NO_ANSWER, message("Answer", { Kind: "number", Answer: 7 })).items, [7]);
});

const flow = (port: number, last: number, abBytes: number): Json => ({
  UUID: `u${port}`,
  Network: { A: "192.0.2.1", B: "2001:db8::1" },
  Transport: { A: port, B: 53, Protocol: "UDP" },
  Start: 1000,
  Last: last,
  Metric: { ABBytes: 100, BABytes: 50, ABPackets: 2, BAPackets: 1 },
  LastUpdateMetric: { ABBytes: abBytes, BABytes: 0, Start: last - 2000, Last: last },
});

test("rows of flows have ends, rate, and order", () => {
  assert.equal(flowName(flow(40000, 10_000, 0)), "192.0.2.1:40000 – [2001:db8::1]:53");
  assert.equal(flowEnd({ Link: { A: "02:00:00:00:00:01" } }, "A"), "02:00:00:00:00:01");
  assert.equal(flowRate(flow(1, 10_000, 4000), 10_500), 2000);
  assert.equal(flowRate(flow(1, 10_000, 4000), 60_000), 0, "a flow without news rests");
  const rows = [flow(1, 10_000, 10), flow(2, 10_000, 30), flow(22, 10_000, 20)].map((record) =>
    flowRow(record, 10_000),
  );
  assert.deepEqual(
    arrangeFlows(rows, "", "rate", true).map((row) => row.uuid),
    ["u2", "u22", "u1"],
  );
  assert.deepEqual(
    arrangeFlows(rows, "udp :2", "a", false).map((row) => row.uuid),
    ["u2", "u22"],
  );
});

test("100 000 rows of flows are filtered and sorted", () => {
  const records = Array.from({ length: 100_000 }, (_, index) => flow(index % 60_000, 10_000, index));
  const before = process.cpuUsage();
  const rows = records.map((record) => flowRow(record, 10_000));
  const found = arrangeFlows(rows, "udp :53", "bytes", true);
  const { user } = process.cpuUsage(before);
  assert.ok(user < 3e6, `${user / 1000} ms of processor time`);
  assert.equal(found.length, 100_000);
});

test("both directions of a flow are counted", () => {
  const record = {
    Network: { A: "192.0.2.1", B: "192.0.2.2" },
    Transport: { A: 1, B: 2 },
    Metric: { ABPackets: 3, ABBytes: 300, BAPackets: 1, BABytes: 100 },
    LastUpdateMetric: { Start: 0, Last: 2000, ABBytes: 300, BABytes: 100 },
  };
  assert.deepEqual(flowDirections(record, 2000), [
    { from: "192.0.2.1:1", to: "192.0.2.2:2", packets: 3, bytes: 300, rate: 150 },
    { from: "192.0.2.2:2", to: "192.0.2.1:1", packets: 1, bytes: 100, rate: 50 },
  ]);
});

test("answers of requests have the form of live answers", () => {
  assert.deepEqual(
    [answerOf([{ ID: "a" }]).kind, answerOf(7).kind, answerOf(["x"]).kind],
    ["nodes", "number", "values"],
  );
  const graph = answerOf([{ Nodes: [{ ID: "a" }], Edges: [{ ID: "e" }] }]);
  assert.deepEqual([graph.kind, graph.items.length, graph.edges.length], ["graph", 1, 1]);
  assert.equal(failureOf(new Error("wrong\nat byte 6 (line 1): x")).offset, 6);
});

test("files of saved graphs and favorites are checked", () => {
  assert.throws(() => parseGraph("{"), /not JSON/);
  assert.throws(() => parseGraph("[]"), /no Nodes/);
  assert.ok(parseGraph('[{"Nodes": [{"ID": "a"}], "Edges": []}]'));
  const found = clean([{ name: "a", view: "#select=x&junk=1" }, { name: 5 }, null, { name: "", view: "" }]);
  assert.deepEqual(found, [{ name: "a", view: "#select=x" }]);
});

test("bytes are written as Base64", () => {
  assert.equal(base64(Uint8Array.from([0xd4, 0xc3, 0xb2])), "1MOy");
  assert.equal(base64(new Uint8Array(100_000)).length, 133_336);
});

test("rates of an interface fall to zero when it rests", () => {
  const points: Point[] = [];
  append(points, { Start: 1000, Last: 2000, RxBytes: 500, TxErrors: 2 });
  append(points, { Start: 1000, Last: 2000, RxBytes: 500 });
  append(points, { Start: 2000, Last: 3000, RxBytes: 1000 });
  assert.deepEqual(
    points.map((point) => [point.time, point.rxBytes, point.errors]),
    [
      [1000, 0, 0],
      [2000, 500, 2],
      [3000, 1000, 0],
    ],
  );
  rest(points, 4000);
  assert.equal(points.at(-1)?.rxBytes, 1000, "one interval late is not rest");
  rest(points, 9000);
  assert.equal(points.at(-1)?.rxBytes, 0);
  const length = points.length;
  rest(points, 10_000);
  assert.deepEqual([points.length, points.at(-1)?.time], [length, 10_000], "rest does not add points forever");
});

test("tables are saved without formulas", () => {
  assert.equal(
    csv([
      ["a", 1],
      ['x,"y"', -2],
      ["=1+1", 0],
    ]),
    'a,1\r\n"x,""y""",-2\r\n\'=1+1,0\r\n',
  );
});

test("an error is shown at the field whose key it names", () => {
  const keys = ["Name", "BPFFilter", "HeaderSize", "To"];
  assert.equal(namedField("BPFFilter: Not a valid BPF expression: syntax error", keys), "BPFFilter");
  assert.equal(namedField("invalid HeaderSize 7, not in BPFFilter", keys), "HeaderSize");
  assert.equal(namedField("the name is not allowed to be used", keys), undefined);
  assert.equal(namedField("", keys), undefined);
});

test("times are copied as ISO 8601, and their time zone has a name", () => {
  assert.equal(new Moment(1_796_000_000_123).iso, "2026-11-30T00:53:20.123Z");
  assert.equal(new Moment(Number.NaN).iso, "");
  assert.match(timeZone(1_796_000_000_123), /\w/);
  assert.equal(timeZone(Number.NaN), "");
  const original = Intl.DateTimeFormat;
  Intl.DateTimeFormat = (() => assert.fail("a formatter is constructed for each time")) as never;
  try {
    assert.match(timeZone(1_796_000_000_123), /\w/);
  } finally {
    Intl.DateTimeFormat = original;
  }
});
