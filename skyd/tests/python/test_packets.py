"""Tests of packets of flows: download as a capture file, and upload of that file."""

import json
import struct
import urllib.request


def fetch(daemon, gremlin, accept):
    body = json.dumps({"GremlinQuery": gremlin}).encode()
    request = urllib.request.Request(f"http://{daemon.endpoint}/api/topology", body, {"Accept": accept})
    with urllib.request.urlopen(request, timeout=20) as reply:
        return reply.headers["Content-Type"], reply.read()


def records(file):
    """Returns the captured and the original length of each packet."""
    magic, major, minor, _, _, _, link_type = struct.unpack_from("<IHHiIII", file)
    assert (magic, major, minor, link_type) == (0xA1B2C3D4, 2, 4, 1)
    at, found = 24, []
    while at < len(file):
        _, _, captured, true = struct.unpack_from("<IIII", file, at)
        at += 16 + captured
        found.append((captured, true))
    assert at == len(file)
    return found


def test_packets_of_flows_are_returned_as_a_capture_file_that_can_be_uploaded(lab):
    daemon, tid = lab.daemon, lab.tid()
    wanted = {"GremlinQuery": f"G.V().Has('TID', '{tid}')", "RawPacketLimit": 6}
    status, text = daemon.request("POST", "/api/capture", wanted)
    assert status == 201, text
    daemon.wait(lambda: daemon.query("G.V().Has('Captures.State', 'active')"), "the capture")
    lab.ping(5)
    echo = "G.Flows().Has('LayersPath', 'Ethernet/IPv4/ICMPv4')"
    daemon.wait(lambda: daemon.query(f"{echo}.Has('Metric.BAPackets', 5)"), "the ping's flow")
    kind, file = fetch(daemon, f"{echo}.RawPackets()", "application/vnd.tcpdump.pcap")
    assert kind == "application/vnd.tcpdump.pcap; charset=UTF-8"
    assert records(file) == [(98, 98)] * 6
    as_json = json.loads(fetch(daemon, f"{echo}.RawPackets()", "application/json")[1])
    (packets,) = as_json[0].values()
    assert [packet["Index"] for packet in packets] == list(range(1, 7))
    kind, file_of_none = fetch(daemon, "G.Flows().Has('UUID', 'none').RawPackets()",
                               "application/vnd.tcpdump.pcap")
    assert records(file_of_none) == []

    upload = urllib.request.Request(f"http://{daemon.endpoint}/api/pcap", file)
    with urllib.request.urlopen(upload, timeout=20) as reply:
        imported = json.loads(reply.read())
        assert (reply.status, imported["Packets"], imported["Flows"]) == (202, 6, 1)
    # Flows of an uploaded file belong to no node.
    again = [f for f in daemon.query("G.At(NOW, 60)" + echo[1:]) if "NodeTID" not in f]
    assert [(f["Metric"]["ABPackets"], f["Metric"]["BAPackets"]) for f in again] == [(3, 3)]
    assert again[0]["FinishType"] == 1
