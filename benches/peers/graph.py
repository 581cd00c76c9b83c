#!/usr/bin/env python3
"""Compares our graph with networkx, rustworkx, and igraph on the same topologies, in the same run.

  benches/peers/graph.py [--tools DIR] [--venv DIR] [--rounds N] [--no-writer] [SIZE | TOPOLOGY]...

SIZE is a number of nodes (default: 100000 and 1000000); DIR/make_topology.py generates the topology
once, as target/topology-SIZE.json. TOPOLOGY is the path of such a file, with its expected figures in
TOPOLOGY.truth. DIR/peers_graph.py runs the peers, and this script runs orjson, all in the virtual
environment of --venv, which is created if necessary (from PyPI). DIR is --tools, else $SKYD_TOOLS,
else ../shared/tools next to the repository.

Each round runs our graph (`cargo bench --bench graph_figures`), then each peer, in one process each.
The script compares the results with each other, with the truth file, and with its own counts on plain
lists, and compares the graph that we write with the file, element by element. A time is that of the
best round; a ratio is the median of the ratios of all rounds, with their range. The exit status is 1 if
a result differs.
"""
import argparse
import collections
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PEERS = ["networkx", "rustworkx", "igraph"]

# Our row, its name in peers_graph.py, and the required ratio to the best peer.
ROWS = [
    ("load", "load", 4),
    ("count Type=container", "filter Type=container count", 1000),
    ("count MTU>1500", "filter MTU>1500 count", 4),
    ("count Docker.Labels.app=app7", "filter Docker.Labels.app=app7 count", 4),
    ("two hops", "2-hop from every bridge", 8),
    ("two hops, each bridge alone", "2-hop from every bridge", 8),
    ("layer2 subgraph", "layer2 edge subgraph", None),
    ("shortest path", "shortest path", 1),
    ("whole topology to JSON", "orjson.dumps", 3),
]
# Rows that may take 1.5 times as long in addition to the growth of the graph; the growth of walks is
# compared with that of igraph.
LINEAR = ["load", "count MTU>1500", "count Docker.Labels.app=app7", "count layer2 edges"]
WALKS = ["two hops", "two hops, each bridge alone", "shortest path"]
MEMORY = "memory, bytes a node"
wrong = []


def check(what, got, wanted):
    if got != wanted:
        wrong.append("%s: %s, should be %s" % (what, got, wanted))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tools", default=os.environ.get("SKYD_TOOLS", os.path.join(ROOT, "..", "shared", "tools")))
    p.add_argument("--venv", default=os.path.join(ROOT, "target", "peers-venv"))
    p.add_argument("--binary", help="an executable of the benchmark `graph_figures` to use instead of building it")
    p.add_argument("--rounds", type=int, help="number of rounds (default: 5; 2 for more than 300 000 nodes)")
    p.add_argument("--no-writer", action="store_true", help="skip the queries with a concurrent writer")
    p.add_argument("--plain", nargs="+", help=argparse.SUPPRESS)
    p.add_argument("topology", nargs="*", default=["100000", "1000000"])
    opt = p.parse_args()
    if opt.plain:
        return plain(*opt.plain)
    script = os.path.join(opt.tools, "peers_graph.py")
    if not os.path.exists(script):
        p.error("%s does not exist: set --tools or SKYD_TOOLS to the folder of peers_graph.py and make_topology.py" % script)
    python = environment(opt.venv)
    binary = opt.binary or build()
    figures = {}
    for name in opt.topology:
        file = topology(name, opt.tools)
        with open(file + ".truth") as f:
            truth = json.load(f)
        rounds = opt.rounds or (2 if truth["nodes"] > 300_000 else 5)
        figures[truth["nodes"]] = compare(file, truth, rounds, binary, python, script)
        if not opt.no_writer:
            writer(binary, file)
    growth(figures)
    for what in wrong:
        print("WRONG", what)
    return 1 if wrong else 0


def environment(folder):
    """Returns the Python of a virtual environment with the peers, which it creates if necessary."""
    python = os.path.join(folder, "bin", "python")
    if not os.path.exists(python):
        subprocess.check_call([sys.executable, "-m", "venv", folder])
    missing = subprocess.run([python, "-c", "import networkx, rustworkx, igraph, orjson"], capture_output=True)
    if missing.returncode != 0:
        subprocess.check_call([python, "-m", "pip", "install", "-q", *PEERS, "orjson"])
    return python


def build():
    out = subprocess.run(["cargo", "bench", "-q", "-p", "benches", "--bench", "graph_figures", "--no-run",
                          "--message-format=json"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    made = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return next(m["executable"] for m in made if m.get("executable") and m["target"]["name"] == "graph_figures")


def topology(name, tools):
    if not name.isdigit():
        return name
    file = os.path.join(ROOT, "target", "topology-%s.json" % name)
    if not os.path.exists(file + ".truth"):
        os.makedirs(os.path.dirname(file), exist_ok=True)
        make = os.path.join(tools, "make_topology.py")
        subprocess.check_call([sys.executable, make, "--nodes", name, "-o", file])
    return file


def compare(file, truth, rounds, binary, python, script):
    with open(file, "rb") as f:         # into the page cache
        while f.read(1 << 20):
            pass
    copy = tempfile.NamedTemporaryFile(suffix=".json", dir=os.path.dirname(os.path.abspath(file)))
    times = collections.defaultdict(list)       # (library, row) -> one time per round
    results = collections.defaultdict(set)      # row -> (library, result)
    for i in range(rounds):
        lines = run([binary, file] + ([copy.name] if i == 0 else []))
        for r in map(json.loads, lines.splitlines()):
            times["ours", r["row"]].append(r["seconds"])
            results[r["row"]].add(("ours", json.dumps(r["result"])))
        for peer in PEERS:
            parse_peer(peer, run([python, script, peer, file]), times, results)
        plain_run = [python, os.path.abspath(__file__), "--plain", file] + ([copy.name] if i == 0 else [])
        for r in map(json.loads, run(plain_run).splitlines()):
            times["orjson", r["row"]].append(r["seconds"])
            results[r["row"]].add(("plain lists", json.dumps(r["result"])))
        print("round %d of %d done" % (i + 1, rounds), file=sys.stderr, flush=True)
    equal(results, truth)
    report(file, truth, times, results)
    return {key: min(t) for key, t in times.items()}


def run(command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def parse_peer(peer, text, times, results):
    head = re.search(r"nodes=(\d+) edges=(\d+) json.load=([\d.]+)s .* load=([\d.]+)s rss\+(\d+) MB", text)
    nodes, edges, parse, insert, _ = head.groups()
    times[peer, "load"].append(float(parse) + float(insert))
    times[peer, "insert"].append(float(insert))
    results["load"].add((peer, "[%s, %s]" % (nodes, edges)))
    for name, ms, result in re.findall(r"^   (.*?) +([\d.]+) ms  -> (.*)$", text, re.M):
        times[peer, name].append(float(ms) / 1000)
        ours = [row for row, theirs, _ in ROWS if theirs == name]
        results[ours[-1]].add((peer, result))


def equal(results, truth):
    known = {"load": [truth["nodes"], truth["edges"]], "count Type=container": truth["by_type"]["container"],
             "count MTU>1500": truth["mtu_over_1500"], "count layer2 edges": truth["layer2"]}
    for row, found in sorted(results.items()):
        if row.startswith(("memory", "history")) or "JSON" in row:
            continue
        values = {value for _, value in found}
        if len(values) > 1:
            wrong.append("%s: results differ: %s" % (row, sorted(found)))
        if row in known:
            check(row, json.loads(min(values)), known[row])
    check("elements that we write differently from the file", results["differing elements"], {("plain lists", "0")})


def report(file, truth, times, results):
    print("\n%s: %d nodes, %d edges" % (os.path.basename(file), truth["nodes"], truth["edges"]))
    print("%-32s %12s %12s %12s %12s   %s" % ("", "ours", *PEERS, "ratio to the best (range), goal"))
    for row, theirs, wanted in ROWS:
        ours = times["ours", row]
        peers = [times[p, theirs] for p in PEERS if (p, theirs) in times] or [times["orjson", theirs]]
        rounds = [min(p[i] for p in peers) / ours[i] for i in range(len(ours))]
        ratio = statistics.median(rounds)
        verdict = "" if wanted is None else " >= %g %s" % (wanted, "ok" if ratio >= wanted else "MISSED")
        cells = [shown(min(times[p, theirs])) if (p, theirs) in times else "" for p in PEERS]
        if (PEERS[0], theirs) not in times:
            cells[0] = "orjson " + shown(min(peers[0]))
        print("%-32s %12s %12s %12s %12s   %.1f (%.1f-%.1f)%s" % (
            row, shown(min(ours)), *cells, ratio, min(rounds), max(rounds), verdict))
    parse = min(times["orjson", "orjson.loads"])
    inserts = [min(times[p, "insert"]) for p in PEERS]
    print("%-32s %.1f" % ("load, if peers parsed with orjson", (parse + min(inserts)) / min(times["ours", "load"])))
    with_peer = {row for row, _, _ in ROWS}
    for who, row in times:
        if who == "ours" and row not in with_peer:
            t = min(times[who, row])
            print("%-32s %12s" % (row, "%.0f" % t if "bytes" in row else shown(t)))
    bytes_a_node = min(times["ours", MEMORY])
    print("%s <= 750 %s" % (MEMORY, "ok" if bytes_a_node <= 750 else "MISSED"))


def writer(binary, file):
    print("\nwith a concurrent writer of 5 000 changes per second")
    for r in map(json.loads, run([binary, "--writer", file]).splitlines()):
        if "p99 " in r["row"]:
            ratio = r["seconds"] / r["result"]
            print("%-55s %12s, alone %12s: %.1f <= 2.5 %s" % (
                r["row"], shown(r["seconds"]), shown(r["result"]), ratio, "ok" if ratio <= 2.5 else "MISSED"))
        else:
            verdict = (" <= 1 ms " + ("ok" if r["seconds"] <= 0.001 else "MISSED")) if "p99.9" in r["row"] else ""
            print("%-55s %12s of %d changes%s" % (r["row"], shown(r["seconds"]), r["result"], verdict))


def growth(figures):
    theirs = {row: name for row, name, _ in ROWS}
    for small, large in itertools.pairwise(sorted(figures)):
        print("\nfrom %d to %d nodes (factor %.1f)" % (small, large, large / small))
        times = lambda who, row: figures[large][who, row] / figures[small][who, row]
        for who, row in figures[large]:
            if who != "ours" or "bytes" in row:
                continue
            wanted, why = None, ""
            if row in LINEAR:
                wanted = 1.5 * large / small
            elif row in WALKS:
                wanted, why = times("igraph", theirs[row]), " (igraph)"
            elif row == "count Type=container":
                wanted = 1.5
            verdict = "" if wanted is None else " <= %.3g%s %s" % (
                wanted, why, "ok" if times(who, row) <= wanted else "MISSED")
            print("%-32s %8.1f times as long%s" % (row, times(who, row), verdict))


def shown(seconds):
    for unit, size in (("s", 1), ("ms", 1e-3)):
        if seconds >= size:
            return "%.3g %s" % (seconds / size, unit)
    return "%.3g us" % (seconds * 1e6)


def plain(file, copy=None):
    """Measures orjson and computes on plain lists the figures that no peer computes."""
    import orjson
    with open(file, "rb") as f:
        text = f.read()
    row = lambda name, seconds, result: print(json.dumps({"row": name, "seconds": seconds, "result": result}))
    t = time.perf_counter()
    document = orjson.loads(text)
    row("orjson.loads", time.perf_counter() - t, len(text))
    best = 9e9
    for _ in range(5):
        t = time.perf_counter()
        written = orjson.dumps(document)
        best = min(best, time.perf_counter() - t)
    row("orjson.dumps", best, len(written))
    if copy:
        with open(copy, "rb") as f:
            held = orjson.loads(f.read())
        pairs = [pair for kind in ("Nodes", "Edges") for pair in itertools.zip_longest(document[kind], held[kind])]
        # A topology file without deleted elements omits the key; our output always has it.
        differing = sum({**(a or {}), "DeletedAt": None} != b for a, b in pairs)
        row("differing elements", 0, differing)
        del held, pairs
    del written, text
    nodes, edges = document["Nodes"], document["Edges"]
    around = collections.defaultdict(set)
    for e in edges:
        around[e["Parent"]].add(e["Child"])
        around[e["Child"]].add(e["Parent"])
    near = set().union(*(around[n["ID"]] for n in nodes if n["Metadata"]["Type"] == "bridge"))
    row("two hops", 0, len(set().union(*(around[n] for n in near))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
