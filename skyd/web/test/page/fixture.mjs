// What the tests share: a browser per file, a daemon and a page per test, and checks at the end.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startBrowser } from "./browser.mjs";
import { startDaemon } from "./daemon.mjs";

let browser;

before(async () => {
  browser = await startBrowser();
});
after(() => browser?.close());

/** Defines a test with a fresh daemon and page. Afterwards, the page must have no errors and must not
 * have requested anything from another server. */
export function pageTest(name, run, options = {}) {
  test(name, { timeout: 180_000 }, async () => {
    const daemon = await startDaemon(options.settings);
    const page = await browser.page(options);
    try {
      await page.open(daemon.url + (options.fragment ?? ""));
      if (!options.settings) {
        await page.get("status", "Connection");
        await page.until(async () => (await page.all("treeitem")).length > 0, "the tree has items");
      }
      await run({ page, daemon, browser });
      assert.deepEqual(page.errors, []);
      const foreign = page.requests.filter((url) => !/^(data:|blob:|about:)/.test(url) && !url.startsWith(daemon.url));
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
