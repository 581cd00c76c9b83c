// Firefox, driven over WebDriver BiDi (https://w3c.github.io/webdriver-bidi/): pages and scripts in them.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SLOWNESS } from "./browser.mjs";

const EXECUTABLE = process.env.FIREFOX ?? "firefox-esr";
/** Requests that Firefox sends of itself. */
const PREFERENCES = {
  "app.update.enabled": false,
  "browser.shell.checkDefaultBrowser": false,
  "datareporting.policy.dataSubmissionEnabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "toolkit.telemetry.enabled": false,
};

/** Returns whether Firefox is installed. */
export function hasFirefox() {
  return spawnSync("sh", ["-c", `command -v ${EXECUTABLE}`]).status === 0;
}

/** Starts Firefox with a profile of its own, and opens an address. */
export async function openInFirefox(url) {
  const profile = mkdtempSync(join(tmpdir(), "skyd-firefox-"));
  const lines = Object.entries(PREFERENCES).map(([key, value]) => `user_pref("${key}", ${value});`);
  writeFileSync(join(profile, "user.js"), lines.join("\n"));
  const child = spawn(EXECUTABLE, ["--headless", "--profile", profile, "--remote-debugging-port=0"], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, HOME: profile, MOZ_CRASHREPORTER_DISABLE: "1" },
  });
  try {
    const page = new FirefoxPage(child, profile, await Bidi.open(await portOf(child)));
    await page.start(url);
    return page;
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}

/** Returns the port that a starting Firefox prints. */
function portOf(child) {
  return new Promise((resolve, reject) => {
    let text = "";
    child.stderr.setEncoding("utf8").on("data", (more) => {
      text += more;
      const found = /WebDriver BiDi listening on ws:\/\/127\.0\.0\.1:(\d+)/.exec(text);
      found && resolve(Number(found[1]));
    });
    child.once("exit", () => reject(new Error(`Firefox ends: ${text.slice(0, 500)}`)));
  });
}

class FirefoxPage {
  /** Errors that the page logged. */
  errors = [];

  constructor(child, profile, bidi) {
    this.child = child;
    this.profile = profile;
    this.bidi = bidi;
    bidi.onEvent = (method, params) => {
      if (method === "log.entryAdded" && params.level === "error") {
        this.errors.push(params.text);
      }
    };
  }

  async start(url) {
    await this.bidi.call("session.new", { capabilities: {} });
    await this.bidi.call("session.subscribe", { events: ["log.entryAdded"] });
    const { contexts } = await this.bidi.call("browsingContext.getTree", {});
    this.context = contexts[0].context;
    await this.bidi.call("browsingContext.navigate", { context: this.context, url, wait: "complete" });
  }

  /** Returns the value of an expression: text, number, boolean, or nothing. */
  async js(expression) {
    const target = { context: this.context };
    const answer = await this.bidi.call("script.evaluate", { expression, target, awaitPromise: true });
    assert.equal(answer.type, "success", answer.exceptionDetails?.text);
    return answer.result.value;
  }

  /** Returns the first true result; fails with `what` after some seconds. */
  async until(expression, what, seconds = 30) {
    const end = performance.now() + seconds * SLOWNESS * 1000;
    for (;;) {
      const found = await this.js(expression);
      if (found) {
        return found;
      }
      assert.ok(performance.now() < end, `not within ${seconds * SLOWNESS} s: ${what}`);
      await sleep(200);
    }
  }

  async screenshot(path) {
    const { data } = await this.bidi.call("browsingContext.captureScreenshot", { context: this.context });
    writeFileSync(path, Buffer.from(data, "base64"));
  }

  async close() {
    this.bidi.close();
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGKILL");
    await ended;
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** A connection of WebDriver BiDi: JSON messages in WebSocket frames (RFC 6455). */
class Bidi {
  #pending = new Map();
  #next = 1;
  #received = Buffer.alloc(0);
  #message = [];

  static async open(port) {
    const bidi = new Bidi();
    const key = randomBytes(16).toString("base64");
    bidi.socket = connect(port, "127.0.0.1");
    bidi.socket.write(
      `GET /session HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n\r\n`,
    );
    await new Promise((resolve, reject) => {
      bidi.socket.once("error", reject);
      bidi.socket.on("data", (data) => {
        bidi.#received = Buffer.concat([bidi.#received, data]);
        const head = bidi.#received.indexOf("\r\n\r\n");
        if (!bidi.isOpen && head >= 0) {
          bidi.isOpen = true;
          bidi.#received = bidi.#received.subarray(head + 4);
          resolve();
        }
        bidi.isOpen && bidi.#read();
      });
    });
    return bidi;
  }

  #read() {
    for (;;) {
      const bytes = this.#received;
      const short = bytes.length > 1 ? bytes[1] & 0x7f : 0;
      const header = short === 127 ? 10 : short === 126 ? 4 : 2;
      if (bytes.length < header) {
        return;
      }
      const length = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short;
      if (bytes.length < header + length) {
        return;
      }
      this.#received = bytes.subarray(header + length);
      // Control frames have the bit 8.
      if ((bytes[0] & 0x08) === 0) {
        this.#message.push(bytes.subarray(header, header + length));
        if ((bytes[0] & 0x80) !== 0) {
          this.#receive(JSON.parse(Buffer.concat(this.#message).toString("utf8")));
          this.#message = [];
        }
      }
    }
  }

  #receive(message) {
    const pending = this.#pending.get(message.id);
    if (message.type === "event") {
      this.onEvent?.(message.method, message.params);
    } else if (pending) {
      this.#pending.delete(message.id);
      message.type === "error" ? pending.reject(new Error(message.message)) : pending.resolve(message.result);
    }
  }

  call(method, params) {
    const id = this.#next++;
    const payload = Buffer.from(JSON.stringify({ id, method, params }));
    const header = Buffer.alloc(payload.length < 126 ? 2 : 4);
    header[0] = 0x81;
    header[1] = 0x80 | Math.min(payload.length, 126);
    payload.length >= 126 && header.writeUInt16BE(payload.length, 2);
    const mask = randomBytes(4);
    const masked = payload.map((byte, index) => byte ^ mask[index % 4]);
    this.socket.write(Buffer.concat([header, mask, masked]));
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
  }

  close() {
    this.socket.destroy();
  }
}
