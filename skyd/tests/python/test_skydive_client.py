"""Tests of the unmodified Python client of Skydive against a running daemon."""

import json
import subprocess
import sys
import textwrap

import pytest

rest = pytest.importorskip("skydive.rest.client")

# The flow logging script of Skydive's API page, with `print` converted to Python 3 and the address and
# the file as arguments.
FLOW_LOGGER = textwrap.dedent('''
    import json
    import sys

    from skydive.websocket.client import WSClient
    from skydive.websocket.client import WSClientDefaultProtocol


    class WSLoggerProtocol(WSClientDefaultProtocol):

        def onMessage(self, payload, isBinary):
            msg = json.loads(payload)

            file = self.factory.kwargs["file"]

            for flow in msg["Obj"]:
                file.write(json.dumps(flow) + "\\n")
            file.flush()
            print("wrote %d flows" % len(msg["Obj"]))


    def main():
        file = open(sys.argv[2], "w")

        client = WSClient("MyHost", "ws://%s/ws/subscriber/flow" % sys.argv[1],
                          protocol=WSLoggerProtocol,
                          file=file)
        client.connect()
        client.start()


    if __name__ == '__main__':
        main()
''')


def test_captures_are_created_listed_and_deleted(daemon):
    client = rest.RESTClient(daemon.endpoint)
    capture = client.capture_create("G.V().Has('Name', 'nothing')", name="mine", bpf_filter="icmp")
    assert capture.query == "G.V().Has('Name', 'nothing')"
    assert [c.uuid for c in client.capture_list()] == [capture.uuid]
    client.capture_delete(capture.uuid)
    assert client.capture_list() == []


def test_a_broken_query_is_refused_with_its_position(daemon):
    client = rest.RESTClient(daemon.endpoint)
    with pytest.raises(rest.BadRequest) as refused:
        client.lookup("G.V(.Has('Name', 'x')")
    assert b"column 5" in refused.value.args[0]


def test_nodes_of_this_host_are_listed(lab):
    client = rest.RESTClient(lab.daemon.endpoint)
    lab.tid()
    nodes = client.lookup_nodes(f"G.V().Has('Name', '{lab.left}').Out('Name', 'eth0')")
    assert [n.metadata["IPV4"] for n in nodes] == [["192.0.2.1/24"]]
    assert client.lookup_edges("G.E().Has('RelationType', 'layer2', 'Type', 'veth')")


def test_a_ping_shows_as_a_flow_and_is_streamed(lab, tmp_path):
    daemon, tid = lab.daemon, lab.tid()
    script, flows = tmp_path / "logger.py", tmp_path / "flows"
    script.write_text(FLOW_LOGGER)
    logger = subprocess.Popen([sys.executable, str(script), daemon.endpoint, str(flows)])
    try:
        client = rest.RESTClient(daemon.endpoint)
        capture = client.capture_create(f"g.V().Has('TID', '{tid}')")
        daemon.wait(
            lambda: daemon.query(f"G.V().Has('Captures.ID', '{capture.uuid}', 'Captures.State', 'active')"),
            "the capture to be active")
        lab.ping(5)

        def echo():
            found = daemon.query("G.Flows().Has('LayersPath', 'Ethernet/IPv4/ICMPv4')")
            return found if found and found[0]["Metric"]["BAPackets"] == 5 else None

        (flow,) = daemon.wait(echo, "the ping's flow", 2)
        assert flow["Metric"]["ABPackets"] == flow["Metric"]["BAPackets"] == 5
        assert flow["Metric"]["ABBytes"] == flow["Metric"]["BABytes"] == 5 * 98
        assert flow["Metric"]["RTT"] > 0
        assert flow["NodeTID"] == tid
        assert flow["CaptureID"] == capture.uuid
        assert (flow["Network"]["A"], flow["Network"]["B"]) == ("192.0.2.1", "192.0.2.2")
        assert flow["ICMP"]["Type"] == "ECHO"
        assert daemon.query("G.Flows().Limit(1)")
        assert [c.count for c in client.capture_list()] == [1]

        def logged():
            lines = flows.read_text().splitlines() if flows.exists() else []
            # The script also writes the keys of `stats` messages, because it treats every `Obj` as a list.
            flows_seen = [f for f in map(json.loads, lines) if isinstance(f, dict)]
            return [f for f in flows_seen if f["UUID"] == flow["UUID"]]

        daemon.wait(logged, "the flow in the subscriber's file", 10)
        client.capture_delete(capture.uuid)
        daemon.wait(lambda: not daemon.query("G.V().HasKey('Captures')"), "the capture to stop", 5)
        daemon.wait(lambda: [f for f in logged() if f.get("FinishType") == 1], "the flow's end", 10)
    finally:
        logger.kill()
        logger.wait()


def test_the_daemon_stops_in_time_with_captures_running(lab):
    client = rest.RESTClient(lab.daemon.endpoint)
    lab.tid()
    client.capture_create("G.V().Has('Type', 'veth')")
    lab.daemon.wait(lambda: lab.daemon.query("G.V().Has('Captures.State', 'active')"), "a capture")
    assert lab.daemon.stop() < 2.0
