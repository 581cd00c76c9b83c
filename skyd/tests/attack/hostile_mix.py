"""About a hundred hostile clients at once: the memory of the daemon stays below twice its budget.

Usage: hostile_mix.py [SECONDS]   (default: 60). Uses $SKYD or target/debug/skyd. Prints the resident memory
of every second as a plot.
"""

import contextlib
import json
import socket
import sys
import tempfile
import threading
import time
import zlib

from attacker import Daemon, WebSocket, load_graph, node

BUDGET, MOST = 512, 1024       # MiB
NODES, PAD = 5_000, 5_000      # a graph of 25 MB
WALK = "G.V().Both().Both().Both().Dedup().SubGraph()"


def slowly_read(daemon, request, stop):
    """Sends a request and takes 100 kB of the response per second."""
    with contextlib.closing(daemon.connect()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(request)
        while not stop.is_set() and client.recv(100_000):
            time.sleep(1)


def http(method, path, body=b"", length=None):
    length = len(body) if length is None else length
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n".encode() + body


def answers(daemon, _n, stop):
    body = json.dumps({"GremlinQuery": "G.V().Values('Pad')"}).encode()
    slowly_read(daemon, http("POST", "/api/topology", body), stop)


def topologies(daemon, _n, stop):
    slowly_read(daemon, http("GET", "/api/topology"), stop)


def protobuf_replies(daemon, n, stop):
    client = WebSocket(daemon, "/ws/subscriber", headers=["X-Client-Protocol: protobuf"], host_id=f"sync{n}")
    request = b"\x0a\x05Graph\x12\x0bSyncRequest\x1a\x01u\x32\x02{}"
    with contextlib.closing(client):
        for _ in range(20):
            client.socket.sendall(WebSocket.frame(request, 2))
        while not stop.wait(1):
            client.socket.recv(4096)


def filters(daemon, n, stop):
    """A walking filter, with other words for each client so that they share nothing."""
    text = WALK.replace("Dedup()", f"Has('Name', Ne('x{n}')).Dedup()")
    client = WebSocket(daemon, "/ws/subscriber", headers=[f"X-Gremlin-Filter: {text}"], host_id=f"filter{n}")
    with contextlib.closing(client.pump()):
        stop.wait()


def live_queries(daemon, n, stop):
    with contextlib.closing(WebSocket(daemon, "/ws/subscriber", host_id=f"live{n}").pump()) as client:
        for query in range(32):
            message = {"Namespace": "Live", "Type": "Query", "UUID": f"q{query}", "Status": 200,
                       "Obj": {"GremlinQuery": f"G.V().Has('Name', Ne('{n}-{query}')).Values('Pad')"}}
            with client.lock:
                client.socket.sendall(WebSocket.frame(json.dumps(message).encode()))
        stop.wait()


def patches(daemon, _n, stop):
    copies = [{"op": "copy", "from": "/Metadata/Pad", "path": f"/Metadata/B{i}"} for i in range(1000)]
    while not stop.is_set():
        daemon.try_request("PATCH", "/api/node/bomb", copies)


def heavy_queries(daemon, n, stop):
    while not stop.is_set():
        daemon.try_request("POST", "/api/topology", {"GremlinQuery": f"G.V().Both().Both().Both().Both().Limit({10**6 + n})"})


def packet_filters(daemon, n, stop):
    text = " or ".join(f"port {i + n}" for i in range(400))[:4000]
    while not stop.is_set():
        daemon.try_request("POST", "/api/topology", {"GremlinQuery": f"G.Flows().RawPackets().BPF('{text}')"})
        daemon.try_request("POST", "/api/capture", {"GremlinQuery": "G.V('none')", "BPFFilter": text})


def endless_messages(daemon, n, stop):
    """A WebSocket message of 64 MB that never ends."""
    with contextlib.closing(WebSocket(daemon, "/ws/publisher", host_id=f"endless{n}")) as client:
        for count in range(64):
            first = b"\x01" if count == 0 else b"\x00"
            client.socket.sendall(first + b"\xff" + (1 << 20).to_bytes(8, "big") + bytes(4) + b"x" * (1 << 20))
        stop.wait()


def slow_bodies(daemon, _n, stop):
    with contextlib.closing(daemon.connect()) as client:
        client.sendall(http("POST", "/api/node", b'{"ID": "' + b"x" * (10 << 20), 16 << 20))
        while not stop.wait(1):
            client.sendall(b"x" * 2000)


def bombs(daemon, _n, stop):
    """Uploads that are a thousand times larger than they look."""
    compress = zlib.compressobj(9, zlib.DEFLATED, 31)
    header = bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000")
    bomb = compress.compress(header + bytes(100 << 20)) + compress.flush()
    while not stop.is_set():
        daemon.try_request("POST", "/api/pcap", bomb)


def churn(daemon, _n, stop):
    """Replaces the graph again and again, so that slow readers hold old revisions."""
    with contextlib.closing(WebSocket(daemon, "/ws/publisher", host_id="churn").pump()) as client:
        revision = int(time.time())
        while not stop.wait(2):
            revision += 1
            for start in range(0, NODES, 250):
                client.send(*(("NodeUpdated", {**node(f"n{i}", Pad=f"{revision}" + "x" * PAD), "Revision": revision,
                                               "UpdatedAt": int(time.time() * 1000)}) for i in range(start, start + 250)))


CLIENTS = {answers: 15, topologies: 10, protobuf_replies: 15, filters: 15, live_queries: 5, patches: 4, heavy_queries: 12,
           packet_filters: 6, endless_messages: 8, slow_bodies: 8, bombs: 2, churn: 1}


def plot(samples, width=60):
    """Returns lines with a bar for each sample."""
    step = max(1, len(samples) // 60)
    top = max(max(samples), MOST)
    return [f"{second:4} s {samples[second]:5} MiB {'#' * (samples[second] * width // top)}"
            for second in range(0, len(samples), step)]


def run(folder, seconds):
    """Returns the resident memory of each second, the high water mark, and the requests of modest clients."""
    with Daemon(folder, f"http.limits.memory={BUDGET}MiB") as daemon:
        load_graph(daemon, NODES, 3, pad=PAD)
        assert daemon.request("POST", "/api/node", node("bomb", Pad="x" * 3_000_000))[0] in (201, 403)
        stop, samples, served = threading.Event(), [], {}

        def worker(work, n):
            while not stop.is_set():
                with contextlib.suppress(OSError, EOFError, ValueError, AssertionError):
                    work(daemon, n, stop)
                time.sleep(0.1)

        threads = [threading.Thread(target=worker, args=(work, n), daemon=True)
                   for work, count in CLIENTS.items() for n in range(count)]
        for thread in threads:
            thread.start()
        for _ in range(seconds):
            time.sleep(1)
            assert daemon.process.poll() is None, daemon.log.read_text()[-3000:]
            samples.append(daemon.measure()["rss"])
            answer = daemon.try_request("POST", "/api/topology", {"GremlinQuery": "G.V('n1').Count()"})
            status = answer and answer[0]
            served[status] = served.get(status, 0) + 1
        used = [line for line in daemon.request("GET", "/metrics")[2].decode().splitlines()
                if line.startswith("skyd_client_memory_") and not line.endswith(" 0")]
        peak = daemon.measure()["peak"]
        stop.set()
        log = daemon.log.read_text()
        assert "panicked" not in log, log[-3000:]
    return samples, peak, served, used


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as folder:
        samples, peak, served, used = run(folder, seconds)
    print("\n".join(plot(samples)))
    print("\n".join(used))
    print(f"{sum(CLIENTS.values())} hostile clients, budget {BUDGET} MiB: peak {peak} MiB, a short query each second: {served}")
    assert peak <= MOST
    assert served.get(200, 0) > 0


if __name__ == "__main__":
    main()
