"""A page of another origin in a real browser, against a daemon with default settings."""

import http.server
import json
import os
import shutil
import subprocess
import threading

import pytest
from attacker import LONG, Daemon

PAGE = """<!doctype html><script>
const port = %d, results = {};
const base = `http://127.0.0.1:${port}`;
const attempt = async (name, work) => {
  try { results[name] = await work(); } catch (error) { results[name] = "failed"; }
};
const socket = (path) => new Promise((done) => {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}?x-client-type=x`);
  socket.onopen = () => done("open");
  socket.onclose = () => done("closed");
});
(async () => {
  const body = '{"GremlinQuery": "G.V()"}';
  const node = '{"ID": "evil", "Metadata": {"Name": "x", "Type": "y"}}';
  await attempt("read", async () => (await fetch(base + "/api/topology")).status);
  await attempt("capture", async () =>
    (await fetch(base + "/api/capture", {method: "POST", mode: "no-cors", body})).type);
  await attempt("node", async () =>
    (await fetch(base + "/api/node", {method: "POST", mode: "no-cors", body: node})).type);
  await attempt("json", async () =>
    (await fetch(base + "/api/node", {method: "POST", headers: {"Content-Type": "application/json"}, body: node})).status);
  await attempt("delete", async () => (await fetch(base + "/api/node/known", {method: "DELETE"})).status);
  for (const path of ["/ws/subscriber", "/ws/publisher", "/ws/pubsub", "/ws/agent/topology"])
    await attempt(path, () => socket(path));
  const form = document.createElement("form");
  form.method = "POST"; form.enctype = "text/plain"; form.action = base + "/api/capture"; form.target = "frame";
  const field = document.createElement("input");
  field.name = '{"GremlinQuery": "G.V()", "x": "'; field.value = '"}';
  form.append(field);
  const frame = document.createElement("iframe"); frame.name = "frame";
  document.body.append(form, frame); form.submit();
  await new Promise((done) => { frame.onload = done; setTimeout(done, 3000); });
  await fetch("/done", {method: "POST", body: JSON.stringify(results)});
})();
</script><body></body>"""


@LONG
def test_a_foreign_page_can_do_nothing(tmp_path):
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not chromium:
        pytest.skip("SKIPPED: needs chromium")
    with Daemon(tmp_path) as daemon:
        known = {"ID": "known", "Metadata": {"Name": "known", "Type": "t"}}
        assert daemon.request("POST", "/api/node", known)[0] == 201
        done, results = threading.Event(), {}

        class Page(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                text = (PAGE % daemon.port).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def do_POST(self):
                results.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()
                done.set()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--no-first-run", "--disable-background-networking", f"--user-data-dir={tmp_path}/profile",
                   "--host-resolver-rules=MAP evil.example 127.0.0.1",
                   f"http://evil.example:{server.server_port}/"]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert done.wait(180), "the page did not end"
        finally:
            browser.kill()
            browser.wait()
            server.shutdown()
        # A response without permission to read it is "opaque": the page cannot read anything from it.
        assert set(results.values()) <= {"failed", "closed", "opaque"}, results
        assert json.loads(daemon.request("GET", "/api/capture")[2]) == {}
        assert list(json.loads(daemon.request("GET", "/api/node")[2])) == ["known"]
