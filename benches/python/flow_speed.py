"""Measures the packets per second from capture files into a data frame: skypy, nfstream, and scapy, in one run.

Usage: flow_speed.py [--limit PACKETS] FILE...

Run it in an environment with skypy-net, polars, nfstream, and scapy. Each measurement is a process of its own, which
imports the library before its clock starts; the file is read once before, into the page cache. nfstream reads payloads of no packet (`n_dissections=0`). scapy, which has
no flows, reads packets into a dict by addresses and ports; its rate is that of the first `--limit` packets. Prints, for
each file and library, packets per second of processor time and of wall time, the peak memory, and the number of flows.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time


def skypy(path, limit):
    import polars
    import skypy

    began = clock()
    flows = skypy.flows(path)
    frame = polars.DataFrame(flows)
    return began, flows.packets, frame.height


def skypy_stream(path, limit):
    import polars
    import skypy

    began = clock()
    frame = polars.DataFrame(skypy.flows(path, stream=True))
    # Packets that belong to outer and inner flows of tunnels are counted by `skypy` above.
    return began, None, frame.height


def nfstream(path, limit):
    import nfstream

    began = clock()
    frame = nfstream.NFStreamer(source=path, n_dissections=0, statistical_analysis=False).to_pandas()
    return began, int(frame["bidirectional_packets"].sum()), len(frame)


def scapy(path, limit):
    import polars
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.utils import PcapReader

    began = clock()
    flows, packets = {}, 0
    with PcapReader(path) as reader:
        for packet in reader:
            packets += 1
            ip = packet.getlayer(IP) or packet.getlayer(IPv6)
            transport = packet.getlayer(TCP) or packet.getlayer(UDP)
            ports = (transport.sport, transport.dport) if transport else (0, 0)
            ends = ((ip.src, ports[0]), (ip.dst, ports[1])) if ip else ((packet.src, 0), (packet.dst, 0))
            flow = flows.setdefault(tuple(sorted(ends)), [0, 0])
            flow[0] += 1
            flow[1] += len(packet)
            if packets == limit:
                break
    rows = [(*map(str, (a[0], a[1], b[0], b[1])), *counters) for (a, b), counters in flows.items()]
    polars.DataFrame(rows, schema=["A", "APort", "B", "BPort", "Packets", "Bytes"], orient="row")
    return began, packets, len(flows)


METHODS = {"skypy": skypy, "skypy stream": skypy_stream, "nfstream": nfstream, "scapy": scapy}


def clock():
    """Returns the time, and the processor time of this process and of its children that ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(method, path, limit):
    """Runs a method in this process, and prints the result."""
    (wall, cpu), packets, flows = METHODS[method](path, limit)
    wall_end, cpu_end = clock()
    print(json.dumps({"wall": wall_end - wall, "cpu": cpu_end - cpu, "packets": packets, "flows": flows}))


def run(method, path, limit):
    """Returns the result of a method in its own process, with the peak memory in MiB of it and its children."""
    command = [sys.executable, __file__, "--method", method, "--limit", str(limit), path]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    peak = 0
    while child.poll() is None:
        peak = max(peak, resident(child.pid))
        time.sleep(0.02)
    output = child.stdout.read().splitlines()
    if child.returncode or not output:
        sys.exit(f"{method} failed on {path}")
    return {**json.loads(output[-1]), "peak": peak >> 20}


def resident(pid):
    """Returns the memory of a process and its descendants in bytes; what they share counts once."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            size = next(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return size + sum(map(resident, file.read().split()))
    except (OSError, StopIteration):
        return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=100_000, help="packets that scapy reads (default: 100 000)")
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    if options.method:
        return measure(options.method, options.files[0], options.limit)
    for path in options.files:
        with open(path, "rb") as file:
            while file.read(1 << 20):
                pass
        total = None
        for method in METHODS:
            result = run(method, path, options.limit)
            packets = result["packets"] if method == "scapy" else total or result["packets"]
            if method == "skypy":
                total = packets
            print(f"{os.path.basename(path)} {method}: {packets / result['cpu']:,.0f} packets/s of processor time, "
                  f"{packets / result['wall']:,.0f} of wall time, {result['peak']} MiB, {result['flows']} flows", flush=True)


if __name__ == "__main__":
    main()
