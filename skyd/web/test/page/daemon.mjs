// A daemon in the private network that `run` creates, with data in a folder of its own.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SLOWNESS } from "./browser.mjs";

/** Runs a shell command. */
export function shell(command) {
  const done = spawnSync("sh", ["-c", command], { encoding: "utf8" });
  if (done.status !== 0) {
    throw new Error(`${command}: ${done.stderr}`);
  }
  return done.stdout;
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Starts a daemon with additional settings, such as `auth.basic.users={ann: one}`. */
export async function startDaemon(settings = [], role = "allinone") {
  const daemon = new Daemon(await freePort(), settings, role);
  await daemon.start();
  return daemon;
}

class Daemon {
  constructor(port, settings, role) {
    this.role = role;
    this.port = port;
    this.settings = settings;
    this.folder = mkdtempSync(join(tmpdir(), "skyd-page-data-"));
    writeFileSync(
      join(this.folder, "skyd.yml"),
      [
        "analyzer:",
        `  listen: 127.0.0.1:${port}`,
        "agent:",
        "  topology:",
        "    netlink:",
        "      metrics_update: 1",
        "storage:",
        "  local:",
        `    path: ${this.folder}/data`,
        "flow:",
        "  update: 2",
        "",
      ].join("\n"),
    );
  }

  get url() {
    return `http://127.0.0.1:${this.port}/`;
  }

  async start() {
    const sets = this.settings.flatMap((setting) => ["--set", setting]);
    this.child = spawn(process.env.SKYD, [this.role, "-c", join(this.folder, "skyd.yml"), ...sets], {
      stdio: "ignore",
    });
    for (let attempt = 0; attempt < 400 * SLOWNESS; attempt += 1) {
      const answer = await fetch(`${this.url}api`).catch(() => undefined);
      if (answer) {
        return;
      }
      await sleep(50);
    }
    throw new Error("the daemon does not start");
  }

  /** Ends the process at once. */
  async kill() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGKILL");
    await ended;
  }

  async request(method, path, body = undefined) {
    const headers = { "Content-Type": "application/json" };
    const response = await fetch(`${this.url}${path.replace(/^\//, "")}`, {
      method,
      headers,
      body: body && JSON.stringify(body),
    });
    const text = await response.text();
    return text === "" ? null : JSON.parse(text);
  }

  query(gremlin) {
    return this.request("POST", "/api/topology", { GremlinQuery: gremlin });
  }

  async close() {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      await this.kill();
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Sends UDP packets from the namespace `blue` to `red` and back, until the returned function is called. */
export function talk(port = 9999, size = 500) {
  const script = join(import.meta.dirname ?? new URL(".", import.meta.url).pathname, "talk.mjs");
  const children = ["red", "blue"].map((space) =>
    spawn("ip", ["netns", "exec", space, process.execPath, script, space, String(port), String(size)], {
      stdio: "ignore",
    }),
  );
  return () => children.forEach((child) => child.kill("SIGKILL"));
}

/** Returns the first bytes of a file in hexadecimal. */
export function magicOf(path) {
  return readFileSync(path).subarray(0, 4).toString("hex");
}
