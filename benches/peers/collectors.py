#!/usr/bin/env python3
"""Compares the receiver of flow exports with nfcapd, sfcapd, and goflow2 under the same datagrams.

    benches/peers/collectors.py target/release/skyd [--datagrams N] [--rate N] [--rounds N]

The script sends NetFlow 9, IPFIX (24 records of 20 fields in each datagram), and sFlow 5 (7 samples of
128 bytes) of 2 000 connections to each receiver on loopback, one receiver after the other, and prints
the processor time per record (median of the rounds; user and system time of the process, without its
start) and its ratio to that of skyd. skyd decodes and keeps flows that can be queried; nfcapd and sfcapd
append to a file; goflow2 writes protobuf to /dev/null. After each round, the number of records, and the
packets and bytes in the flows of skyd and in the files of nfcapd and sfcapd, must be those sent;
the exit status is 1 if they are not. Receivers that are not installed are skipped.
"""
import argparse
import json
import os
import random
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

CONNECTIONS = 2_000
RECORDS, SAMPLES = 24, 7
SAMPLING_RATE = 400
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

# Field numbers and lengths of a record, in bytes (RFC 3954, section 8); 21 and 22 are times since boot.
FIELDS = [(8, 4), (12, 4), (15, 4), (10, 4), (14, 4), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2),
          (6, 1), (4, 1), (5, 1), (16, 4), (17, 4), (9, 1), (13, 1), (61, 1), (48, 1)]
TEMPLATE_INTERVAL = 64
UPTIME_MS = 600_000


def connection(number):
    """Returns the addresses and ports of a connection."""
    return 0x0A000000 + number, 0xAC100000 + number % 100, 1024 + number, 443


class NetFlow9:
    name, peers = "NetFlow 9", ("nfcapd", "goflow2")
    per_datagram = RECORDS
    times = (22, 21)

    def datagram(self, number, rng, total):
        """Returns a datagram, and adds its packets and bytes to `total`."""
        body = b"".join(self.record(rng, total) for _ in range(RECORDS))
        has_template = number % TEMPLATE_INTERVAL == 0
        sets = (self.template() if has_template else b"") + struct.pack("!HH", 256, 4 + len(body)) + body
        return self.header(RECORDS + has_template, number, len(sets)) + sets

    def record(self, rng, total):
        a, b, port_a, port_b = connection(rng.randrange(CONNECTIONS))
        packets, octets = rng.randrange(1, 5000), rng.randrange(64, 1 << 22)
        total[0] += packets
        total[1] += octets
        first, last = self.interval()
        return struct.pack("!IIIIIIIIIHHBBBIIBBBB", a, b, 0x0A0000FE, 1 + a % 40, 50, packets, octets,
                           first, last, port_a, port_b, 24, 6, 0, 65000, 65001, 24, 16, 0, 0)

    def interval(self):
        return UPTIME_MS - 5000, UPTIME_MS - 1000

    def fields(self):
        return b"".join(struct.pack("!HH", *field) for field in FIELDS)

    def template(self):
        body = struct.pack("!HH", 256, len(FIELDS)) + self.fields()
        return struct.pack("!HH", 0, 4 + len(body)) + body

    def header(self, count, number, _length):
        return struct.pack("!HHIIII", 9, count, UPTIME_MS, int(time.time()), number, 7)


class Ipfix(NetFlow9):
    name, peers = "IPFIX", ("nfcapd", "goflow2")

    def interval(self):
        now = int(time.time())
        return now - 5, now - 1

    def fields(self):
        # Start and end in seconds (RFC 7011, elements 150 and 151).
        seconds = {22: 150, 21: 151}
        return b"".join(struct.pack("!HH", seconds.get(field, field), length) for field, length in FIELDS)

    def template(self):
        body = struct.pack("!HH", 256, len(FIELDS)) + self.fields()
        return struct.pack("!HH", 2, 4 + len(body)) + body

    def header(self, _count, number, length):
        return struct.pack("!HHIII", 10, 16 + length, int(time.time()), number * RECORDS, 7)


class Sflow:
    name, peers = "sFlow 5", ("sfcapd", "goflow2")
    per_datagram = SAMPLES

    def datagram(self, number, rng, total):
        samples = b"".join(self.sample(number * SAMPLES + sample, rng, total) for sample in range(SAMPLES))
        return struct.pack("!IIIIIII", 5, 1, 0x7F000001, 0, number, UPTIME_MS, SAMPLES) + samples

    def sample(self, number, rng, total):
        a, b, port_a, port_b = connection(rng.randrange(CONNECTIONS))
        total[0] += 1
        total[1] += 1014
        ip = struct.pack("!BBHHHBBHII", 0x45, 0, 1000, 1, 0, 64, 6, 0, a, b)
        tcp = struct.pack("!HHIIHHHH", port_a, port_b, 1, 1, 0x5010, 512, 0, 0)
        frame = bytes.fromhex("0200000000010200000000020800") + ip + tcp
        record = struct.pack("!IIIIII", 1, 16 + 128, 1, 1014, 0, 128) + frame.ljust(128, b"\0")
        body = struct.pack("!IIIIIIII", number, 1, SAMPLING_RATE, SAMPLING_RATE * number, 0, 1, 2, 1) + record
        return struct.pack("!II", 1, len(body)) + body


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Receiver:
    """A process that receives datagrams at `self.port`."""

    def __init__(self, folder, words):
        self.folder = folder
        log = open(os.path.join(folder, "log"), "w")
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=log)

    def cpu(self):
        """Returns the processor time of the process, in seconds."""
        with open("/proc/%d/stat" % self.process.pid) as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


class Skyd(Receiver):
    def __init__(self, folder, program):
        self.port, self.http = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
        settings = ["pipes.in=127.0.0.1:%d" % self.port, "analyzer.listen=127.0.0.1:%d" % self.http,
                    "agent.listen=127.0.0.1:%d" % free_port(socket.SOCK_STREAM),
                    "agent.topology.probes=[]", "storage.local.path=" + folder]
        super().__init__(folder, [program, "allinone", *(word for s in settings for word in ("--set", s))])
        for _ in range(300):
            try:
                self.records()
                return
            except (urllib.error.URLError, ConnectionError, IndexError, KeyError):
                time.sleep(0.1)
        sys.exit("skyd does not start: see %s/log" % folder)

    def get(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request("http://127.0.0.1:%d%s" % (self.http, path), data,
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def records(self):
        collector = self.get("/api/status")["Collectors"][0]
        return collector["FlowRecords"] + collector["FlowSamples"]

    def finish(self, wanted):
        """Waits until the records have arrived. Returns the processor time, and packets and bytes."""
        deadline = time.monotonic() + 20
        while self.records() < wanted and time.monotonic() < deadline:
            time.sleep(0.2)
        cpu, records = self.cpu(), self.records()
        time.sleep(2)  # A flow that has changed is sent after at most a second.
        fields = ("ABPackets", "BAPackets", "ABBytes", "BABytes")
        sums = [self.get("/api/topology", {"GremlinQuery": "G.Flows().Sum('Metric.%s')" % f}) for f in fields]
        total = [int(value) for value in sums]
        self.stop()
        return cpu, records, [total[0] + total[1], total[2] + total[3]]


class Nfdump(Receiver):
    """nfcapd or sfcapd, which write a file that nfdump reads."""

    def __init__(self, folder, program):
        self.port = free_port(socket.SOCK_DGRAM)
        super().__init__(folder, [program, "-l", folder, "-b", "127.0.0.1", "-p", str(self.port), "-t", "3600",
                                  "-B", str(8 << 20)])
        time.sleep(1)

    def finish(self, _wanted):
        time.sleep(1)
        cpu = self.cpu()
        self.stop()
        file = next(name for name in os.listdir(self.folder) if name.startswith("nfcapd.2"))
        text = subprocess.run(["nfdump", "-r", os.path.join(self.folder, file), "-I"], check=True,
                              capture_output=True, text=True).stdout
        figures = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
        return cpu, int(figures["Flows"]), [int(figures["Packets"]), int(figures["Bytes"])]


class Goflow(Receiver):
    kind = "netflow"

    def __init__(self, folder, program):
        self.port = free_port(socket.SOCK_DGRAM)
        address = "%s://127.0.0.1:%d" % (self.kind, self.port)
        super().__init__(folder, [program, "-listen", address, "-format", "bin", "-transport", "file",
                                  "-transport.file", "/dev/null", "-addr", ":%d" % free_port(socket.SOCK_STREAM)])
        time.sleep(1)

    def finish(self, _wanted):
        time.sleep(1)
        cpu = self.cpu()
        self.stop()
        return cpu, None, None


class GoflowSflow(Goflow):
    kind = "sflow"


def send(datagrams, port, rate):
    """Sends at most `rate` datagrams per second, in one burst per millisecond."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    s.connect(("127.0.0.1", port))
    start = time.monotonic()
    for number, datagram in enumerate(datagrams):
        while number >= rate * (time.monotonic() - start):
            time.sleep(0.001)
        s.send(datagram)


def measure(kind, receiver, program, datagrams, total, options):
    """Returns the processor time per record in µs, and whether the receiver saw what was sent."""
    folder = tempfile.mkdtemp(prefix="collectors-")
    try:
        running = receiver(folder, program)
        before = running.cpu()
        send(datagrams, running.port, options.rate)
        cpu, records, seen = running.finish(len(datagrams) * kind.per_datagram)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    wanted = len(datagrams) * kind.per_datagram
    # sfcapd multiplies by the sampling rate.
    factor = SAMPLING_RATE if receiver is Nfdump and isinstance(kind, Sflow) else 1
    is_right = records in (None, wanted) and seen in (None, [count * factor for count in total])
    if not is_right:
        print("  %s: %s records, packets and bytes %s; sent %d, %s" % (
            program, records, seen, wanted, [count * factor for count in total]), file=sys.stderr)
    return (cpu - before) / wanted * 1e6, is_right


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("skyd")
    parser.add_argument("--datagrams", type=int, default=40_000)
    parser.add_argument("--rate", type=int, default=10_000, help="datagrams per second")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    is_right = True
    print("%-10s %-8s %10s %8s" % ("format", "receiver", "µs/record", "ratio"))
    for kind in (NetFlow9(), Ipfix(), Sflow()):
        rng, total = random.Random(1), [0, 0]
        datagrams = [kind.datagram(number, rng, total) for number in range(options.datagrams)]
        receivers = {"skyd": (Skyd, options.skyd)}
        for peer in kind.peers:
            path = shutil.which(peer)
            goflow = GoflowSflow if isinstance(kind, Sflow) else Goflow
            if path is None:
                print("%-10s %-8s skipped: not installed" % (kind.name, peer))
            else:
                receivers[peer] = (goflow if peer == "goflow2" else Nfdump, path)
        times = {name: [] for name in receivers}
        for _ in range(options.rounds):
            for name, (receiver, program) in receivers.items():
                cost, was_right = measure(kind, receiver, program, datagrams, total, options)
                times[name].append(cost)
                is_right &= was_right
        own = statistics.median(times["skyd"])
        for name, costs in times.items():
            cost = statistics.median(costs)
            print("%-10s %-8s %10.3f %8.2f" % (kind.name, name, cost, cost / own))
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
