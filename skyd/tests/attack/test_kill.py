"""The daemon is killed while clients create, patch, and delete: no acknowledged change may be lost or undone."""

import json
import os
import random
import threading
import time

from attacker import LONG, Daemon

ROUNDS = int(os.environ.get("ATTACK_ROUNDS", "100"))
WORKERS = 4


class Writer:
    """One client and what it knows: the state of each element after the last acknowledged change."""

    def __init__(self, number):
        self.number, self.count = number, 0
        self.versions = {}         # node -> acknowledged version; None: deleted
        self.captures = {}         # capture -> whether it exists
        self.unknown = {}          # node or capture -> state after a change without an answer
        self.acknowledged = 0

    def work(self, daemon, chance):
        """Makes changes until the daemon dies."""
        while True:
            try:
                self.change(daemon, chance)
            except (OSError, EOFError, ValueError, ConnectionError) as error:
                return error
            except Exception as error:  # noqa: BLE001 (http.client has its own exceptions)
                return error

    def change(self, daemon, chance):
        nodes = [name for name, version in self.versions.items() if version is not None]
        captures = [name for name, exists in self.captures.items() if exists]
        kind = chance.random()
        if kind < 0.35 or not nodes:
            self.count += 1
            name = f"w{self.number}-{self.count}"
            body = {"ID": name, "Metadata": {"Name": name, "Type": "device", "Version": 0}}
            self.node(name, 0, daemon, "POST", "/api/node", body, 201)
        elif kind < 0.65:
            name = chance.choice(nodes)
            version = self.versions[name] + 1
            patch = [{"op": "replace", "path": "/Metadata/Version", "value": version}]
            self.node(name, version, daemon, "PATCH", f"/api/node/{name}", patch, 200)
        elif kind < 0.8:
            name = chance.choice(nodes)
            self.node(name, None, daemon, "DELETE", f"/api/node/{name}", None, 200)
        elif kind < 0.9 or not captures:
            query = f"G.V().Has('Name', 'none-{self.number}-{time.monotonic_ns()}')"
            status, _, body = daemon.request("POST", "/api/capture", {"GremlinQuery": query})
            assert status == 201, body
            self.captures[json.loads(body)["UUID"]] = True
            self.acknowledged += 1
        else:
            name = chance.choice(captures)
            self.unknown[name] = False
            status, _, body = daemon.request("DELETE", f"/api/capture/{name}")
            assert status == 200, body
            del self.unknown[name]
            self.captures[name] = False
            self.acknowledged += 1

    def node(self, name, version, daemon, method, path, body, wanted):
        self.unknown[name] = version
        status, _, text = daemon.request(method, path, body)
        assert status == wanted, (method, path, status, text)
        del self.unknown[name]
        self.versions[name] = version
        self.acknowledged += 1

    def check(self, nodes, captures):
        """Compares with the restarted daemon; returns lost, old, and revived elements."""
        lost, old, back = [], [], []
        for name, version in self.versions.items():
            found = nodes.get(name)
            allowed = {version, self.unknown[name]} if name in self.unknown else {version}
            if found not in allowed:
                (lost if found is None else back if version is None else old).append((name, version, found))
            self.versions[name] = found
        for name, exists in self.captures.items():
            found = name in captures
            if found != exists and not (name in self.unknown and found == self.unknown[name]):
                (back if found else lost).append((name, exists, found))
            self.captures[name] = found
        for name, version in self.unknown.items():
            if name in nodes and version is not None:
                self.versions.setdefault(name, nodes[name])
        self.unknown.clear()
        return lost, old, back


@LONG
def test_no_acknowledged_change_is_lost(tmp_path):
    chance = random.Random(1)
    writers = [Writer(n) for n in range(WORKERS)]
    total = ([], [], [])
    for _ in range(ROUNDS):
        with Daemon(tmp_path) as daemon:
            found = json.loads(daemon.query("G.V()")[1])
            nodes = {node["ID"]: node["Metadata"].get("Version") for node in found}
            captures = json.loads(daemon.request("GET", "/api/capture")[2])
            for writer in writers:
                for kind, new in zip(total, writer.check(nodes, captures)):
                    kind.extend(new)
            assert not any(total), total
            seeds = [random.Random(chance.random()) for _ in writers]
            threads = [threading.Thread(target=writer.work, args=(daemon, seed)) for writer, seed in zip(writers, seeds)]
            for thread in threads:
                thread.start()
            time.sleep(chance.uniform(0.02, 0.5))
            daemon.process.kill()
            daemon.process.wait()
            for thread in threads:
                thread.join()
    done = sum(writer.acknowledged for writer in writers)
    print(f"kill -9: {ROUNDS} rounds, {done} acknowledged changes, lost {len(total[0])}, old {len(total[1])}, "
          f"back {len(total[2])}")
    assert done > ROUNDS
