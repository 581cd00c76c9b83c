// The WebSocket of the page, without a browser: batches, overruns, and attempts to connect.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { LiveSocket, type Message } from "../src/net/socket.ts";

class FakeSocket {
  static readonly OPEN = 1;
  static all: FakeSocket[] = [];
  readyState = 0;
  onopen?: () => void;
  onmessage?: (event: { data: string }) => void;
  onclose?: () => void;
  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }
  send(): void {}
  close(): void {}
}

Object.assign(globalThis, { WebSocket: FakeSocket, location: { protocol: "https:", host: "h:1" } });

function start(context: TestContext) {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  FakeSocket.all = [];
  const seen = { batches: [] as Message[][], overrun: 0, failures: [] as number[] };
  const socket = new LiveSocket("/ws", {
    opened: () => {},
    received: (messages) => seen.batches.push(messages),
    closed: (failures) => seen.failures.push(failures),
    overrun: (count) => (seen.overrun += count),
  });
  socket.open();
  const current = () => FakeSocket.all.at(-1) as FakeSocket;
  return { socket, seen, current, timers: context.mock.timers };
}

test("messages are delivered in batches, malformed ones are left out", (context) => {
  const { seen, current, timers } = start(context);
  assert.equal(current().url, "wss://h:1/ws");
  const message = JSON.stringify({ Namespace: "Graph", Type: "NodeAdded", UUID: "u", Status: 200, Obj: { ID: "a" } });
  for (const data of [message, "{", "null", "[]", message]) {
    current().onmessage?.({ data });
  }
  assert.equal(seen.batches.length, 0);
  timers.tick(60);
  assert.equal(seen.batches.length, 1);
  assert.equal(seen.batches[0]?.filter(({ namespace }) => namespace === "Graph").length, 2);
});

test("too many waiting messages are discarded and reported", (context) => {
  const { seen, current, timers } = start(context);
  for (let count = 0; count < 50_001; count += 1) {
    current().onmessage?.({ data: "{}" });
  }
  assert.equal(seen.overrun, 50_001);
  timers.tick(60);
  assert.deepEqual(seen.batches.flat(), []);
});

test("attempts to connect become rare, and failures are counted until one succeeds", (context) => {
  const { seen, current, timers } = start(context);
  for (let second = 0; second < 60; second += 1) {
    const before = current();
    before.onclose?.();
    timers.tick(1000);
  }
  assert.ok(FakeSocket.all.length <= 20, `${FakeSocket.all.length} attempts in a minute`);
  assert.ok((seen.failures.at(-1) ?? 0) > 3);
  timers.tick(6000);
  current().onopen?.();
  current().onclose?.();
  assert.equal(seen.failures.at(-1), 1);
});
