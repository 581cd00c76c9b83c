"""Scripts that were written for the original client run unmodified, with the same effects."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from original import needs_original, run_original, run_ours

sys.path.append(str(Path(__file__).resolve().parents[2] / "skyd/tests/python"))
from daemon import Daemon  # noqa: E402

RUNS = [run_ours, pytest.param(run_original, marks=needs_original)]


@pytest.mark.parametrize("run", RUNS)
def test_a_publisher(run, tmp_path):
    daemon = Daemon(tmp_path, "analyzer")
    try:
        assert run("scripts/publisher.py", daemon.endpoint).split("\n")[:1] == ["connected"]
        assert sorted(daemon.query("G.V().Has('Type', 'rack').Out().Values('Name')")) == ["switch0", "switch1"]
        assert daemon.query("G.E().Count()") == 2
    finally:
        daemon.stop()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ping"), reason="SKIPPED: captures require root, and ping")
@pytest.mark.parametrize("run", RUNS)
def test_the_flow_logger_of_the_api_page(run, tmp_path):
    daemon = Daemon(tmp_path, "allinone", ["flow.update=1s"])
    ping = None
    try:
        daemon.request("POST", "/api/capture", {"GremlinQuery": "G.V().Has('Name', 'lo')", "BPFFilter": "icmp"})
        ping = subprocess.Popen(["ping", "-q", "-i", "0.2", "127.0.0.1"], stdout=subprocess.DEVNULL)
        log = tmp_path / "flows.log"
        assert run("scripts/flow_logger.py", daemon.endpoint, log).startswith("Websocket connection open.")
        assert "Ethernet/IPv4/ICMPv4 127.0.0.1" in log.read_text()
    finally:
        if ping is not None:
            ping.kill()
            ping.wait()
        daemon.stop()
