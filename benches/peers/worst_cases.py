#!/usr/bin/env python3
"""Measures `skyd flows` on its most expensive captures against a minimal meter.

    benches/peers/worst_cases.py METER SKYD [--pairs 5] [--only NAME] [--folder FOLDER]

The script generates each capture (a million packets, at most 300 MB except for the jumbo frames),
checks that skyd counts all of its packets and flows, and prints the ratio of METER's elapsed time to
skyd's: median, minimum, and maximum of all pairs, on one core. METER is a program that takes the
capture as its only argument. The row `full table` compares skyd with itself instead: a table limited
to 20 MB against one that holds all flows, as additional time per evicted flow.
"""

import argparse
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile

from compare import run

PACKETS = 1_000_000
FLOWS = 10_000
TCP, UDP = 6, 17
SYN, ACK = 2, 16


def transport(protocol, source_port, payload, flags=ACK):
    """Returns a TCP segment to port 80 or a UDP datagram to port 7000."""
    if protocol == TCP:
        return struct.pack("!HHIIBBHHH", source_port, 80, 1, 1, 0x50, flags, 512, 0, 0) + payload
    return struct.pack("!HHHH", source_port, 7000, 8 + len(payload), 0) + payload


def frame4(number, protocol, content, destination=b"\x0a\xff\x00\x01"):
    """Returns an Ethernet frame with an IPv4 packet; the source address contains `number`."""
    source = struct.pack("!I", 0x0A000000 + number)
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(content), 0, 0, 64, protocol, 0, source, destination)
    return b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\x00" + header + content


def frame6(number, protocol, content):
    """Returns an Ethernet frame with an IPv6 packet; the source address contains `number`."""
    ends = b"\xfd" + bytes(11) + struct.pack("!I", number) + b"\xfd" + bytes(14) + b"\x01"
    header = struct.pack("!IHBB", 0x60000000, len(content), protocol, 64)
    return b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x86\xdd" + header + ends + content


def vxlan(number, inside):
    """Returns a frame in VXLAN between one pair of endpoints; the source port depends on the inner flow."""
    outer = struct.pack("!HHHHII", 49152 + number % 16384, 4789, 16 + len(inside), 0, 1 << 27, 7 << 8)
    return frame4(1, UDP, outer + inside)


def esp(number):
    """Returns an ESP packet of a security association of its own (RFC 4303)."""
    return frame4(1, 50, struct.pack("!II", 0x1000 + number, 1) + bytes(64))


def arp(number):
    """Returns an ARP request of one host for an address of its own (RFC 826)."""
    request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + b"\x02\0\0\0\0\x02\x0a\0\0\x01"
    target = bytes(6) + struct.pack("!I", 0x0A000000 + number)
    return b"\xff" * 6 + b"\x02\0\0\0\0\x02\x08\x06" + (request + target).ljust(46, b"\0")


def tagged(number):
    """Returns a TCP frame with two VLAN tags (IEEE 802.1Q)."""
    frame = tcp(frame4, 126)(number)
    return frame[:12] + struct.pack("!HHHH", 0x88A8, 100, 0x8100, 1 + number % 4000) + frame[12:]


def mpls(number):
    """Returns a TCP packet behind two MPLS labels (RFC 3032)."""
    frame = tcp(frame4, 126)(number)
    labels = struct.pack("!II", 16 << 12 | 64, (1000 + number) << 12 | 0x100 | 64)
    return frame[:12] + b"\x88\x47" + labels + frame[14:]


def gtp(number):
    """Returns a TCP packet in a GTP-U tunnel of its own between one pair of endpoints (TS 29.281)."""
    inside = tcp(frame4, 126)(number)[14:]
    header = struct.pack("!BBHI", 0x30, 255, len(inside), 1 + number)
    outer = struct.pack("!HHHH", 2152, 2152, 16 + len(inside), 0)
    return frame4(1, UDP, outer + header + inside)


def small(number):
    """Returns a frame of 60 bytes with TCP or UDP."""
    protocol = (TCP, UDP)[number % 2]
    content = transport(protocol, 1024 + number % 60_000, b"")
    return frame4(number, protocol, content.ljust(26, b"\0"))


def mixed(make):
    """Yields frames of all flows in a pseudorandom order that defeats caches."""
    frames = [make(number) for number in range(FLOWS)]
    state = 1
    for _ in range(PACKETS):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        yield frames[(state >> 33) % FLOWS]


def new_flows():
    """Yields frames that each begin a TCP flow."""
    for number in range(PACKETS):
        content = transport(TCP, 1024 + number % 60_000, b"", SYN)
        yield frame4(number, TCP, content).ljust(60, b"\0")


def one_frame(frame, packets=PACKETS):
    """Yields the same frame repeatedly."""
    for _ in range(packets):
        yield frame


def tcp(make, payload):
    """Returns a function that creates TCP frames with `payload` bytes of payload."""
    return lambda number: make(number, TCP, transport(TCP, 1024 + number, bytes(payload)))


# Name: frames, number of flows, nanoseconds between packets.
CASES = {
    "every packet begins a flow": (new_flows, PACKETS, 1000),
    "one flow": (lambda: one_frame(frame4(1, TCP, transport(TCP, 1024, bytes(200)))), 1, 1000),
    "IPv6 only": (lambda: mixed(tcp(frame6, 126)), FLOWS, 1000),
    "smallest frames": (lambda: mixed(small), FLOWS, 1000),
    "time going backwards": (lambda: mixed(small), FLOWS, -1000),
    "one pair of VXLAN endpoints": (
        lambda: mixed(lambda number: vxlan(number, tcp(frame4, 56)(number))), FLOWS + 1, 1000),
    "ESP associations": (lambda: mixed(esp), FLOWS, 1000),
    "ARP storm": (lambda: mixed(arp), FLOWS, 1000),
    "two VLAN tags": (lambda: mixed(tagged), FLOWS, 1000),
    "MPLS labels": (lambda: mixed(mpls), 2 * FLOWS, 1000),
    "GTP-U tunnels": (lambda: mixed(gtp), 2 * FLOWS, 1000),
    "frames of 9014 bytes": (
        lambda: one_frame(frame4(1, UDP, transport(UDP, 1024, bytes(8972))), 200_000), 1, 1000),
}


def write(path, frames, step):
    """Writes a classic pcap file with nanosecond timestamps; returns the number of packets."""
    now, count = 1_700_000_000_000_000_000, 0
    with open(path, "wb", buffering=1 << 20) as file:
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, 1))
        for frame in frames:
            file.write(struct.pack("<IIII", now // 10**9, now % 10**9, len(frame), len(frame)))
            file.write(frame)
            now += step
            count += 1
    return count


def skyd(binary, path, *options):
    """Returns the command line of skyd on one thread."""
    return [binary, "flows", path, "--threads", "1", "--query", "G.Flows().Count()", *options]


def check(command, flows, packets):
    """Exits with an error unless skyd counts the generated flows and packets."""
    output = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = re.search(r"flows (\d+) packets (\d+)", output)
    if found is None or (int(found[1]), int(found[2])) != (flows, packets):
        sys.exit(f"expected {flows} flows and {packets} packets, but skyd prints: {output}")


def pair_times(first, second, path, pairs):
    """Returns the elapsed times of both commands in each pair."""
    times = []
    for _ in range(pairs):
        with open(path, "rb") as file:
            while file.read(1 << 20):
                pass
        times.append((run(first, "1")[0], run(second, "1")[0]))
    return times


def print_row(name, figures):
    """Prints median, minimum, and maximum."""
    low, high = min(figures), max(figures)
    print(f"{name}: {statistics.median(figures):.2f} ({low:.2f} to {high:.2f})", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meter")
    parser.add_argument("skyd")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", choices=[*CASES, "full table"])
    parser.add_argument("--folder", help="folder for the captures; needs 2 GB of space (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = os.path.join(folder, "case.pcap")
        for name, (frames, flows, step) in CASES.items():
            if arguments.only not in (None, name):
                continue
            packets = write(path, frames(), step)
            ours = skyd(arguments.skyd, path)
            check(ours, flows, packets)
            times = pair_times([arguments.meter, path], ours, path, arguments.pairs)
            print_row(f"{name}, ratio", [meter / own for meter, own in times])
        if arguments.only in (None, "full table"):
            packets = write(path, new_flows(), 1000)
            whole = skyd(arguments.skyd, path)
            bounded = skyd(arguments.skyd, path, "--max-bytes", "20000000")
            check(bounded, PACKETS, packets)
            output = subprocess.run(bounded, capture_output=True, text=True, check=True).stderr
            found = re.search(r"(\d+) flows were printed early", output)
            early = int(found[1]) if found else sys.exit(f"no flow was evicted: {output}")
            times = pair_times(whole, bounded, path, arguments.pairs)
            print_row("full table, additional µs per evicted flow",
                      [(second - first) / early * 1e6 for first, second in times])


if __name__ == "__main__":
    main()
