// A real Chromium, driven over its own pipe: pages, the accessibility tree, mouse, and keys.
//
// Elements are found as a screen reader finds them: by role and accessible name.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--no-first-run",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage",
  "--hide-scrollbars",
  "--mute-audio",
  "--disable-breakpad",
  "--force-color-profile=srgb",
  "--disable-backgrounding-occluded-windows",
  "--disable-renderer-backgrounding",
  "--remote-debugging-pipe",
  "--window-size=1440,900",
];
/** Factor of all time limits, for machines that do other work too. */
export const SLOWNESS = Number(process.env.PAGE_SLOWNESS ?? 1);
/** Time between two looks at a page: each reads the whole accessibility tree. */
const POLL_MS = 120;
const KEY_CODES = {
  Enter: 13,
  Tab: 9,
  Escape: 27,
  ArrowUp: 38,
  ArrowDown: 40,
  ArrowLeft: 37,
  ArrowRight: 39,
  Home: 36,
  End: 35,
  F6: 117,
  F10: 121,
};

/** Starts a browser with a profile of its own. */
export async function startBrowser(executable = process.env.CHROMIUM ?? "chromium") {
  const profile = mkdtempSync(join(tmpdir(), "skyd-page-"));
  const child = spawn(executable, [...FLAGS, `--user-data-dir=${profile}`, "about:blank"], {
    stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
    env: { ...process.env, HOME: profile, DBUS_SESSION_BUS_ADDRESS: "/dev/null" },
  });
  const browser = new Browser(child, profile);
  await browser.call("Browser.getVersion");
  return browser;
}

class Browser {
  #pending = new Map();
  #next = 1;
  #rest = "";
  /** Handlers of events, by session. */
  sessions = new Map();

  constructor(child, profile) {
    this.child = child;
    this.profile = profile;
    child.stdio[4].setEncoding("utf8").on("data", (text) => this.#receive(text));
    child.stdio[3].on("error", () => {});
  }

  #receive(text) {
    const parts = (this.#rest + text).split("\0");
    this.#rest = parts.pop();
    for (const part of parts) {
      const message = JSON.parse(part);
      const pending = this.#pending.get(message.id);
      this.#pending.delete(message.id);
      if (pending) {
        message.error
          ? pending.reject(new Error(`${pending.method}: ${message.error.message}`))
          : pending.resolve(message.result);
      } else {
        this.sessions.get(message.sessionId)?.(message.method, message.params);
      }
    }
  }

  call(method, params = {}, sessionId = undefined) {
    const id = this.#next++;
    this.child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject, method }));
  }

  /** Opens a page in a context of its own: cookies and storage are not shared. */
  async page(options = {}) {
    const { browserContextId } = await this.call("Target.createBrowserContext");
    const { width = 1440, height = 900 } = options;
    const { targetId } = await this.call("Target.createTarget", { url: "about:blank", browserContextId });
    const { sessionId } = await this.call("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, sessionId, browserContextId);
    for (const domain of ["Page", "Runtime", "Network", "DOM", "Accessibility", "Log"]) {
      await page.call(`${domain}.enable`);
    }
    await page.call("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
    const features = [{ name: "prefers-color-scheme", value: options.dark ? "dark" : "light" }];
    await page.call("Emulation.setEmulatedMedia", { features });
    return page;
  }

  async close() {
    await Promise.race([this.call("Browser.close").catch(() => {}), sleep(3000)]);
    await Promise.race([new Promise((resolve) => this.child.once("exit", resolve)), sleep(3000)]);
    this.child.kill("SIGKILL");
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

class Page {
  /** Errors that the page logged or threw, and the addresses that it requested or connected to. */
  errors = [];
  requests = [];
  sockets = [];

  constructor(browser, session, context) {
    this.browser = browser;
    this.session = session;
    this.context = context;
    browser.sessions.set(session, (method, params) => this.#hear(method, params));
  }

  #hear(method, params) {
    if (method === "Runtime.exceptionThrown") {
      this.errors.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    } else if (method === "Runtime.consoleAPICalled" && params.type === "error") {
      this.errors.push(params.args.map((arg) => arg.value ?? arg.description).join(" "));
    } else if (method === "Log.entryAdded" && params.entry.level === "error" && params.entry.source !== "network") {
      this.errors.push(params.entry.text);
    } else if (method === "Network.requestWillBeSent") {
      this.requests.push(params.request.url);
    } else if (method === "Network.webSocketCreated") {
      this.sockets.push(params.url);
    }
  }

  call(method, params = {}) {
    return this.browser.call(method, params, this.session);
  }

  async open(url) {
    await this.call("Page.navigate", { url });
    await this.until(() => this.js("document.readyState === 'complete'"), "the page loads");
  }

  async js(expression) {
    const answer = await this.call("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    if (answer.exceptionDetails) {
      throw new Error(answer.exceptionDetails.exception?.description ?? answer.exceptionDetails.text);
    }
    return answer.result.value;
  }

  /** Returns the first true result; fails with `what` after some seconds. */
  async until(condition, what, seconds = 20) {
    const end = performance.now() + seconds * SLOWNESS * 1000;
    for (;;) {
      const found = await condition().catch(() => undefined);
      if (found) {
        return found;
      }
      assert.ok(performance.now() < end, `not within ${seconds * SLOWNESS} s: ${what}`);
      await sleep(POLL_MS);
    }
  }

  /** Returns the elements of a role and name: exact text or a pattern. */
  async all(role, name = undefined) {
    const { nodes } = await this.call("Accessibility.getFullAXTree");
    const fits = (text) => name === undefined || (name instanceof RegExp ? name.test(text) : text === name);
    return nodes
      .filter((node) => !node.ignored && node.role?.value === role && fits(node.name?.value ?? ""))
      .map((node) => new Element(this, node));
  }

  /** Returns the only element of a role and name; waits for it. */
  async get(role, name = undefined, seconds = 20) {
    return this.until(
      async () => {
        const found = await this.all(role, name);
        return found.length === 1 ? found[0] : undefined;
      },
      `one ${role} ${name ?? ""}`,
      seconds,
    );
  }

  /** Delivers a message on the page's WebSocket, as if the daemon had sent it. Requires `hookSockets`. */
  async deliver(message) {
    await this.js(`window.testSocket.onmessage({ data: ${JSON.stringify(JSON.stringify(message))} })`);
  }

  /** Lets tests reach the WebSocket of the pages that are opened from now on. */
  hookSockets() {
    const source =
      "const Socket = WebSocket; window.WebSocket = class extends Socket { constructor(url) { super(url); window.testSocket = this; } };";
    return this.call("Page.addScriptToEvaluateOnNewDocument", { source });
  }

  /** Chooses a file in the file field of a name. */
  async upload(name, path) {
    const expression = `document.querySelector('input[type=file][aria-label="${name}"], input[type=file][id="${name}"]')`;
    const { result } = await this.call("Runtime.evaluate", { expression });
    await this.call("DOM.setFileInputFiles", { files: [path], objectId: result.objectId });
  }

  async absent(role, name = undefined) {
    await this.until(async () => (await this.all(role, name)).length === 0, `no ${role} ${name ?? ""}`);
  }

  /** Clicks the only element of a role and name; finds it again if it was replaced or covered meanwhile. */
  async click(role, name = undefined) {
    await this.until(
      async () => {
        await (await this.get(role, name)).click();
        return true;
      },
      `a click on ${role} ${name ?? ""}`,
    );
  }

  async press(key, modifiers = 0) {
    const text = key.length === 1 ? key : key === "Enter" ? "\r" : undefined;
    const code = KEY_CODES[key] ?? key.toUpperCase().charCodeAt(0);
    const event = { key, windowsVirtualKeyCode: code, modifiers };
    await this.call("Input.dispatchKeyEvent", { ...event, type: text ? "keyDown" : "rawKeyDown", text });
    await this.call("Input.dispatchKeyEvent", { ...event, type: "keyUp" });
  }

  async screenshot(path) {
    const { data } = await this.call("Page.captureScreenshot", { format: "png" });
    writeFileSync(path, Buffer.from(data, "base64"));
  }

  async close() {
    await this.browser.call("Target.disposeBrowserContext", { browserContextId: this.context });
    this.browser.sessions.delete(this.session);
  }
}

class Element {
  constructor(page, node) {
    this.page = page;
    this.node = node.backendDOMNodeId;
    this.name = node.name?.value ?? "";
    this.properties = Object.fromEntries((node.properties ?? []).map(({ name, value }) => [name, value.value]));
  }

  /** Calls a function body with `this` as the element. */
  async js(body, ...args) {
    const { object } = await this.page.call("DOM.resolveNode", { backendNodeId: this.node });
    const answer = await this.page.call("Runtime.callFunctionOn", {
      objectId: object.objectId,
      functionDeclaration: `function(...args) { ${body} }`,
      arguments: args.map((value) => ({ value })),
      returnByValue: true,
    });
    return answer.result.value;
  }

  text() {
    return this.js("return this.innerText ?? ''");
  }

  focus() {
    return this.page.call("DOM.focus", { backendNodeId: this.node });
  }

  /** Clicks in the middle of the element, with modifiers such as 8 for Shift. */
  async click(button = "left", modifiers = 0) {
    await this.page.call("DOM.scrollIntoViewIfNeeded", { backendNodeId: this.node });
    const { quads } = await this.page.call("DOM.getContentQuads", { backendNodeId: this.node });
    const [x, y] = [0, 1].map((axis) => [0, 2, 4, 6].reduce((sum, corner) => sum + quads[0][corner + axis], 0) / 4);
    const isHit = await this.js(
      "const hit = document.elementFromPoint(...args); return Boolean(hit) && (this.contains(hit) || hit.contains(this))",
      x,
      y,
    );
    assert.ok(isHit, `${this.name} is covered by another element`);
    const event = { x, y, button, clickCount: 1, modifiers };
    await this.page.call("Input.dispatchMouseEvent", { ...event, type: "mousePressed" });
    await this.page.call("Input.dispatchMouseEvent", { ...event, type: "mouseReleased" });
  }

  /** Replaces the text of a field as a person typing would. */
  async fill(text) {
    await this.focus();
    await this.js("this.select()");
    text === "" ? await this.page.press("Backspace") : await this.page.call("Input.insertText", { text });
  }
}
