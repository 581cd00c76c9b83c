"""Flows of capture files that the tests make themselves."""

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
    """A file of little-endian classic pcap, a packet a second."""
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
    """A file of big-endian pcapng with enhanced packet blocks."""

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
    with pytest.raises(ValueError, match="layer_key is L2 or L3, not L4"):
        skypy.flows(trace, layer_key="L4")
    with pytest.raises(TypeError):
        skypy.flows(trace, "L3")


def test_a_missing_file_is_the_error_python_has_for_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="cannot open .*nope.pcap"):
        skypy.flows(tmp_path / "nope.pcap")
    with pytest.raises(IsADirectoryError):
        skypy.flows(tmp_path)


def test_damage_says_where(trace, tmp_path):
    path = tmp_path / "cut.pcap"
    path.write_bytes(trace.read_bytes()[:-1])
    with pytest.raises(skypy.CaptureError, match=r"cannot read .*cut.pcap: byte \d+: ") as caught:
        skypy.flows(path)
    assert isinstance(caught.value, skypy.SkydiveError)
    path.write_bytes(b"this is a text, no capture file")
    with pytest.raises(skypy.CaptureError, match="no capture file"):
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
        # From here on a thread only runs when another gives up the interpreter by itself.
        sys.setswitchinterval(60)
        before = beats
        flows = skypy.flows(path)
        after = beats
    finally:
        sys.setswitchinterval(interval)
        done.set()
        thread.join()
    assert len(flows) > 0
    assert after > before


def test_version_is_that_of_the_package():
    assert skypy.__version__ == importlib.metadata.version("skypy-net")
