// The requests of Skydive's own web interfaces. UI v2 is on another origin, which `http.cors.origins` allows,
// and sends the token in a header and in the address of the WebSocket. UI v1 is on the origin of the API,
// here behind a proxy, and reads the token and the permissions from cookies.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before } from "node:test";
import { pageTest } from "./fixture.mjs";
import { startProxy } from "./proxy.mjs";

const AUTH = [
  "analyzer.auth.api.backend=mine",
  "auth.mine.type=basic",
  "auth.mine.users={ann: one}",
  "auth.mine.role=admin",
];

let foreign;
let origin;
before(async () => {
  foreign = createServer((_, response) => response.writeHead(200, { "Content-Type": "text/html" }).end("<p>UI v2"));
  await new Promise((resolve) => foreign.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${foreign.address().port}/`;
});
after(() => foreign.close());

/** What UI v2 does after its login dialog; runs in its page. */
const UI_V2 = `async (api, user, password) => {
  const result = {};
  const login = await fetch(api + "login", {
    method: "POST",
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ username: user, password }),
  });
  result.login = login.status;
  const { Token } = await login.json();
  const headers = { "X-Auth-Token": Token };
  const get = async (path) => (await fetch(api + path, { headers })).json();
  result.service = (await get("api/")).Service;
  result.status = typeof (await get("api/status"));
  const post = (path, body) =>
    fetch(api + path, {
      method: "POST",
      headers: { ...headers, "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify(body),
    });
  const answer = await post("api/topology", { GremlinQuery: 'G.V().Has("Type", "host").Values("Name")' });
  result.hosts = (await answer.json()).length;
  result.capture = (await post("api/capture", { GremlinQuery: "G.V().Has('Name', 'br0')" })).status;
  const socket = new WebSocket(api.replace("http", "ws") + "ws/subscriber?x-client-type=webui&x-auth-token=" + Token);
  result.nodes = await new Promise((resolve, reject) => {
    socket.onerror = () => reject(new Error("the WebSocket cannot be opened"));
    socket.onopen = () => socket.send(JSON.stringify({ Namespace: "Graph", Type: "SyncRequest", Obj: {} }));
    socket.onmessage = ({ data }) => {
      const { Type, Obj } = JSON.parse(data);
      Type === "SyncReply" && resolve(Obj.Nodes.length);
    };
  });
  return result;
}`;

for (const [name, settings] of [
  ["with passwords", () => AUTH],
  ["without passwords", () => [`http.cors.origins=[${origin.slice(0, -1)}]`]],
]) {
  pageTest(
    `UI v2 on another origin works ${name}`,
    async ({ page, daemon, origins }) => {
      origins.push(origin);
      await page.open(origin);
      const run = `(${UI_V2})(${JSON.stringify(daemon.url)}, "ann", "one")`;
      const { nodes, ...result } = await page.js(run);
      assert.deepEqual(result, { login: 200, service: "analyzer", status: "object", hosts: 1, capture: 201 });
      assert.ok(nodes > 5, `${nodes} nodes`);
    },
    { settings, isEmpty: true },
  );
}

pageTest(
  "a page on an origin that is not allowed can do nothing",
  async ({ page, daemon, origins }) => {
    origins.push(origin);
    await page.open(origin);
    const refused = await page.js(`(async () => {
      const outcome = (promise) => promise.then((answer) => "status " + answer.status, () => "refused");
      const api = ${JSON.stringify(daemon.url)};
      const json = { "Content-Type": "application/json" };
      const capture = { method: "POST", body: '{"GremlinQuery":"G.V()"}' };
      const connect = (resolve) => {
        const socket = new WebSocket(api.replace("http", "ws") + "ws/subscriber");
        socket.onopen = () => resolve("open");
        socket.onerror = () => resolve("refused");
      };
      return [
        await outcome(fetch(api + "api/topology")),
        await outcome(fetch(api + "api/capture", { ...capture, headers: json })),
        await new Promise(connect),
        // A form or an opaque request needs no permission of the server to be sent.
        (await fetch(api + "api/capture", { ...capture, mode: "no-cors" }).then(() => "sent", () => "refused")),
      ];
    })()`);
    assert.deepEqual(refused.slice(0, 3), ["refused", "refused", "refused"]);
    assert.deepEqual(await daemon.request("GET", "/api/capture"), {}, "nothing was created");
    page.errors.length = 0;
  },
  { settings: [], isEmpty: true },
);

pageTest(
  "UI v1 reads its cookies and follows the graph",
  async ({ page, daemon, origins }) => {
    const proxy = await startProxy(daemon);
    try {
      origins.push(proxy.url);
      proxy.behavior.answer = (_, path) => (path === "/ui-v1" ? [200, "UI v1"] : undefined);
      await page.open(`${proxy.url}ui-v1`);
      const result = await page.js(`(async () => {
        const form = new URLSearchParams({ username: "ann", password: "one" });
        const login = await fetch("/login", { method: "POST", body: form });
        const permissions = /permissions=([^;]*)/.exec(document.cookie)[1];
        const socket = new WebSocket(location.origin.replace("http", "ws") + "/ws/subscriber?x-client-type=webui&x-update-policy=partial");
        const nodes = await new Promise((resolve) => {
          socket.onopen = () => socket.send(JSON.stringify({ Namespace: "Graph", Type: "SyncRequest", Obj: { GremlinFilter: "G.V().Has('Type', 'bridge').SubGraph()" } }));
          socket.onmessage = ({ data }) => { const message = JSON.parse(data); message.Type === "SyncReply" && resolve(message.Obj.Nodes.length); };
        });
        return {
          login: login.status,
          token: /authtoken=\\w+/.test(document.cookie),
          permissions: JSON.parse(atob(decodeURIComponent(permissions))).length > 5,
          alerts: (await fetch("/api/alert")).status,
          nodes,
        };
      })()`);
      assert.deepEqual(result, { login: 200, token: true, permissions: true, alerts: 200, nodes: 1 });
    } finally {
      proxy.close();
    }
  },
  { settings: AUTH, isEmpty: true },
);
