"""Mixed load for a while: memory, descriptors, and threads must not grow.

Usage: soak.py [SECONDS]   (default: 900). Uses $SKYD or target/debug/skyd.
"""

import contextlib
import json
import random
import sys
import tempfile
import threading
import time

from attacker import Daemon, WebSocket, load_graph, node

# Growth that the allocator and lazily started threads of the runtime may cause.
MORE_MIB, MORE_FDS, MORE_THREADS = 150, 20, 20


def publishers(daemon, n, count):
    policy = ["X-Persistence-Policy: DeleteOnDisconnect"]
    with contextlib.closing(WebSocket(daemon, "/ws/publisher", host_id=f"p{n}", headers=policy)) as client:
        client.send(*(("NodeAdded", node(f"p{n}-{count}-{i}", Note="x" * 500)) for i in range(200)))
        client.sync()


def subscribers(daemon, n, count):
    with contextlib.closing(WebSocket(daemon, "/ws/subscriber", host_id=f"s{n}-{count}")) as client:
        client.sync()


def queries(daemon, n, _):
    texts = ["G.V().Count()", "G.V().Limit(100)", "G.E().Limit(100)", "G.V().Both().Dedup().Count()", "G.V(", "G.Flows()"]
    daemon.query(random.Random(n + time.time()).choice(texts))


def resources(daemon, _n, _count):
    status, _, body = daemon.request("POST", "/api/capture", {"GremlinQuery": f"G.V().Has('Name', '{time.time()}')"})
    if status == 201:
        daemon.request("DELETE", f"/api/capture/{json.loads(body)['UUID']}")


def junk(daemon, _n, _count):
    with contextlib.closing(daemon.connect()) as socket:
        socket.sendall(random.randbytes(1000))


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 900
    with tempfile.TemporaryDirectory() as folder, Daemon(folder) as daemon:
        load_graph(daemon, 2_000)
        stop, done = threading.Event(), {}

        def worker(work, n):
            count = 0
            while not stop.is_set():
                with contextlib.suppress(OSError, EOFError, AssertionError):
                    work(daemon, n, count)
                count += 1
            done[work.__name__] = done.get(work.__name__, 0) + count

        works = [publishers, subscribers, queries, resources, junk]
        threads = [threading.Thread(target=worker, args=(work, n)) for work in works for n in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(min(30, seconds / 3))
        start = daemon.measure()
        print("start", start, flush=True)
        time.sleep(seconds)
        stop.set()
        for thread in threads:
            thread.join()
        time.sleep(5)
        end = daemon.measure()
        print("end", end, "operations", done, flush=True)
        assert daemon.query("G.V().Count()") == (200, b"2000\n"), "elements of the publishers are missing"
        assert end["rss"] <= start["rss"] + MORE_MIB
        assert end["fds"] <= start["fds"] + MORE_FDS
        assert end["threads"] <= start["threads"] + MORE_THREADS
        log = daemon.log.read_text()
        assert "panicked" not in log and " ERROR " not in log, log[-3000:]


if __name__ == "__main__":
    main()
