"""Flows as Arrow tables and data frames, streams of flows, flow tables, and captures."""

import gc
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

import skypy
from test_flows import arp, pcap, udp

TRACE = pcap([udp(1000, 2000), udp(1000, 2000), udp(1001, 2000), arp()])


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace.pcap"
    path.write_bytes(TRACE)
    return path


def sorted_dicts(flows):
    return sorted(flows, key=lambda flow: flow["UUID"])


def test_bytes_and_files_are_read_as_paths_are(trace):
    wanted = sorted_dicts(skypy.flows(trace))
    assert sorted_dicts(skypy.flows(TRACE)) == wanted
    assert sorted_dicts(skypy.flows(bytearray(TRACE))) == wanted
    assert sorted_dicts(skypy.flows(io.BytesIO(TRACE))) == wanted
    with open(trace, "rb") as file:
        assert sorted_dicts(skypy.flows(file)) == wanted
    assert skypy.flows(TRACE, query="G.Flows().Count()") == 3
    assert len(skypy.flows(io.BytesIO(TRACE), bpf="udp")) == 2


def test_errors_of_python_files_are_raised(trace):
    class Broken(io.RawIOBase):
        def read(self, size=-1):
            raise RuntimeError("broken file")

    with pytest.raises((OSError, skypy.CaptureError, RuntimeError), match="broken file"):
        skypy.flows(Broken())
    closed = open(trace, "rb")
    closed.close()
    with pytest.raises((OSError, ValueError, skypy.CaptureError)):
        skypy.flows(closed)
    for wrong in (5, None, object(), {"a": 1}):
        with pytest.raises(TypeError):
            skypy.flows(wrong)
    with pytest.raises(skypy.CaptureError):
        skypy.flows(b"garbage, not a capture file")


def test_a_stream_returns_the_same_flows(trace):
    wanted = sorted_dicts(skypy.flows(trace))
    assert sorted_dicts(skypy.flows(trace, stream=True)) == wanted
    assert sorted_dicts(skypy.flows(io.BytesIO(TRACE), stream=True)) == wanted
    stream = skypy.flows(trace, stream=True, threads=2)
    assert sorted_dicts(stream) == wanted
    assert list(stream) == []
    with pytest.raises(ValueError, match="stream cannot be used with"):
        skypy.flows(trace, stream=True, query="G.Flows()")


def test_a_stream_ends_with_the_error_of_the_file():
    stream = skypy.flows(TRACE[:-3], stream=True)
    flows = []
    with pytest.raises(skypy.CaptureError):
        for flow in stream:
            flows.append(flow)
    assert len(flows) == 2
    assert list(stream) == []


def test_a_stream_that_is_not_read_to_its_end_stops_its_thread(tmp_path):
    path = tmp_path / "many.pcap"
    path.write_bytes(pcap([udp(port % 60000 + 1, port // 60000 + 1) for port in range(100_000)]))
    stream = skypy.flows(path, stream=True, expire=0.5)
    next(stream)
    assert "skypy flows" in threads()
    del stream
    gc.collect()
    end = time.monotonic() + 10
    while "skypy flows" in threads():
        assert time.monotonic() < end
        time.sleep(0.05)


def threads():
    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm") as file:
                names.append(file.read().strip())
        except OSError:
            pass
    return names


def test_flows_are_arrow_tables_with_a_stable_schema(trace):
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table(skypy.flows(trace))
    assert table.column_names[:6] == ["UUID", "ParentUUID", "LayersPath", "Application", "Link.Protocol", "Link.A"]
    assert table.schema.field("Start").type == pyarrow.timestamp("ms", "UTC")
    assert table.schema.field("Network.Protocol").type == pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    assert table.schema.field("Transport.A").type == pyarrow.int64()
    options = {"extra_tcp_metric": True, "extra_rtt_metric": True}
    assert pyarrow.table(skypy.flows(trace, **options)).schema == table.schema
    assert pyarrow.table(skypy.flows(trace, stream=True)).schema == table.schema
    assert pyarrow.table(skypy.flows(pcap([]))).num_rows == 0
    rows = sorted(table.to_pylist(), key=lambda row: row["UUID"])
    for row, flow in zip(rows, sorted_dicts(skypy.flows(trace))):
        assert row["UUID"] == flow["UUID"]
        assert row["Metric.ABBytes"] == flow["Metric"]["ABBytes"]
        assert row["Network.A"] == flow.get("Network", {}).get("A")
        assert row["Transport.B"] == flow.get("Transport", {}).get("B")
        assert row["Start"].timestamp() * 1000 == flow["Start"]
        assert row["FinishType"] == "TIMEOUT"
        assert row["TCPMetric.ABSynStart"] is None


def test_data_frames(trace):
    polars = pytest.importorskip("polars")
    pandas = pytest.importorskip("pandas")
    frame = polars.DataFrame(skypy.flows(trace))
    assert frame.height == 3 and frame["Metric.ABPackets"].sum() == 4
    assert polars.DataFrame(skypy.flows(trace, stream=True)).height == 3
    assert skypy.flows(trace).to_polars().height == 3
    frame = skypy.flows(trace).to_pandas()
    assert isinstance(frame, pandas.DataFrame) and frame["Metric.ABPackets"].sum() == 4
    assert str(frame["Start"].dtype).startswith("datetime64")


def test_a_stream_is_taken_once(trace):
    stream = skypy.flows(trace, stream=True)
    # An Arrow stream takes the flows when it is read: some libraries request one only for its schema.
    stream.__arrow_c_stream__()
    assert len(list(stream)) == 3
    with pytest.raises(ValueError, match="have been taken"):
        stream.__arrow_c_stream__()
    pyarrow = pytest.importorskip("pyarrow")
    stream = skypy.flows(trace, stream=True)
    readers = [pyarrow.RecordBatchReader.from_stream(stream) for _ in range(2)]
    assert readers[0].read_all().num_rows == 3
    with pytest.raises(ValueError, match="have been taken"):
        readers[1].read_all()


def test_duckdb_reads_flows_and_streams(trace):
    duckdb = pytest.importorskip("duckdb")
    flows = skypy.flows(trace)
    assert duckdb.sql('SELECT sum("Metric.ABPackets") FROM flows').fetchall() == [(4,)]
    stream = skypy.flows(trace, stream=True)
    assert duckdb.sql("SELECT count(*) FROM stream").fetchall() == [(3,)]


def test_flows_render_in_notebooks(trace):
    html = skypy.flows(trace)._repr_html_()
    assert html.startswith("<p>") and "10.0.0.1:1000" in html and "Ethernet/ARP" in html


def test_a_flow_table_counts_packets_and_returns_flows():
    table = skypy.FlowTable()
    second = 1_000_000_000
    table.process([(second, udp(1, 2)), (2 * second, bytearray(udp(1, 2))), (3 * second, arp())])
    assert (len(table), table.packets) == (2, 3)
    assert table.query("G.Flows().Has('Transport.A', 1).Values('Metric.ABPackets')") == [2]
    assert {flow["LayersPath"] for flow in table.flows()} == {"Ethernet/IPv4/UDP", "Ethernet/ARP"}
    assert len(table.advance(4 * second)) == 0
    assert len(table.advance(10_000 * second)) == 2
    assert len(table) == 0
    table.process([(20_000 * second, udp(1, 2))])
    assert len(table.flush()) == 1
    assert repr(table) == "<skypy.FlowTable: 0 flows of 4 packets>"


def test_flow_tables_check_their_arguments():
    for options in ({"layer_key": "L4"}, {"raw_packets": 11}, {"extra_layer": "HTTP"}, {"key_ignore": "x"},
                    {"expire": 0}, {"ports": "x"}):
        with pytest.raises(ValueError):
            skypy.FlowTable(**options)
    with pytest.raises(TypeError):
        skypy.FlowTable(unknown=1)
    with pytest.raises(TypeError):
        skypy.FlowTable().process([(1, "text")])
    with pytest.raises(TypeError):
        skypy.FlowTable().process([b"no time"])
    with pytest.raises(skypy.QueryError):
        skypy.FlowTable().query("G.Nope()")


def test_captures_of_missing_interfaces_are_refused():
    with pytest.raises((OSError, skypy.CaptureError), match="nosuch0|permitted"):
        skypy.Capture("nosuch0")
    with pytest.raises(ValueError):
        skypy.Capture("lo", bpf="no filter")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ping"), reason="SKIPPED: captures require root, and ping")
def test_a_live_capture_sees_a_ping():
    with skypy.Capture("lo", bpf="icmp") as capture:
        assert capture.running
        subprocess.run(["ping", "-q", "-c", "3", "-i", "0.05", "127.0.0.1"], check=True, capture_output=True)
        end = time.monotonic() + 10
        while not (flows := [f for f in capture.flows() if f["Metric"]["ABPackets"] + f["Metric"]["BAPackets"] >= 6]):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert flows[0]["LayersPath"] == "Ethernet/IPv4/ICMPv4"
        assert capture.query("G.Flows().Count()") >= 1
        assert capture.stats()["received"] >= 6
    assert not capture.running
    assert len(capture.ended()) >= 1 and len(capture.ended()) == 0
    assert capture.stats()["flows"] >= 1
    capture.stop()


def test_ctrl_c_interrupts_a_stream_that_waits():
    script = (
        "import os, skypy\n"
        "reader, writer = os.pipe()\n"
        f"os.write(writer, {TRACE[:24]!r})\n"
        "print('reading', flush=True)\n"
        "next(skypy.flows(os.fdopen(reader, 'rb', buffering=0), stream=True))\n")
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=10)
    assert b"KeyboardInterrupt" in text


def test_other_threads_run_while_flows_are_read(tmp_path):
    path = tmp_path / "many.pcap"
    path.write_bytes(pcap([udp(port % 60000 + 1, port // 60000 + 1) for port in range(200_000)]))
    counted = 0
    done = threading.Event()

    def count():
        nonlocal counted
        while not done.is_set():
            counted += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    assert len(skypy.flows(path)) > 100_000
    done.set()
    thread.join()
    assert counted > 5
