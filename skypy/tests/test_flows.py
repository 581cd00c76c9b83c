"""Flows of capture files that the tests generate."""

import gzip
import importlib.metadata
import json
import struct
import sys
import threading
import time

import pytest

import skypy

ETHERNET = bytes.fromhex("020000000002" "020000000001")


def udp(source, destination, payload=b"hello"):
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0,
        bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
    ports = struct.pack(">HHHH", source, destination, 8 + len(payload), 0)
    return ETHERNET + b"\x08\x00" + header + ports + payload


def arp():
    return ETHERNET + b"\x08\x06" + bytes.fromhex("0001080006040001") + bytes(20)


def pcap(frames):
    """Returns a little-endian classic pcap file with one packet per second."""
    file = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)]
    for second, frame in enumerate(frames):
        file += [struct.pack("<IIII", 1_600_000_000 + second, 0, len(frame), len(frame)), frame]
    return b"".join(file)


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace.pcap"
    path.write_bytes(pcap([udp(1000, 2000), udp(1000, 2000), udp(1001, 2000), arp()]))
    return path


def test_flows_are_plain_dicts_with_the_keys_of_the_json(trace):
    flows = skypy.flows(trace)
    assert (len(flows), flows.packets) == (3, 4)
    first = next(flow for flow in flows if flow.get("Transport", {}).get("A") == 1000)
    assert type(first) is dict
    assert first["LayersPath"] == "Ethernet/IPv4/UDP"
    assert first["Network"] == {"Protocol": "IPV4", "A": "10.0.0.1", "B": "10.0.0.2", "ID": 0}
    assert first["Metric"]["ABPackets"] == 2
    assert first["Metric"]["ABBytes"] == 2 * 47
    assert first["Start"] == 1_600_000_000_000
    assert first["Last"] == 1_600_000_001_000
    assert first["ParentUUID"] == ""
    json.dumps(first)


def test_flows_are_a_sequence(trace):
    flows = skypy.flows(str(trace))
    dicts = flows.to_dicts()
    assert list(flows) == dicts
    assert [flows[index] for index in range(3)] == dicts
    assert flows[-1] == dicts[-1]
    assert flows[1:] == dicts[1:]
    assert flows[::-1] == dicts[::-1]
    assert flows[5:] == []
    assert repr(flows) == "<skypy.Flows: 3 flows of 4 packets>"
    for index in (3, -4):
        with pytest.raises(IndexError):
            flows[index]
    with pytest.raises(TypeError):
        flows["x"]


def test_compressed_files_are_read(tmp_path):
    path = tmp_path / "trace.pcap.gz"
    path.write_bytes(gzip.compress(pcap([udp(1, 2)])))
    assert len(skypy.flows(path)) == 1


def pcapng(frames):
    """Returns a big-endian pcapng file with enhanced packet blocks."""

    def block(kind, body):
        length = struct.pack(">I", 12 + len(body))
        return struct.pack(">I", kind) + length + body + length

    file = [
        block(0x0A0D0D0A, struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1)),
        block(1, struct.pack(">HHI", 1, 0, 0)),
    ]
    for second, frame in enumerate(frames):
        ticks = (1_600_000_000 + second) * 1_000_000
        head = struct.pack(">IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
        file.append(block(6, head + frame + bytes(-len(frame) % 4)))
    return b"".join(file)


def test_pcapng_gives_the_same_flows(trace, tmp_path):
    path = tmp_path / "trace.pcapng"
    path.write_bytes(pcapng([udp(1000, 2000), udp(1000, 2000), udp(1001, 2000), arp()]))
    wanted = skypy.flows(trace).to_dicts()
    key = lambda flow: flow["UUID"]  # noqa: E731
    assert sorted(skypy.flows(path).to_dicts(), key=key) == sorted(wanted, key=key)


def test_options(trace):
    l3 = skypy.flows(trace, layer_key="L3")
    udp_flow = next(flow for flow in l3 if "Transport" in flow)
    assert udp_flow["TrackingID"] == udp_flow["L3TrackingID"]
    with pytest.raises(ValueError, match="layer_key must be L2 or L3, not L4"):
        skypy.flows(trace, layer_key="L4")
    with pytest.raises(TypeError):
        skypy.flows(trace, "L3")


def ipv4(protocol, payload, number=0, fragment=0):
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), number, fragment, 64, protocol, 0,
        bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
    return ETHERNET + b"\x08\x00" + header + payload


def tcp(sequence, flags, payload=b""):
    header = struct.pack(">HHIIBBHHH", 4000, 80, sequence, 0, 0x50, flags, 0, 0, 0)
    return ipv4(6, header + payload)


QUESTION = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\x01a\x02io\x00\x00\x01\x00\x01"


def test_a_filter_rejects_packets(trace):
    flows = skypy.flows(trace, bpf="udp src port 1000")
    assert (len(flows), flows.packets) == (1, 2)
    assert len(skypy.flows(trace, bpf="")) == 3
    with pytest.raises(ValueError, match='invalid BPF filter "port"'):
        skypy.flows(trace, bpf="port")


def test_packets_are_stored_with_their_flows(trace):
    flows = skypy.flows(trace, raw_packets=1, bpf="udp src port 1000")
    stored = flows.raw_packets()
    assert list(stored) == [flows[0]["UUID"]]
    assert stored[flows[0]["UUID"]] == [
        {"Timestamp": 1_600_000_000_000, "Index": 1, "Data": udp(1000, 2000), "LinkType": 1}
    ]
    assert flows[0]["RawPacketsCaptured"] == 1
    assert skypy.flows(trace).raw_packets() == {}
    with pytest.raises(ValueError, match="raw_packets must be 0 to 10, not 11"):
        skypy.flows(trace, raw_packets=11)


def test_fragments_are_joined_and_their_contents_read(tmp_path):
    path = tmp_path / "fragments.pcap"
    datagram = struct.pack(">HHHH", 4000, 53, 8 + len(QUESTION), 0) + QUESTION
    path.write_bytes(pcap([
        ipv4(17, datagram[:16], 9, 0x2000), ipv4(17, datagram[16:], 9, 2)]))
    apart = skypy.flows(path)
    assert {flow["LayersPath"] for flow in apart} == {"Ethernet/IPv4/Fragment"}
    for names in ("DNS", "dns,VRRP", ["DNS"], ("all",)):
        (flow,) = skypy.flows(path, ip_defrag=True, extra_layer=names)
        assert flow["LayersPath"] == "Ethernet/IPv4/Fragment/UDP/DNS"
        assert flow["DNS"]["questions"] == [{"name": "a.io", "type": "A", "class": "IN"}]
        assert flow["IPMetric"] == {"Fragments": 1, "FragmentErrors": 0}
    with pytest.raises(ValueError, match="extra_layer must be DNS, DHCPv4, VRRP, or all, not HTTP"):
        skypy.flows(path, extra_layer="DNS,HTTP")
    with pytest.raises(TypeError):
        skypy.flows(path, extra_layer=7)


def test_streams_are_tracked(tmp_path):
    path = tmp_path / "streams.pcap"
    path.write_bytes(pcap([
        tcp(100, 2), tcp(106, 16, b"world"), tcp(101, 16, b"hello"), tcp(111, 17)]))
    (plain,) = skypy.flows(path)
    assert "TCPMetric" not in plain
    (times,) = skypy.flows(path, extra_tcp_metric=True)
    assert times["TCPMetric"]["ABSynStart"] == 1_600_000_000_000
    assert times["TCPMetric"]["ABBytes"] == 0
    (tracked,) = skypy.flows(path, reassemble_tcp=True)
    metric = tracked["TCPMetric"]
    # The second segment is late by a second, so it was sent again.
    assert (metric["ABBytes"], metric["ABRetransmittedSegments"], metric["ABSawEnd"]) == (10, 1, 1)


def test_threads_and_bounds(trace):
    key = lambda flow: flow["UUID"]  # noqa: E731
    wanted = sorted(skypy.flows(trace).to_dicts(), key=key)
    assert sorted(skypy.flows(trace, threads=3).to_dicts(), key=key) == wanted
    for threads in (0, 256):
        with pytest.raises(ValueError, match=f"threads must be 1 to 255, not {threads}"):
            skypy.flows(trace, threads=threads)
    with pytest.raises(OverflowError):
        skypy.flows(trace, max_bytes=-1)
    # The limit allows one flow at a time: each new flow evicts another.
    assert len(skypy.flows(trace, max_bytes=1)) == 3


def test_recorded_values(tmp_path):
    path = tmp_path / "ends.pcap"
    path.write_bytes(pcap([tcp(100, 2), tcp(101, 4)]))
    (ours,) = skypy.flows(path)
    (theirs,) = skypy.flows(path, recorded=True)
    assert (ours["FinishType"], theirs["FinishType"]) == (3, 1)


def test_several_files_are_read_as_one(tmp_path):
    frames = [udp(1000, 2000), udp(1001, 2000), udp(1000, 2000), arp()]
    whole = pcap(frames)
    size = 16 + len(frames[0])
    whole_path = tmp_path / "whole.pcap"
    whole_path.write_bytes(whole)
    (tmp_path / "b1.pcap").write_bytes(whole[: 24 + size])
    (tmp_path / "a2.pcap").write_bytes(whole[:24] + whole[24 + size :])
    key = lambda flow: flow["UUID"]  # noqa: E731
    wanted = sorted(skypy.flows(whole_path).to_dicts(), key=key)
    parts = [tmp_path / "a2.pcap", tmp_path / "b1.pcap"]
    for path, merge in ((parts, False), (str(tmp_path / "[ab]*.pcap"), True)):
        flows = skypy.flows(path, merge=merge)
        assert flows.packets == 4
        assert sorted(flows.to_dicts(), key=key) == wanted
    with pytest.raises(FileNotFoundError, match="no file matches"):
        skypy.flows(tmp_path / "x*.pcap")
    with pytest.raises(TypeError):
        skypy.flows([7])


def test_a_query_returns_its_result(trace):
    assert skypy.flows(trace, query="G.Flows().Count()") == 3
    (flow,) = skypy.flows(trace, query="G.Flows().Has('Application', 'ARP')")
    assert flow["LayersPath"] == "Ethernet/ARP"
    with pytest.raises(skypy.QueryError, match="Nope") as caught:
        skypy.flows(trace, query="G.Nope()")
    assert caught.value.position == 2
    with pytest.raises(ValueError, match="cannot be used with query"):
        skypy.flows(trace, query="G.Flows()", top=3)


def test_the_largest_flows_come_first(trace):
    packets = [flow["Metric"]["ABPackets"] for flow in skypy.flows(trace, top=2, by="packets")]
    assert packets == [2, 1]
    assert len(skypy.flows(trace, top=5, by="rtt")) == 0
    with pytest.raises(ValueError, match="expected bytes, packets, rtt, or retransmissions"):
        skypy.flows(trace, top=2, by="size")


def test_times_names_and_link_types(trace, tmp_path):
    assert len(skypy.flows(trace, expire=0.5)) == 4
    assert len(skypy.flows(trace, expire="10m")) == 3
    long = tmp_path / "long.pcap"
    long.write_bytes(pcap([udp(1, 2)] * 40))
    # The packets are a second apart; the clock of a file follows 15 packets behind.
    assert (len(skypy.flows(long)), len(skypy.flows(long, update="1s"))) == (1, 25)
    for expire in (0, -1, "soon"):
        with pytest.raises(ValueError, match="expire must be greater than zero"):
            skypy.flows(trace, expire=expire)
    names = {flow["Application"] for flow in skypy.flows(trace, ports="udp:2000=game")}
    assert names == {"GAME", "ARP"}
    with pytest.raises(ValueError, match="expected tcp:PORT=NAME"):
        skypy.flows(trace, ports="game")
    path = tmp_path / "private.pcap"
    private = bytearray(trace.read_bytes())
    private[20] = 147
    path.write_bytes(private)
    for link_type in (1, "ethernet"):
        assert len(skypy.flows(path, link_type=link_type)) == 3
    with pytest.raises(ValueError, match="unknown link type"):
        skypy.flows(path, link_type="ether net")


def test_an_interface_is_selected(tmp_path):
    path = tmp_path / "trace.pcapng"
    path.write_bytes(pcapng([udp(1000, 2000)]))
    assert len(skypy.flows(path, interface="0")) == 1
    with pytest.raises(skypy.CaptureError, match="interfaces in the files: 0"):
        skypy.flows(path, interface="eth0")


def test_a_missing_file_raises_the_os_error_of_python(tmp_path):
    with pytest.raises(FileNotFoundError, match="cannot open .*nope.pcap"):
        skypy.flows(tmp_path / "nope.pcap")
    with pytest.raises(IsADirectoryError):
        skypy.flows(tmp_path)


def test_an_error_contains_the_offset_of_the_damage(trace, tmp_path):
    path = tmp_path / "cut.pcap"
    path.write_bytes(trace.read_bytes()[:-1])
    with pytest.raises(skypy.CaptureError, match=r"cannot read .*cut.pcap: byte \d+: ") as caught:
        skypy.flows(path)
    assert isinstance(caught.value, skypy.SkydiveError)
    path.write_bytes(b"this is a text, no capture file")
    with pytest.raises(skypy.CaptureError, match="not a capture file"):
        skypy.flows(path)


def test_other_threads_run_while_a_file_is_read(tmp_path):
    path = tmp_path / "long.pcap"
    path.write_bytes(pcap([udp(1, 2, b"x" * 1000)] * 20_000))
    beats = 0
    done = threading.Event()

    def beat():
        nonlocal beats
        while not done.is_set():
            beats += 1
            time.sleep(0)

    thread = threading.Thread(target=beat)
    interval = sys.getswitchinterval()
    thread.start()
    try:
        # From here on a thread runs only when another releases the interpreter lock.
        sys.setswitchinterval(60)
        before = after = beats
        attempts = 100
        # One file can be read before the system runs the other thread.
        while after == before and attempts:
            flows = skypy.flows(path)
            after = beats
            attempts -= 1
    finally:
        sys.setswitchinterval(interval)
        done.set()
        thread.join()
    assert len(flows) > 0
    assert after > before


def test_version_is_that_of_the_package():
    assert skypy.__version__ == importlib.metadata.version("skypy-net")
