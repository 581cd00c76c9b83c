// The table of requirements names tests that exist.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const REQUIREMENTS = 76;
const ROOT = join("..", "..");

test("each requirement is shown by a test that exists", () => {
  const rows = readFileSync(join("test", "requirements.md"), "utf8")
    .split("\n")
    .filter((line) => /^\| R\d+ +\|/.test(line));
  const numbers = rows.map((row) => Number(/^\| R(\d+)/.exec(row)?.[1]));
  assert.deepEqual(
    numbers,
    Array.from({ length: REQUIREMENTS }, (_, index) => index + 1),
  );
  for (const row of rows) {
    if (/\| Reason: .+\|$/.test(row)) {
      continue;
    }
    const tests = [...(row.split(" | ").at(-1) ?? "").matchAll(/`([^`]+?): ([^`]*)`/g)];
    assert.ok(tests.length > 0, `${row} names no test`);
    for (const [, file = "", name = ""] of tests) {
      const path = file.startsWith("skyd/") ? join(ROOT, file) : join("test", file);
      assert.ok(existsSync(path), `${file} does not exist`);
      assert.ok(readFileSync(path, "utf8").includes(name), `${file} has no test "${name}"`);
    }
  }
});
