"""Prints the pairs of hosts with the most traffic in a capture file.

Usage: python top_talkers.py [FILE]

Without a file, the script writes a small capture first.
"""

import sys
from collections import Counter

import sample
import skypy


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else sample.write("sample.pcap")
    traffic: Counter[tuple[str, str]] = Counter()
    for flow in skypy.flows(path):
        ends = flow.get("Network") or flow.get("Link") or {}
        metric = flow["Metric"]
        traffic[ends.get("A", "?"), ends.get("B", "?")] += metric["ABBytes"] + metric["BABytes"]
    for (a, b), size in traffic.most_common(10):
        print(f"{a:>20} {b:>20} {size:12,} bytes")


if __name__ == "__main__":
    main()
