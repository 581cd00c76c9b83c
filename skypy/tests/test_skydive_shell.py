"""The console script `skydive-ws-client`, and the detection of an installed `skydive-client`."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from skypy import _conflict

sys.path.append(str(Path(__file__).resolve().parents[2] / "skyd/tests/python"))
from daemon import Daemon  # noqa: E402

COMMAND = [sys.executable, "-c", "from skydive.wsshell import main; main()"]
GRAPH = {
    "Nodes": [{"ID": f"n{i}", "Host": "h", "Metadata": {"Name": f"n{i}", "Type": "rack"}} for i in range(2)],
    "Edges": [{"ID": "e", "Host": "h", "Parent": "n0", "Child": "n1", "Metadata": {"RelationType": "ownership"}}],
}


def shell(*arguments):
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60)


@pytest.fixture
def daemon(tmp_path):
    daemon = Daemon(tmp_path, "analyzer")
    yield daemon
    daemon.stop()


def write(tmp_path, graph):
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(graph))
    return path


def test_a_file_is_added_updated_and_deleted(daemon, tmp_path):
    path = write(tmp_path, GRAPH)
    done = shell("--analyzer", daemon.endpoint, "add", path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "WebSocket connection open." in done.stderr and f"adding: {path}" in done.stderr
    assert daemon.wait(lambda: daemon.query("G.V().Count()") == 2 and daemon.query("G.E().Count()") == 1, "the graph")
    # The server ignores an update whose revision it has already.
    GRAPH["Nodes"][0].update(Revision=2, Metadata={"Name": "n0", "Type": "rack", "Site": "paris"})
    assert shell("--analyzer", daemon.endpoint, "update", write(tmp_path, GRAPH)).returncode == 0
    assert daemon.wait(lambda: daemon.query("G.V().Has('Site', 'paris').Count()") == 1, "the update")
    assert shell("--analyzer", daemon.endpoint, "delete", write(tmp_path, {"Nodes": GRAPH["Nodes"]})).returncode == 0
    assert daemon.wait(lambda: daemon.query("G.V().Count()") == 0, "the deletion")


def test_listen_prints_messages_until_ctrl_c(daemon, tmp_path):
    path = write(tmp_path, GRAPH)
    shell("--analyzer", daemon.endpoint, "add", path)
    log = tmp_path / "log"
    with open(log, "wb") as output:
        process = subprocess.Popen([*COMMAND, "--analyzer", daemon.endpoint, "listen", "--gremlin",
                                    "G.V().Has('Name', 'n1').SubGraph()", "--sync-request"], stderr=output)
    daemon.wait(lambda: "SyncReply" in log.read_text(), "the reply")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert '"n1"' in log.read_text() and '"n0"' not in log.read_text().split("SyncReply")[1]


def test_errors_end_the_script(daemon, tmp_path):
    assert shell("--wrong").returncode == 2
    assert shell().returncode == 0 and "listen" in shell().stdout
    missing = shell("add", "/missing")
    assert missing.returncode == 1 and "ValueError: The file /missing does not exist" in missing.stderr
    refused = shell("--analyzer", "127.0.0.1:1", "listen")
    assert refused.returncode == 1 and "ConnectionRefusedError" in refused.stderr
    for text, error in (("{", "is not JSON"), ("[]", 'with the lists "Nodes" and "Edges"')):
        path = tmp_path / "wrong.json"
        path.write_text(text)
        done = shell("--analyzer", daemon.endpoint, "add", path)
        assert done.returncode == 1 and error in done.stderr.splitlines()[-1]


def test_a_refused_publisher_is_an_error(tmp_path):
    daemon = Daemon(tmp_path, "analyzer", ("analyzer.auth.api.backend=basic", "auth.basic.users={ann: one}"))
    try:
        path = write(tmp_path, GRAPH)
        done = shell("--analyzer", daemon.endpoint, "add", path)
        assert done.returncode == 1 and "[401]" in done.stderr.splitlines()[-1]
        assert shell("--analyzer", daemon.endpoint, "--username", "ann", "--password", "one", "add", path).returncode == 0
    finally:
        daemon.stop()


def test_an_installed_original_is_named(tmp_path):
    (tmp_path / "skydive_client-0.10.0.dist-info").mkdir()
    assert _conflict.find(["/missing", str(tmp_path)]) == str(tmp_path)
    assert _conflict.find([str(tmp_path / "skydive_client-0.10.0.dist-info")]) is None
    script = "import warnings; warnings.simplefilter('error'); import skydive"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(tmp_path)])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert "pip uninstall -y skydive-client skypy-net" in done.stderr


def test_imports_are_quiet():
    script = "import skydive.wsshell, skydive.rest.client, skypy"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
