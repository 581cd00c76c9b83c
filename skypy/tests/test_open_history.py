"""`open_history`: the stored history of a daemon, read while it runs and after its end."""

import datetime
import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

import skypy
from skypy import G

sys.path.append(str(Path(__file__).resolve().parents[2] / "skyd/tests/python"))
from daemon import Daemon  # noqa: E402
from test_history import upload  # noqa: E402

HOUR_AGO = "-1h"


def files(folder):
    """Returns the files below a folder with their sizes and times of change."""
    found = {}
    for path in folder.rglob("*"):
        status = path.stat()
        found[str(path)] = (status.st_size, status.st_mtime_ns, status.st_mode)
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The data folder of a daemon that has ended: a sealed part, and a log."""
    folder = tmp_path_factory.mktemp("history")
    daemon = Daemon(folder, "analyzer")
    try:
        record(daemon)
    finally:
        daemon.stop()
    return folder / "store"


def record(daemon):
    for name, kind in (("br0", "bridge"), ("eth0", "device")):
        daemon.request("POST", "/api/node", {"ID": name, "Host": "h", "Metadata": {"Name": name, "Type": kind}})
    daemon.request("POST", "/api/edge", {
        "ID": "e", "Host": "h", "Parent": "br0", "Child": "eth0", "Metadata": {"RelationType": "layer2"}})
    assert upload(daemon, 7, 3)
    assert daemon.request("POST", "/api/history/seal")[0] == 200
    assert upload(daemon, 8, 2)
    daemon.request("DELETE", "/api/node/eth0")


def test_answers_are_those_of_the_running_daemon(tmp_path):
    daemon = Daemon(tmp_path, "analyzer")
    try:
        record(daemon)
        history = tmp_path / "store/history"
        daemon.wait(lambda: len(skypy.open_history(history).flows()) == 5, "the log of the flows")
        before = files(history)
        opened = skypy.open_history(tmp_path / "store")
        assert opened.path == history
        for query in (
                "G.At('-0s').V().Has('Name', 'br0').Values('Type')",
                "G.Context('-0s', 3600).V().Has('Name', 'eth0').Count()",
                "G.Context('-0s', 3600).Flows().Count()",
                "G.Context('-0s', 3600).Flows().Has('Network', '10.0.0.7').Sort('Transport.A')",
                "G.Context('-0s', 3600).Flows().Sort('UUID').Metrics()"):
            assert opened.query(query) == daemon.query(query), query
        assert sorted(flow["UUID"] for flow in opened.flows()) == sorted(
            flow["UUID"] for flow in daemon.query("G.Context('-0s', 3600).Flows()"))
        # Reading changes nothing, and the daemon continues.
        assert {path: file for path, file in files(history).items() if path in before} == before
        assert upload(daemon, 9, 1)
        assert len(opened.flows()) == 5
    finally:
        daemon.stop()


def test_queries_with_and_without_a_time(data):
    history = skypy.open_history(data)
    assert history.query(G.V().Has("Type", "bridge").Values("Name")) == ["br0"]
    assert history.query("G.V().Has('Name', 'eth0').Count()") == 0
    assert history.query("G.Context('-0s', 3600).V().Has('Name', 'eth0').Dedup('ID').Count()") == 1
    assert history.query(G.Flows().Count()) == 5
    assert history.query("G.At('-2h').V().Count()") == 0
    plan, table = history.explain("G.Context('-0s', 3600).Flows().Has('Network', '10.0.0.7')")
    assert plan["Steps"] and "flow.parquet" in json.dumps(plan) and "flow.parquet" in table
    with pytest.raises(skypy.QueryError) as error:
        history.query("G.V().Nope()")
    assert error.value.position == 6
    assert repr(history).startswith("<skypy.History: flows since 20")


def test_flows_nodes_and_edges_as_tables(data):
    history = skypy.open_history(str(data / "history"))
    flows = history.flows(start=HOUR_AGO)
    assert len(flows) == 5 and flows.packets == 5
    assert sorted(flow["UUID"] for flow in history.flows(stream=True)) == sorted(flow["UUID"] for flow in flows)
    assert len(history.flows(end="-1h")) == 0 == len(list(history.flows(end=1000, stream=True)))
    names = [node["Metadata"].get("Name") for node in history.nodes()]
    assert "br0" in names and "eth0" not in names
    assert len(history.nodes(at="-2h")) == 0 == len(history.edges(at=0)) == len(history.edges())
    now = datetime.datetime.now(datetime.timezone.utc)
    assert len(history.nodes(at=now)) == len(names) == len(history.nodes(at=int(time.time() * 1000)))
    assert history.damaged() == []
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(history.flows(stream=True))
    assert frame.height == 5 and frame.schema == polars.DataFrame(flows).schema
    assert set(frame["Network.A"]) == {"10.0.0.7", "10.0.0.8"}
    assert polars.DataFrame(history.nodes())["Name"].to_list() == names


def test_an_iterator_that_is_dropped_ends_its_thread(data):
    for _ in range(50):
        next(skypy.open_history(data).flows(stream=True))


def test_wrong_folders_and_arguments_are_exceptions(data, tmp_path):
    with pytest.raises(skypy.StoreError, match="has no history"):
        skypy.open_history(tmp_path)
    with pytest.raises(FileNotFoundError):
        skypy.open_history(tmp_path / "missing")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        skypy.open_history(tmp_path / "file")
    with pytest.raises(TypeError):
        skypy.open_history(7)
    assert issubclass(skypy.StoreError, skypy.SkydiveError)
    history = skypy.open_history(data)
    for wrong in ({"start": "soon"}, {"end": "'"}, {"start": 2, "end": 1}):
        with pytest.raises(ValueError):
            history.flows(**wrong)
    for wrong in ({"start": []}, {"end": 1.5}, {"nope": 1}):
        with pytest.raises(TypeError):
            history.flows(**wrong)
    with pytest.raises(TypeError):
        history.nodes(at=object())
    assert sorted(os.listdir(tmp_path)) == ["file"]


def test_damaged_files_are_neither_read_nor_moved(data, tmp_path):
    copy = tmp_path / "store"
    shutil.copytree(data, copy)
    segment = min((copy / "history/flow").glob("seg-*"))
    content = bytearray((segment / "flow.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (segment / "flow.parquet").write_bytes(content)
    before = files(copy)
    history = skypy.open_history(copy)
    assert len(history.flows()) < 5
    assert len(history.damaged()) == 1
    assert files(copy) == before
    for garbage in (b"", b"garbage", os.urandom(5000)):
        for path in copy.rglob("*"):
            if path.is_file():
                path.write_bytes(garbage)
        history = skypy.open_history(copy)
        assert len(history.flows()) == len(history.nodes()) == 0
        assert history.query("G.Context('-0s', 3600).V().Count()") == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIPPED: requires root, to become another user")
def test_a_user_who_may_only_read_needs_no_other_permission(data, tmp_path):
    copy = tmp_path / "store"
    shutil.copytree(data, copy)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in (tmp_path, *tmp_path.parents):
        if parent != Path(parent.anchor):
            parent.chmod(parent.stat().st_mode | 0o055)
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        os._exit(len(skypy.open_history(copy).flows()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
