// The page in Firefox: the first view, a search, a capture. Skipped where Firefox is not installed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SLOWNESS } from "./browser.mjs";
import { shell, startDaemon } from "./daemon.mjs";
import { hasFirefox, openInFirefox } from "./firefox.mjs";

/** Expression that is the element of a role and name, as far as this page names elements by attributes. */
const byLabel = (selector, label) => `document.querySelector('${selector}[aria-label="${label}"]')`;
const byText = (selector, text) =>
  `[...document.querySelectorAll('${selector}')].find((element) => element.textContent.trim() === "${text}")`;
const hasItem = (pattern) =>
  `[...document.querySelectorAll('[role=treeitem]')].some((item) => ${pattern}.test(item.getAttribute('aria-label')))`;
const type = (element, text) => `(() => {
  const field = ${element};
  field.focus();
  field.value = ${JSON.stringify(text)};
  field.dispatchEvent(new InputEvent("input", { bubbles: true }));
  return true;
})()`;

test(
  "Firefox shows the network, finds an address, and starts a capture",
  {
    skip: hasFirefox() ? false : "Firefox is not installed (apt-get install firefox-esr)",
    timeout: 180_000 * SLOWNESS,
  },
  async () => {
    const daemon = await startDaemon();
    const page = await openInFirefox(daemon.url);
    try {
      await page.until(hasItem("/^br0, bridge/"), "the tree has the bridge");
      await page.until(`${byLabel("[role=status]", "Connection")}.textContent === "Live"`, "it is live");
      const picture = "document.querySelector('.graph canvas').toDataURL().length";
      await page.until(`${picture} > 5000`, "the graph is drawn");
      shell("ip link add fire0 type bridge");
      try {
        await page.until(hasItem("/^fire0, /"), "a new bridge appears");
      } finally {
        shell("ip link del fire0");
      }
      await page.js(type(byLabel("[role=combobox]", "Search or Gremlin"), "192.0.2.2/"));
      await page.until("document.querySelectorAll('[role=option]').length === 1", "one result");
      await page.js("document.querySelector('[role=option]').click()");
      await page.until("document.querySelector('.details h2')?.textContent.trim() === 'eth0'", "its details");
      await page.js(`${byText("button", "Start capture")}.click()`);
      await page.until("document.querySelector('dialog[open]') !== null", "the dialog");
      await page.js(type("document.querySelector('#field-BPFFilter')", "udp"));
      await page.js(`${byText("dialog button", "Start")}.click()`);
      await page.until(hasItem("/^eth0, veth.*, captured/"), "the capture runs");
      assert.equal(Object.keys(await daemon.request("GET", "/api/capture")).length, 1);
      assert.deepEqual(page.errors, []);
      process.env.SHOTS && (await page.screenshot(`${process.env.SHOTS}/firefox.png`));
    } finally {
      await page.close();
      await daemon.close();
    }
  },
);
