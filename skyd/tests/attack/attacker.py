"""A daemon under attack: starts it, talks raw HTTP and WebSocket to it, measures it. Standard library only."""

import contextlib
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

from daemon import binary, free_port  # noqa: E402 (found through the line above)

# Attacks that take long or many resources run with `make attack` only.
LONG = pytest.mark.skipif(not os.environ.get("SKYD_ATTACK"), reason="SKIPPED: run make attack")


class Daemon:
    """A `skyd` process with a scratch data folder; a context manager."""

    def __init__(self, folder, *settings, mode="analyzer", prefix=()):
        self.port = free_port()
        self.log = Path(folder) / "skyd.log"
        command = [*prefix, binary(), mode]
        for setting in (f"analyzer.listen=127.0.0.1:{self.port}",
                        f"storage.local.path={folder}/store", "host_id=victim", *settings):
            command += ["--set", setting]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.until("the daemon to start", lambda: self.try_request("GET", "/api") is not None, 60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            finally:
                self.process.kill()

    def until(self, what, ready, seconds=120):
        """Polls until `ready()` is true. The time is generous: no attack is judged by it."""
        end = time.monotonic() + seconds
        while not (found := ready()):
            assert self.process.poll() is None, f"the daemon exited:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < end, f"waited for {what}\n{self.log.read_text()[-3000:]}"
            time.sleep(0.02)
        return found

    def request(self, method, path, body=None, headers=(), timeout=120):
        """Returns status, headers, and body of a response on a new connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            data = json.dumps(body) if isinstance(body, (dict, list)) else body
            connection.request(method, path, data, dict(headers))
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def try_request(self, *arguments, **keywords):
        """Returns what `request` returns, or `None` if the connection fails."""
        try:
            return self.request(*arguments, **keywords)
        except (OSError, http.client.HTTPException):
            return None

    def query(self, gremlin, headers=()):
        status, _, text = self.request("POST", "/api/topology", {"GremlinQuery": gremlin}, headers)
        return status, text

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), 120)

    def measure(self):
        """Returns resident memory in MiB, its high water mark, threads, and descriptors."""
        wanted = {"VmRSS": "rss", "VmHWM": "peak", "Threads": "threads"}
        found = {"fds": len(os.listdir(f"/proc/{self.process.pid}/fd"))}
        for line in open(f"/proc/{self.process.pid}/status"):
            name, _, value = line.partition(":")
            if name in wanted:
                number = int(value.split()[0])
                found[wanted[name]] = number if name == "Threads" else number // 1024
        return found


class WebSocket:
    """A raw WebSocket client that answers pings while it reads."""

    def __init__(self, daemon, path, client_type="attacker", host_id=None, headers=()):
        self.socket, self.lock, self.buffer = daemon.connect(), threading.Lock(), b""
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{daemon.port}", "Upgrade: websocket",
                 "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                 "Sec-WebSocket-Version: 13", f"X-Client-Type: {client_type}", *headers]
        if host_id:
            lines.append(f"X-Host-ID: {host_id}")
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        while b"\r\n\r\n" not in self.buffer:
            more = self.socket.recv(4096)
            if not more:
                break
            self.buffer += more
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        self.status = int(head.split()[1]) if head else 0

    @staticmethod
    def frame(data, opcode=1):
        length = len(data)
        if length < 126:
            head = bytes([0x80 | opcode, 0x80 | length])
        elif length < 65536:
            head = bytes([0x80 | opcode, 0x80 | 126]) + struct.pack(">H", length)
        else:
            head = bytes([0x80 | opcode, 0x80 | 127]) + struct.pack(">Q", length)
        return head + bytes(4) + data

    def send(self, *messages):
        """Sends messages of the namespace Graph: pairs of a type and an object."""
        frames = []
        for kind, content in messages:
            message = {"Namespace": "Graph", "Type": kind, "UUID": "u", "Status": 200, "Obj": content}
            frames.append(self.frame(json.dumps(message).encode()))
        with self.lock:
            self.socket.sendall(b"".join(frames))

    def _exactly(self, length):
        while len(self.buffer) < length:
            more = self.socket.recv(1 << 20)
            if not more:
                raise EOFError
            self.buffer += more
        data, self.buffer = self.buffer[:length], self.buffer[length:]
        return data

    def receive(self):
        """Returns opcode and payload of the next frame except pings."""
        while True:
            first, length = self._exactly(2)
            if length == 126:
                length = struct.unpack(">H", self._exactly(2))[0]
            elif length == 127:
                length = struct.unpack(">Q", self._exactly(8))[0]
            data = self._exactly(length)
            if first & 15 != 9:
                return first & 15, data
            with self.lock:
                self.socket.sendall(self.frame(data, 10))

    def sync(self):
        """Returns the graph; all messages sent before have been processed then."""
        self.send(("SyncRequest", {}))
        text = b""
        while True:
            opcode, data = self.receive()
            assert opcode != 8, "closed"
            text = data if opcode else text + data
            with contextlib.suppress(ValueError):
                message = json.loads(text)
                if message.get("Type") == "SyncReply":
                    return message["Obj"]

    def pump(self):
        """Answers pings in the background and discards messages."""
        def run():
            with contextlib.suppress(OSError, EOFError):
                while self.receive()[0] != 8:
                    pass
        threading.Thread(target=run, daemon=True).start()
        return self

    def close(self):
        self.socket.close()


def node(name, **metadata):
    return {"ID": name, "Metadata": {"Name": name, "Type": "device", **metadata}}


def load_graph(daemon, nodes, fan=3, pad=0):
    """Publishes a graph in which node i has edges to `fan` earlier nodes; returns the publisher."""
    metadata = {"Pad": "x" * pad} if pad else {}
    publisher = WebSocket(daemon, "/ws/publisher", host_id="loader")
    for start in range(0, nodes, 500):
        messages = [("NodeAdded", node(f"n{i}", **metadata)) for i in range(start, min(start + 500, nodes))]
        for i in range(max(start, 1), min(start + 500, nodes)):
            messages += [("EdgeAdded", {"ID": f"e{i}-{k}", "Parent": f"n{i}", "Child": f"n{(i * 7 + k) % i}",
                                        "Metadata": {"RelationType": "layer2"}}) for k in range(fan)]
        publisher.send(*messages)
    publisher.pump()
    daemon.until("the graph", lambda: daemon.query("G.V().Count()")[1].strip() == str(nodes).encode()
                 and daemon.query("G.E().Count()")[1].strip() == str((nodes - 1) * fan).encode())
    return publisher
