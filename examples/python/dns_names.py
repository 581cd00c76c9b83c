"""Prints the names in the DNS queries of a capture file, and the number of queries for each.

Usage: python dns_names.py [FILE]

Without a file, the script writes a small capture first.
"""

import sys
from collections import Counter

import sample
import skypy


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else sample.write("sample.pcap")
    names: Counter[str] = Counter()
    for flow in skypy.flows(path, bpf="udp port 53", extra_layer="DNS"):
        for question in flow.get("DNS", {}).get("questions") or []:
            names[question["name"]] += 1
    for name, count in names.most_common(20):
        print(f"{count:6} {name}")


if __name__ == "__main__":
    main()
