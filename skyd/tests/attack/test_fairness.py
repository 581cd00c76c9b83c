"""Greedy and modest clients at the same time: the modest ones are served, whatever the greedy ones do."""

import base64
import contextlib
import json
import threading
import time

from attacker import LONG, Daemon, load_graph

# Exceeds the limit on elements after a long time: all walks of several steps from every node.
HEAVY = "G.V().Both().Both().Both().Both().Dedup().Count()"
# bcrypt of "s3cret"
HASH = "$2y$05$ViShHRlUaPXnRxu3Llz05.vnQYmJcmVjmrVaBJSyCKC63ngGMuWHK"


def in_threads(count, work):
    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    return threads


@LONG
def test_short_queries_do_not_wait_for_heavy_ones(tmp_path):
    with Daemon(tmp_path, "http.limits.queries=16", "http.limits.query_timeout=60") as daemon:
        load_graph(daemon, 3_000, 8)
        stop, ended = threading.Event(), []

        def heavy(_):
            while not stop.is_set():
                ended.append(daemon.try_request("POST", "/api/topology", {"GremlinQuery": HEAVY}))

        in_threads(60, heavy)
        running = lambda: json.loads(daemon.request("GET", "/api/status")[2])["Queues"]["QueriesRunning"]
        # One client can hold 11 of the 14 slots for long queries, and the two reserved slots.
        daemon.until("all slots to be occupied", lambda: running() >= 13)
        overtaken = []
        for _ in range(10):
            before = len(ended)
            assert daemon.query("G.V('n1').Count()") == (200, b"1\n")
            overtaken.append(len(ended) - before)
        stop.set()
        # In one queue, each short query would wait for the 45 heavy ones before it.
        assert sorted(overtaken)[5] < 20, overtaken


@LONG
def test_slow_bodies_do_not_occupy_all_connections(tmp_path):
    with Daemon(tmp_path, "http.limits.connections=50") as daemon:
        sockets = []
        for _ in range(50):
            with contextlib.suppress(OSError):
                socket = daemon.connect()
                socket.sendall(b"POST /api/topology HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n{")
                sockets.append(socket)

        def trickle():
            for socket in sockets:
                with contextlib.suppress(OSError):
                    socket.sendall(b" ")
            answer = daemon.try_request("GET", "/api")
            time.sleep(0.5)
            return answer and answer[0] == 200

        # Far below http.limits.body_timeout: the rate ends them.
        daemon.until("a connection", trickle, 40)


@LONG
def test_guessers_leave_password_checks_to_others(tmp_path):
    users = ["victim"] + [f"user{n}" for n in range(12)]
    (tmp_path / "htpasswd").write_text("".join(f"{user}:{HASH}\n" for user in users))
    with Daemon(tmp_path, "analyzer.auth.api.backend=basic", f"auth.basic.file={tmp_path}/htpasswd") as daemon:
        def authorization(user, password):
            pair = base64.b64encode(f"{user}:{password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}

        stop, guesses = threading.Event(), []

        def guess(n):
            while not stop.is_set():
                answer = daemon.try_request("GET", "/api", headers=authorization("victim", f"x{n}"))
                guesses.append(answer and answer[0])

        in_threads(60, guess)
        daemon.until("guesses", lambda: len(guesses) > 5)
        statuses = {}

        def log_in(n):
            statuses[n] = daemon.request("GET", "/api", headers=authorization(f"user{n}", "s3cret"))[0]

        for thread in in_threads(12, log_in):
            thread.join()
        stop.set()
        assert set(statuses.values()) == {200}, statuses
        assert 200 not in guesses


def test_idle_connections_leave_descriptors(tmp_path):
    prefix = ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"]
    with Daemon(tmp_path, prefix=prefix) as daemon:
        idle = [daemon.connect() for _ in range(100)]
        for _ in range(5):
            assert daemon.query("G.V().Count()")[0] == 200
        body = {"ID": "n", "Metadata": {"Name": "n", "Type": "t"}}
        assert daemon.request("POST", "/api/node", body)[0] == 201
        assert daemon.measure()["fds"] <= 64
        for socket in idle:
            socket.close()
