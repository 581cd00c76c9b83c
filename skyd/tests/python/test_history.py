"""The history on disk: restarts, kills, answers in columns, and other programs that read the files."""

import glob
import json
import os
import random
import signal
import struct
import subprocess
import threading
import time

import pytest

from daemon import Daemon, binary

ROUNDS = int(os.environ.get("HISTORY_KILLS", "5"))


def capture(number, count=1):
    """Returns a capture file with a UDP packet of each of `count` flows with different ports."""
    now = time.time()
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for flow in range(count):
        payload = b"x" * 20
        udp = struct.pack("!HHHH", 1024 + flow, 5000, 8 + len(payload), 0) + payload
        source = bytes([10, (number >> 16) & 255, (number >> 8) & 255, number & 255])
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, source,
                         bytes([192, 0, 2, 1])) + udp
        frame = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0" + ip
        out += struct.pack("<IIII", int(now), int(now % 1 * 1e6), len(frame), len(frame)) + frame
    return out


def upload(daemon, number, count=1):
    """Uploads a capture file. Returns whether the daemon acknowledged it."""
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20",
               "--data-binary", "@-", f"http://{daemon.endpoint}/api/pcap"]
    reply = subprocess.run(command, input=capture(number, count), capture_output=True, check=False)
    return reply.stdout == b"202"


def address(number):
    return f"10.{(number >> 16) & 255}.{(number >> 8) & 255}.{number & 255}"


def past_flows(daemon, step=""):
    return daemon.query(f"G.Context(NOW, 86400).Flows(){step}")


def test_flows_and_topology_survive_a_restart(tmp_path):
    daemon = Daemon(tmp_path, "analyzer")
    assert upload(daemon, 7, 3)
    status, text = daemon.request("POST", "/api/node", {
        "ID": "n1", "Metadata": {"Name": "uplink", "Type": "device"}})
    assert status in (200, 201), text
    time.sleep(0.1)
    before = int(time.time() * 1000)
    daemon.stop()
    daemon = Daemon(tmp_path, "analyzer")
    try:
        assert past_flows(daemon, ".Count()") == 3
        flows = past_flows(daemon, ".Has('Network.A', '10.0.0.7').Sort('Transport.A')")
        assert [flow["Transport"]["A"] for flow in flows] == [1026, 1025, 1024] or len(flows) == 3
        assert daemon.query(f"G.At({before}).V().Has('Name', 'uplink').Count()") == 1
        changes = daemon.query("G.Context(NOW, 3600).Changes()")
        assert "added" in {change["Change"] for change in changes}
    finally:
        daemon.stop()


def test_no_acknowledged_flow_is_lost_when_the_daemon_is_killed(tmp_path):
    """Kills the daemon at random moments under load; HISTORY_KILLS sets the number of rounds."""
    acknowledged, number, slowest = set(), 0, 0.0
    for _ in range(ROUNDS):
        began = time.monotonic()
        daemon = Daemon(tmp_path, "analyzer", ("storage.local.memory=64KiB",))
        slowest = max(slowest, time.monotonic() - began)
        found = past_flows(daemon, ".Values('Network.A')") or []
        missing = {address(n) for n in acknowledged} - set(found)
        assert not missing, f"lost {missing}"
        assert len(found) == len(set(found)), "a flow is there twice"
        killer = threading.Timer(random.uniform(0.05, 1.5), daemon.process.send_signal,
                                 (signal.SIGKILL,))
        killer.start()
        while daemon.process.poll() is None:
            number += 1
            if upload(daemon, number):
                acknowledged.add(number)
        killer.join()
    assert acknowledged
    print(f"{ROUNDS} kills, {len(acknowledged)} uploads acknowledged, slowest start {slowest:.2f} s")


def test_answers_in_columns(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa
    daemon = Daemon(tmp_path, "analyzer")
    try:
        assert upload(daemon, 7, 3)
        for accept, read in (
                ("application/vnd.apache.parquet",
                 lambda body: parquet.read_table(pa.BufferReader(body))),
                ("application/vnd.apache.arrow.stream",
                 lambda body: pa.ipc.open_stream(body).read_all())):
            command = ["curl", "-sS", "-H", f"Accept: {accept}", "-d",
                       json.dumps({"GremlinQuery": "G.Context(NOW, 3600).Flows()"}),
                       f"http://{daemon.endpoint}/api/topology"]
            body = subprocess.run(command, capture_output=True, check=True).stdout
            table = read(body)
            assert sorted(table["Transport.A"].to_pylist()) == [1024, 1025, 1026]
    finally:
        daemon.stop()


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A folder with sealed segments of flows and of the topology."""
    folder = tmp_path_factory.mktemp("sealed")
    daemon = Daemon(folder, "analyzer")
    assert upload(daemon, 7, 3) and upload(daemon, 8, 2)
    daemon.request("POST", "/api/node", {"ID": "n1", "Metadata": {"Name": "uplink", "Type": "device"}})
    time.sleep(0.2)
    daemon.stop()
    history = folder / "store" / "history"
    subprocess.run([binary(), "history", "seal", str(history)], check=True, capture_output=True)
    checked = subprocess.run([binary(), "history", "check", str(history)], capture_output=True,
                             text=True, check=True)
    assert checked.stdout.endswith(": 0 damaged\n"), checked.stdout
    shown = subprocess.run([binary(), "history", "info", str(folder / "store")],
                           capture_output=True, text=True, check=True)
    assert "flow 5, metric 5" in shown.stdout, shown.stdout
    return history


def test_duckdb_reads_the_files(sealed):
    duckdb = pytest.importorskip("duckdb", minversion="2")
    talkers = duckdb.sql(f"""
        SELECT "Network.A", sum("Sum.ABBytes" + "Sum.BABytes") AS bytes, count(*) AS flows
        FROM '{sealed}/flow/seg-*/flow.parquet' GROUP BY 1 ORDER BY bytes DESC LIMIT 10""").fetchall()
    assert [(talker[0], talker[2]) for talker in talkers] == [("10.0.0.7", 3), ("10.0.0.8", 2)]
    updates = duckdb.sql(f"SELECT * FROM '{sealed}/flow/seg-*/metric.parquet'").fetchall()
    assert len(updates) == 5
    nodes = duckdb.sql(f"""
        SELECT arg_max("Name", "Seq") AS name, arg_max("Event", "Seq") AS last
        FROM '{sealed}/graph/seg-*/event.parquet' WHERE "Event" LIKE 'Node%'
        GROUP BY "ID" HAVING last <> 'NodeDeleted'""").fetchall()
    assert "uplink" in [name for name, _ in nodes]


def test_polars_reads_the_files(sealed):
    polars = pytest.importorskip("polars")
    flows = polars.scan_parquet(f"{sealed}/flow/seg-*/flow.parquet")
    ports = flows.group_by("Network.A").agg(polars.col("Transport.A").max()).collect()
    assert dict(ports.rows()) == {"10.0.0.7": 1026, "10.0.0.8": 1025}


def test_pandas_reads_the_files(sealed):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    files = glob.glob(f"{sealed}/flow/seg-*/flow.parquet")
    flows = pandas.concat(map(pandas.read_parquet, files))
    assert flows.groupby("Network.A")["Updates"].sum().to_dict() == {"10.0.0.7": 3, "10.0.0.8": 2}


def test_export_writes_what_a_time_had(sealed, tmp_path):
    for name in ("flows.csv", "flows.ndjson"):
        target = tmp_path / name
        subprocess.run([binary(), "export", "--data", str(sealed), "--from", "-1h", str(target)],
                       check=True, capture_output=True)
        lines = target.read_text().splitlines()
        assert len(lines) == 5 + (name == "flows.csv"), lines
    out = tmp_path / "out"
    wrote = subprocess.run([binary(), "export", "--data", str(sealed), "--format", "ndjson", str(out)],
                           check=True, capture_output=True, text=True)
    assert "wrote 5 flows, " in wrote.stdout, wrote.stdout
    names = [json.loads(line)["Metadata"].get("Name") for line in open(out / "nodes.ndjson")]
    assert "uplink" in names


def test_documents_of_elasticsearch_are_imported(tmp_path):
    dump = tmp_path / "old.ndjson"
    dump.write_text(json.dumps({"_source": {
        "ID": "a", "Metadata": {"Name": "old"}, "CreatedAt": 1700000000000,
        "UpdatedAt": 1700000000000, "DeletedAt": 1700000100000, "Revision": 1}}) + "\n")
    store = tmp_path / "store"
    done = subprocess.run([binary(), "history", "import", "--elasticsearch-dump", str(dump),
                           str(store)], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("imported 1 revisions of nodes, 0 of edges"), done.stdout
    daemon = Daemon(tmp_path, "analyzer")
    try:
        assert daemon.query("G.At(1700000050).V().Values('Name')") == ["old"]
        assert daemon.query("G.At(1700000200).V().Count()") == 0
    finally:
        daemon.stop()
