"""The scripts of examples/python run as they are, and pass strict type checks."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples/python"
sys.path.append(str(ROOT / "skyd/tests/python"))
from daemon import Daemon  # noqa: E402


def run(script, *arguments, cwd):
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def daemon(tmp_path):
    daemon = Daemon(tmp_path, "analyzer")
    for name, kind in (("br0", "bridge"), ("eth0", "device")):
        daemon.request("POST", "/api/node", {"ID": name, "Host": "h", "Metadata": {"Name": name, "Type": kind}})
    daemon.request("POST", "/api/edge", {
        "ID": "e", "Host": "h", "Parent": "br0", "Child": "eth0", "Metadata": {"RelationType": "layer2"}})
    yield daemon
    daemon.stop()


def test_top_talkers(tmp_path):
    assert "198.51.100.7       21,080 bytes" in run("top_talkers.py", cwd=tmp_path)
    assert run("top_talkers.py", "sample.pcap", cwd=tmp_path) == run("top_talkers.py", cwd=tmp_path)


def test_dns_names(tmp_path):
    pytest.importorskip("skypy")
    assert run("dns_names.py", cwd=tmp_path).split() == ["2", "example.org", "1", "example.net"]


def test_graph_queries(tmp_path):
    output = run("graph_queries.py", cwd=tmp_path)
    assert "interfaces of br0: ['eth0', 'eth1', 'eth2']" in output
    assert "jumbo frames: ['eth1', 'eth2']" in output
    assert "error at position 6" in output


def test_topology(daemon, tmp_path):
    assert run("topology.py", f"http://{daemon.endpoint}", cwd=tmp_path) == "2 nodes, 1 edges\nbr0 -> eth0\n"


def test_watch_graph(daemon):
    process = subprocess.Popen([sys.executable, str(EXAMPLES / "watch_graph.py"), f"http://{daemon.endpoint}"],
                               stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "the graph has 2 nodes and 1 edges\n"
        daemon.request("POST", "/api/node", {"ID": "n", "Host": "h", "Metadata": {"Name": "n", "Type": "rack"}})
        assert process.stdout.readline() == "NodeAdded n n\n"
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_examples_have_types():
    pytest.importorskip("mypy")
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", *map(str, sorted(EXAMPLES.glob("*.py")))],
                          capture_output=True, text=True, cwd=EXAMPLES)
    assert done.returncode == 0, done.stdout


def test_stubs_are_those_of_the_module():
    pytest.importorskip("mypy")
    done = subprocess.run([sys.executable, "-m", "mypy.stubtest", "skypy._skypy"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
