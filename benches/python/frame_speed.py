"""Measures the ways from a capture file to a data frame; needs polars.

Usage: frame_speed.py METHOD FILE, with a method of METHODS. Prints the flows, the seconds of processor time
and of wall time, and the peak memory. Each method runs in its own process, so run the script once per method:

    for method in stream flows dicts csv; do python frame_speed.py $method many.pcap; done

`csv` needs `skyd` in PATH, or in SKYD.
"""

import os
import resource
import subprocess
import sys
import time

import polars


def stream(path):
    import skypy

    return polars.DataFrame(skypy.flows(path, stream=True))


def flows(path):
    import skypy

    return polars.DataFrame(skypy.flows(path))


def dicts(path):
    import skypy

    return polars.DataFrame(skypy.flows(path).to_dicts())


def csv(path):
    command = [os.environ.get("SKYD", "skyd"), "flows", path, "--format", "csv"]
    with open("/tmp/frame_speed.csv", "wb") as file:
        subprocess.run(command, stdout=file, stderr=subprocess.DEVNULL, check=True)
    return polars.read_csv("/tmp/frame_speed.csv", infer_schema_length=None)


METHODS = {"stream": stream, "flows": flows, "dicts": dicts, "csv": csv}


def main():
    method, path = sys.argv[1:]
    began = time.perf_counter()
    frame = METHODS[method](path)
    wall = time.perf_counter() - began
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    peak = max(usage.ru_maxrss for usage in usages) // 1024
    print(f"{method}: {frame.height} flows, {cpu:.2f} s processor, {wall:.2f} s wall, {peak} MiB peak")


if __name__ == "__main__":
    main()
