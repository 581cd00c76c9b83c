"""One request that starts captures on many interfaces."""

import json
import os
import shutil
import subprocess
import uuid

import pytest
from attacker import LONG, Daemon

INTERFACES = 120
TOTAL = 32


@LONG
def test_the_rings_of_many_captures_have_a_common_limit(tmp_path):
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("SKIPPED: creating interfaces requires root and ip")
    name = f"attack-{uuid.uuid4().hex[:6]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        commands = "".join(f"link add d{n} type veth peer name e{n}\nlink set d{n} up\nlink set e{n} up\n" for n in range(INTERFACES // 2))
        subprocess.run(["ip", "-n", name, "-batch", "-"], input=commands, text=True, check=True)
        settings = (f"agent.capture.ring_bytes_total={TOTAL}MiB", "analyzer.startup.capture_gremlin=")
        with Daemon(tmp_path, *settings, mode="allinone") as daemon:
            count = "G.V().Has('Type', 'veth').Count()"
            daemon.until("the interfaces", lambda: int(daemon.query(count)[1]) >= INTERFACES)
            before = daemon.measure()["rss"]
            query = {"GremlinQuery": "G.V().Has('Type', 'veth')"}
            assert daemon.request("POST", "/api/capture", query)[0] == 201
            shown = "G.V().Has('Type', 'veth').HasKey('Captures').Count()"
            daemon.until("all captures", lambda: int(daemon.query(shown)[1]) >= INTERFACES)
            after = daemon.measure()["rss"]
            # Flow tables and threads need memory besides the rings.
            assert after - before < TOTAL + INTERFACES, (before, after)
            nodes = json.loads(daemon.query("G.V().Has('Type', 'veth')")[1])
            captures = [capture for one in nodes for capture in one["Metadata"]["Captures"]]
            failed = [capture["Error"] for capture in captures if capture.get("Error")]
            assert len(failed) < len(captures)
            assert all("agent.capture.ring_bytes_total" in error for error in failed), failed[:1]
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)
