"""A `skyd` process for tests."""

import base64
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def binary():
    """Returns the path of the daemon under test: $SKYD, else the debug build of `make test`."""
    path = Path(os.environ.get("SKYD", TARGET / "debug" / "skyd"))
    assert path.exists(), f"{path} does not exist: run cargo build -p skyd"
    return str(path)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Daemon:
    """A `skyd` process with a scratch data folder."""

    def __init__(self, folder, mode="allinone", settings=(), credentials=None):
        self.port = free_port()
        self.endpoint = f"127.0.0.1:{self.port}"
        self.log = folder / "skyd.log"
        command = [binary(), mode]
        for setting in (f"analyzer.listen={self.endpoint}", f"storage.local.path={folder / 'store'}",
                        *settings):
            command += ["--set", setting]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.authorization = {}
        if credentials:
            token = base64.b64encode(":".join(credentials).encode()).decode()
            self.authorization = {"Authorization": f"Basic {token}"}
        # The status is 401 with password authentication and 400 on a TLS port.
        self.wait(lambda: self.request("GET", "/api")[0] in (200, 400, 401), "the daemon to start", 20)

    def request(self, method, path, body=None, headers=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            f"http://{self.endpoint}{path}", data,
            {**self.authorization, **(headers or {"Content-Type": "application/json"})},
            method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def query(self, gremlin):
        status, text = self.request("POST", "/api/topology", {"GremlinQuery": gremlin})
        assert status == 200, f"{gremlin}: {status} {text}"
        return json.loads(text)

    def wait(self, ready, what, seconds=10):
        """Polls until `ready()` returns a true value, and returns that value."""
        end = time.monotonic() + seconds
        while True:
            assert self.process.poll() is None, f"the daemon exited:\n{self.log.read_text()}"
            if found := ready():
                return found
            assert time.monotonic() < end, f"waited {seconds} s for {what}\n{self.log.read_text()[-2000:]}"
            time.sleep(0.05)

    def stop(self):
        """Stops the daemon; returns the seconds until it exited."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        return time.monotonic() - began
