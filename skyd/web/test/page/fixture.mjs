// What the tests share: a browser per file, a daemon and a page per test, and checks at the end.

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { SLOWNESS, startBrowser } from "./browser.mjs";
import { startDaemon } from "./daemon.mjs";

let browser;

after(() => browser?.close());

/** Defines a test with a fresh daemon and page. Afterwards, the page must have no errors and must not
 * have requested anything from another server. */
export function pageTest(name, run, options = {}) {
  test(name, { timeout: 180_000 * SLOWNESS }, async () => {
    const { settings } = options;
    const daemon = await startDaemon(typeof settings === "function" ? settings() : settings, options.role);
    browser ??= await startBrowser();
    const page = await browser.page(options);
    try {
      await page.open(daemon.url + (options.fragment ?? ""));
      if (!options.settings && !options.isEmpty) {
        await page.get("status", "Connection");
        await page.until(async () => (await page.all("treeitem")).length > 0, "the tree has items");
      }
      const origins = [daemon.url];
      await run({ page, daemon, browser, origins });
      assert.deepEqual(page.errors, []);
      const foreign = page.requests.filter(
        (url) => !/^(data:|blob:|about:)/.test(url) && !origins.some((own) => url.startsWith(own)),
      );
      assert.deepEqual(foreign, []);
    } finally {
      await page.close();
      await daemon.close();
    }
  });
}

/** Returns the text of the only element of a role and name. */
export async function textOf(page, role, name) {
  return (await page.get(role, name)).text();
}

/** Waits until the connection has a state: a text or a pattern. */
export async function connected(page, text, seconds = 10) {
  await page.until(
    async () => {
      const shown = await textOf(page, "status", "Connection");
      return text instanceof RegExp ? text.test(shown) : shown === text;
    },
    `Connection is ${text}`,
    seconds,
  );
}

/** Returns the tree item of a node. */
export function item(page, name, more = "") {
  return page.get("treeitem", new RegExp(`^${name}, .*${more}`));
}

/** Selects a node by the tree and waits for its details. */
export async function selectNode(page, name) {
  await (await item(page, name)).click();
  await page.get("heading", name);
}

/** Lets a page save files. `next` waits for a file whose name matches, and returns its path. */
export async function downloads(page, browser) {
  const folder = mkdtempSync(join(tmpdir(), "skyd-page-files-"));
  await browser.call("Browser.setDownloadBehavior", {
    behavior: "allow",
    browserContextId: page.context,
    downloadPath: folder,
  });
  return {
    folder,
    next: (pattern) =>
      page.until(async () => {
        const name = readdirSync(folder).find((known) => pattern.test(known));
        return name && join(folder, name);
      }, `a file ${pattern}`),
    remove: () => rmSync(folder, { recursive: true }),
  };
}
