"""`Analyzer`: the engine in this process."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

import skypy
from skypy import G


def wait(ready, seconds=15):
    end = time.monotonic() + seconds
    while not (result := ready()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return result


@pytest.fixture
def analyzer():
    with skypy.Analyzer(host="edge-01") as analyzer:
        wait(lambda: analyzer.query(G.V().Has("Name", "lo").Count()))
        yield analyzer


def test_the_graph_of_this_host(analyzer):
    assert analyzer.query("G.V().Has('Type', 'host').Values('Name')") == ["edge-01"]
    assert "lo" in [node["Metadata"]["Name"] for node in analyzer.nodes()]
    assert len(analyzer.edges()) >= 1
    graph = analyzer.graph()
    assert isinstance(graph, skypy.Graph) and graph.node_count >= 2
    assert analyzer._repr_html_().startswith(("<svg", "<p>"))
    assert repr(analyzer).startswith("<skypy.Analyzer: host \"edge-01\", ")
    status = analyzer.status()
    assert status["nodes"] >= 2 and status["probes"]
    plan, table = analyzer.explain("G.V().Has('Type', 'host')")
    assert plan["Steps"] and "host" in table


def test_the_past_is_in_memory(analyzer):
    wait(lambda: analyzer.query("G.At('-0s').V().Has('Name', 'lo').Count()"))
    with skypy.Analyzer(host="h", probes=False, history=0) as without:
        assert without.query("G.V().Count()") == 0
        with pytest.raises(skypy.QueryError):
            without.query("G.At('-1m').V()")


def test_wrong_arguments_are_exceptions():
    with pytest.raises(ValueError, match="history must be greater than zero"):
        skypy.Analyzer(history=-1)
    with pytest.raises(ValueError, match="update"):
        skypy.Analyzer(update="soon")
    with pytest.raises(TypeError):
        skypy.Analyzer("host")
    with skypy.Analyzer(probes=False) as analyzer:
        with pytest.raises(skypy.QueryError) as error:
            analyzer.query("G.V().Nope()")
        assert error.value.position == 6
        for wrong in ({"layer_key": "L4"}, {"raw_packets": 11}, {"bpf": "no filter"}, {"extra_layer": "HTTP"}):
            with pytest.raises(ValueError):
                analyzer.capture("G.V()", **wrong)
        with pytest.raises(ValueError):
            analyzer.capture("G.Nope()")
        identifier = analyzer.capture("G.V().Has('Name', 'nosuch0')")
        with pytest.raises(ValueError, match="duplicated"):
            analyzer.capture("G.V().Has('Name', 'nosuch0')")
        assert [capture["UUID"] for capture in analyzer.captures()] == [identifier]
        analyzer.delete_capture(identifier)
        with pytest.raises(KeyError):
            analyzer.delete_capture(identifier)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ping"), reason="SKIPPED: captures require root, and ping")
def test_captures_and_events(analyzer):
    events = analyzer.events()
    identifier = analyzer.capture(G.V().Has("Name", "lo"), bpf="icmp", name="pings")
    wait(lambda: analyzer.captures()[0]["Count"] >= 1)
    # The capture sets metadata of the interface.
    assert any(event["Namespace"] == "Graph" and event["Type"] == "NodeUpdated" for event in events)
    subprocess.run(["ping", "-q", "-c", "3", "-i", "0.05", "127.0.0.1"], check=True, capture_output=True)
    flows = wait(lambda: [flow for flow in analyzer.flows() if flow["Metric"]["ABPackets"] >= 3])
    assert flows[0]["LayersPath"] == "Ethernet/IPv4/ICMPv4"
    assert analyzer.query("G.Flows().Count()") >= 1
    # The counters are read once a second.
    wait(lambda: analyzer.status()["received"] >= 3)
    analyzer.delete_capture(identifier)
    analyzer.stop()
    assert analyzer.query("G.V().Count()") >= 2
    # The iterator ends with the analyzer.
    assert all(event["Type"] for event in events)


def test_ctrl_c_interrupts_the_wait_for_events():
    script = (
        "import skypy\n"
        "analyzer = skypy.Analyzer(probes=False)\n"
        "print('waiting', flush=True)\n"
        "next(analyzer.events())\n")
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=10)
    assert b"KeyboardInterrupt" in text
