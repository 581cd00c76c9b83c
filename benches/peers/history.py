#!/usr/bin/env python3
"""Compares the history on disk with databases on one stream of records.

  pip install duckdb chdb pyarrow    (SQLite comes with Python; nfdump from the package manager)
  cargo bench --bench history_figures --no-run
  history.py STREAM --skyd target/release/deps/history_figures-* [--only duckdb,sqlite,chdb,nfdump] [--work DIR]

STREAM has one flow record, or one topology message, as JSON on each line; STREAM.truth has the right
answers. Every store is a process of its own with one thread, and receives the rows as Arrow or tuples;
reading the JSON is not counted. Times are CPU times, queries the best of three;
the last column is the time of skyd divided by that of the store. A wrong answer is marked, and the
exit status is 1.
"""
import argparse
import json
import os
import resource
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import time

COUNTERS = ["ABPackets", "ABBytes", "BAPackets", "BABytes", "Start", "Last", "RTT"]
FLOW = """"UUID" VARCHAR, "Application" VARCHAR, "LayersPath" VARCHAR, "TrackingID" VARCHAR, "NodeTID" VARCHAR,
 "CaptureID" VARCHAR, "L3TrackingID" VARCHAR, "LinkA" VARCHAR, "LinkB" VARCHAR, "A" VARCHAR, "B" VARCHAR,
 "Protocol" VARCHAR, "PortA" BIGINT, "PortB" BIGINT, "First" BIGINT, "Newest" BIGINT,
 "Total" BIGINT, """ + ", ".join('"%s" BIGINT' % name for name in COUNTERS)
EVENT = '"ID" VARCHAR, "Time" BIGINT, "Event" VARCHAR, "Revision" BIGINT, "Body" VARCHAR'


def cpu(who=resource.RUSAGE_SELF):
    return sum(resource.getrusage(who)[:2])


def rows(stream, kind):
    """Yields the rows of a stream as tuples."""
    for line in open(stream):
        record = json.loads(line)
        if kind == "flows":
            last = record["LastUpdateMetric"]
            yield (record["UUID"], record["Application"], record["LayersPath"], record["TrackingID"],
                   record["NodeTID"], record["CaptureID"], record["L3TrackingID"],
                   record["Link"]["A"], record["Link"]["B"], record["Network"]["A"], record["Network"]["B"],
                   record["Transport"]["Protocol"], record["Transport"]["A"], record["Transport"]["B"],
                   record["Start"], record["Last"], record["Metric"]["ABBytes"],
                   *(last.get(name, 0) for name in COUNTERS))
        else:
            element = record["Obj"]
            body = element.get("Ops", element.get("Metadata", ""))
            when = element.get("DeletedAt") or element.get("UpdatedAt")
            yield element["ID"], when, record["Type"], element.get("Revision", 0), json.dumps(body)


def batches(stream, kind, size=50_000):
    batch = []
    for row in rows(stream, kind):
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def arrow(batch, columns):
    import pyarrow
    names = [name.split('"')[1] for name in columns.split(",")]
    return pyarrow.Table.from_pydict(dict(zip(names, map(list, zip(*batch)))))


def questions(truth):
    """Returns the name, SQL, and right answer of each question."""
    if truth["kind"] != "flows":
        middle = truth["middle"]
        alive = ("SELECT count(*) FROM (SELECT \"ID\", \"Event\", row_number() OVER (PARTITION BY \"ID\" ORDER BY "
                 "\"Time\" DESC, \"Revision\" DESC) AS n FROM t WHERE \"Time\" <= %d AND \"Event\" LIKE 'Node%%') AS x "
                 "WHERE n = 1 AND \"Event\" <> 'NodeDeleted'" % middle["at"])
        return [("nodes as of the middle", alive, middle["nodes"]),
                ("history of a node", "SELECT count(*) FROM t WHERE \"ID\" = '%s'" % truth["node"],
                 truth["node_revisions"])]
    hour = '"Last" > %d AND "Last" <= %d' % (truth["hour"], truth["end"])

    def newest(where):
        return ('SELECT count(*) FROM (SELECT *, row_number() OVER (PARTITION BY "UUID" ORDER BY "Newest" DESC) AS n '
                'FROM t WHERE %s) AS x WHERE n = 1' % where)

    def address(key):
        return "(\"A\" = '%s' OR \"B\" = '%s')" % (truth[key], truth[key])
    series = "SELECT sum(\"ABBytes\") FROM t WHERE \"UUID\" = '%s'" % truth["series"]["uuid"]
    top = 'SELECT "UUID", max("Total") AS n FROM t WHERE %s GROUP BY 1 ORDER BY n DESC LIMIT 10' % hour
    return [("busy ip, 1 h", newest(hour + " AND " + address("busy_ip")), truth["busy_flows_hour"]),
            ("rare ip, 1 h", newest(hour + " AND " + address("rare_ip")), truth["rare_flows_hour"]),
            ("rare ip, all", newest(address("rare_ip")), None),
            ("series of a flow", series, truth["series"]["ab_bytes"]),
            ("count flows", 'SELECT count(DISTINCT "UUID") FROM t', truth["flows"]),
            ("top 10 flows, 1 h", top, None)]


def measure(work, ask, load, truth):
    """Loads a store and asks it. Returns the lines of its report."""
    count, took = load()
    size = sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(work) for name in names)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    report = [["load", took * 1e3, "%.2f us/row  %.1f B/row  rss %d MB" % (took / count * 1e6, size / count, memory)]]
    for name, sql, right in questions(truth):
        best = 1e9
        for _ in range(3):
            began = cpu()
            answer = ask(sql)
            best = min(best, cpu() - began)
        is_wrong = right is not None and answer != right
        report.append([name, best * 1e3, "WRONG: %s" % answer if is_wrong else ""])
    return report


def duckdb_store(args, truth, work):
    import duckdb
    store = duckdb.connect(os.path.join(work, "f"), config={"threads": 1})
    store.execute("CREATE TABLE t (%s)" % (FLOW if truth["kind"] == "flows" else EVENT))

    def load():
        count = took = 0
        for batch in batches(args.stream, truth["kind"]):
            table = arrow(batch, FLOW if truth["kind"] == "flows" else EVENT)
            began = cpu()
            store.register("batch", table)
            store.execute("INSERT INTO t SELECT * FROM batch")
            took += cpu() - began
            count += len(batch)
        began = cpu()
        store.execute("CHECKPOINT")
        return count, took + cpu() - began
    return measure(work, lambda sql: store.execute(sql).fetchall()[0][0], load, truth)


def sqlite_store(args, truth, work):
    store = sqlite3.connect(os.path.join(work, "f"))
    store.execute("PRAGMA journal_mode = WAL")
    store.execute("CREATE TABLE t (%s)" % (FLOW if truth["kind"] == "flows" else EVENT))
    keys = ['"A", "Last"', '"UUID"'] if truth["kind"] == "flows" else ['"ID", "Time"']
    for number, key in enumerate(keys):
        store.execute("CREATE INDEX i%d ON t (%s)" % (number, key))

    def load():
        count = took = 0
        for batch in batches(args.stream, truth["kind"]):
            began = cpu()
            with store:
                store.executemany("INSERT INTO t VALUES (%s)" % ",".join("?" * len(batch[0])), batch)
            took += cpu() - began
            count += len(batch)
        began = cpu()
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return count, took + cpu() - began
    return measure(work, lambda sql: store.execute(sql).fetchall()[0][0], load, truth)


def chdb_store(args, truth, work):
    from chdb import session
    store = session.Session(os.path.join(work, "f"))
    is_flows = truth["kind"] == "flows"
    columns = (FLOW if is_flows else EVENT).replace("VARCHAR", "String").replace("BIGINT", "Int64")
    order = '"A", "Last"' if is_flows else '"ID", "Time"'
    store.query("CREATE TABLE t (%s) ENGINE = MergeTree ORDER BY (%s)" % (columns, order))

    def load():
        import pyarrow
        count = took = 0
        for batch in batches(args.stream, truth["kind"]):
            path = os.path.join(work, "batch.arrow")
            table = arrow(batch, FLOW if is_flows else EVENT)
            with pyarrow.OSFile(path, "wb") as out, pyarrow.ipc.new_file(out, table.schema) as writer:
                writer.write_table(table)
            began = cpu()
            store.query("INSERT INTO t SELECT * FROM file('%s', Arrow)" % path)
            took += cpu() - began
            os.remove(path)
            count += len(batch)
        began = cpu()
        store.query("OPTIMIZE TABLE t FINAL")
        return count, took + cpu() - began

    def ask(sql):
        text = str(store.query(sql + " SETTINGS max_threads = 1", "CSV")).split("\n")[0].split(",")[0].strip('"')
        return int(text) if text.isdigit() else text
    return measure(work, ask, load, truth)


def nfdump_store(args, truth, work):
    """Sends the last hour as NetFlow 9 to nfcapd, and asks nfdump."""
    fields = [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 8), (2, 8), (22, 4), (21, 4)]
    template = struct.pack(">HHHH", 0, 8 + 4 * len(fields), 256, len(fields))
    template += b"".join(struct.pack(">HH", *field) for field in fields)
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.bind(("127.0.0.1", 0))
    port = out.getsockname()[1] + 1
    capture = subprocess.Popen(["nfcapd", "-l", work, "-b", "127.0.0.1", "-p", str(port), "-t", "3600", "-y",
                                "-B", str(8 << 20)], stderr=subprocess.DEVNULL)
    time.sleep(1)
    names = [name.split('"')[1] for name in FLOW.split(",")]
    count = sequence = 0
    some = b""
    for row in rows(args.stream, "flows"):
        flow = dict(zip(names, row))
        if not truth["hour"] < flow["Last"] <= truth["end"]:
            continue
        some += socket.inet_aton(flow["A"]) + socket.inet_aton(flow["B"]) + struct.pack(
            ">HHBQQII", flow["PortA"], flow["PortB"], 6 if flow["Protocol"] == "TCP" else 17, flow["ABBytes"],
            flow["ABPackets"], max(0, flow["Start"] - truth["begin"]), flow["Last"] - truth["begin"])
        count += 1
        if count % 20 == 0:
            header = struct.pack(">HHIIII", 9, 21, truth["end"] - truth["begin"], truth["end"] // 1000, sequence, 1)
            out.sendto(header + template + struct.pack(">HH", 256, 4 + len(some)) + some, ("127.0.0.1", port))
            some = b""
            sequence += 1
            if sequence % 20 == 0:
                time.sleep(0.004)
    time.sleep(2)
    before = cpu(resource.RUSAGE_CHILDREN)
    capture.terminate()
    capture.wait()
    took = cpu(resource.RUSAGE_CHILDREN) - before
    path = next(os.path.join(work, name) for name in os.listdir(work) if name.startswith("nfcapd.2"))
    report = [["load", took * 1e3, "%.1f B/row: addresses, ports, counters, and times of an hour" % (
        os.path.getsize(path) / max(1, count))]]
    for name, key in (("busy ip, 1 h", "busy_ip"), ("rare ip, 1 h", "rare_ip")):
        best = 1e9
        for _ in range(3):
            before = cpu(resource.RUSAGE_CHILDREN)
            subprocess.run(["nfdump", "-r", path, "-o", "csv", "ip " + truth[key]], stdout=subprocess.DEVNULL)
            best = min(best, cpu(resource.RUSAGE_CHILDREN) - before)
        report.append([name, best * 1e3, ""])
    return report


def skyd_store(args, truth, work):
    command = [args.skyd, args.stream, args.truth, work]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    report = []
    for line in output.splitlines():
        name, rest = line[12:37].strip(), line[37:]
        took, _, note = rest.partition("ms cpu")
        report.append([name, float(took), note.strip()])
    return report


def run(name, args, truth):
    """Runs a store in a process of its own. Returns its report, or the reason why there is none."""
    work = os.path.join(args.work, name)
    shutil.rmtree(work, True)
    os.makedirs(work)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            report = {"report": globals()[name + "_store"](args, truth, work)}
        except (ImportError, OSError, subprocess.CalledProcessError) as error:
            report = {"skipped": str(error)}
        os.write(write, json.dumps(report).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text or '{"skipped": "it ended early"}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream")
    parser.add_argument("--skyd", required=True, help="the program history_figures")
    parser.add_argument("--truth", help="right answers (default: STREAM.truth)")
    parser.add_argument("--only", default="duckdb,sqlite,chdb,nfdump")
    parser.add_argument("--work", default="peers.work")
    args = parser.parse_args()
    args.truth = args.truth or args.stream + ".truth"
    truth = json.load(open(args.truth))
    own, is_wrong = {}, False
    for name in ["skyd"] + args.only.split(","):
        if name == "nfdump" and truth["kind"] != "flows":
            continue
        result = run(name, args, truth)
        if "skipped" in result:
            print("%-8s skipped: %s" % (name, result["skipped"]), flush=True)
            continue
        for what, took, note in result["report"]:
            if name == "skyd":
                own[what] = took
            ratio = "%6.2f" % (own[what] / took) if what in own and took > 0 else " " * 6
            print("%-8s %-25s %10.1f ms %s  %s" % (name, what, took, ratio, note), flush=True)
            is_wrong |= "WRONG" in note
    sys.exit(is_wrong)


if __name__ == "__main__":
    main()
