#!/usr/bin/env python3
"""Compares the grouping of 500 000 flows by address pair with DuckDB on the same records.

    python3 -m pip install duckdb
    benches/peers/grouping.py [--rounds 15]

Both programs hold the records in memory and count every connection once, at the capture point that
counted most packets. They run in alternation; the script checks that their answers are equal and
prints the median of the ratios of their times. A second query of DuckDB adds up all records, so
that captured copies count twice; it is only a lower bound. GROUPING in the environment is the command that starts
an already built benchmark.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time

import duckdb

ONCE = """
    WITH points AS (
        SELECT l3, node, a, b, sum(packets) AS packets, sum(bytes) AS bytes, count(*) AS flows
        FROM flows GROUP BY ALL),
    once AS (
        SELECT * FROM points
        QUALIFY row_number() OVER (PARTITION BY l3 ORDER BY packets DESC, node) = 1)
    SELECT a, b, sum(bytes)::BIGINT AS bytes, sum(flows)::BIGINT AS connections
    FROM once GROUP BY a, b ORDER BY bytes DESC
"""
PLAIN = "SELECT a, b, sum(bytes)::BIGINT AS bytes, count(*) FROM flows GROUP BY a, b ORDER BY bytes DESC"


def measure(connection, query):
    """Returns the seconds that a query takes, and its rows."""
    began = time.perf_counter()
    rows = connection.execute(query).fetchall()
    return time.perf_counter() - began, rows


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "flows.csv")
        command = os.environ.get("GROUPING", "cargo bench --quiet -p benches --bench grouping --").split() + [path]
        ours = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        while ours.stdout.readline().strip() != "ready":
            if ours.poll() is not None:
                raise SystemExit("the benchmark did not start")
        connection = duckdb.connect()
        connection.execute(f"CREATE TABLE flows AS SELECT * FROM read_csv('{path}', all_varchar=false)")
        times = {"skylib": [], "DuckDB, once": [], "DuckDB, one thread": [], "DuckDB, plain": []}
        for _ in range(rounds):
            print(file=ours.stdin, flush=True)
            times["skylib"].append(float(ours.stdout.readline()))
            connection.execute(f"SET threads = {os.cpu_count()}")
            seconds, rows = measure(connection, ONCE)
            times["DuckDB, once"].append(seconds)
            times["DuckDB, plain"].append(measure(connection, PLAIN)[0])
            connection.execute("SET threads = 1")
            times["DuckDB, one thread"].append(measure(connection, ONCE)[0])
        ours.stdin.close()
        answer = json.loads(ours.stdout.readline())
    counted = {(row["Network.A"], row["Network.B"]): (row["Metric.ABBytes"], row["Connections"])
               for row in answer}
    if counted != {(a, b): (size, connections) for a, b, size, connections in rows}:
        raise SystemExit("the answers differ")
    print(f"{len(rows)} address pairs, equal answers")
    for name, seconds in times.items():
        ratios = sorted(one / other for one, other in zip(times["skylib"], seconds))
        print(f"{name}: median {statistics.median(seconds) * 1000:.0f} ms;"
              f" skylib / {name}: {statistics.median(ratios):.2f}"
              f" ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
