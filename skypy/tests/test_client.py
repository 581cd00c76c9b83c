"""The clients of the package `skypy`: queries, subscriptions, errors."""

import asyncio
import sys
import threading
import time
from pathlib import Path

import pytest

from skypy import G
from skypy.client import ApiError, AsyncClient, Client, StreamError
from http_server import RawServer
from websocket_server import WebSocketServer

sys.path.append(str(Path(__file__).resolve().parents[2] / "skyd/tests/python"))
from daemon import Daemon  # noqa: E402

NODE = {"ID": "n", "Host": "h", "Metadata": {"Name": "n", "Type": "rack"}}


@pytest.fixture
def daemon(tmp_path):
    daemon = Daemon(tmp_path, "analyzer")
    yield daemon
    daemon.stop()


def add(daemon, name):
    daemon.request("POST", "/api/node", {"ID": name, "Host": "h", "Metadata": {"Name": name, "Type": "rack"}})


def test_queries_and_requests(daemon):
    with Client(f"http://{daemon.endpoint}") as client:
        assert client.request("/api/node", "POST", NODE)["ID"] == "n"
        assert client.query("G.V().Count()") == 1
        assert [node["ID"] for node in client.nodes(G.V().Has("Type", "rack"))] == ["n"]
        assert client.edges() == [] and client.flows() == []
        assert client.explain(G.V().Count())["Steps"]
        with pytest.raises(ApiError) as error:
            client.query("G.Nope()")
        assert error.value.status == 400 and b"Nope" in error.value.body


def test_urls_are_checked():
    for url in ("localhost:8082", "ftp://localhost", "http://"):
        with pytest.raises(ValueError, match="must begin with"):
            Client(url)


def test_a_subscription_begins_with_the_graph_and_continues_with_changes(daemon):
    add(daemon, "first")
    with Client(f"http://{daemon.endpoint}") as client:
        messages = client.subscribe()
        graph = next(messages)
        assert (graph["Type"], [node["ID"] for node in graph["Obj"]["Nodes"]]) == ("SyncReply", ["first"])
        add(daemon, "second")
        change = next(messages)
        assert (change["Type"], change["Obj"]["ID"]) == ("NodeAdded", "second")
        messages.close()
        with pytest.raises(StopIteration):
            next(messages)


def test_a_subscription_ends_with_an_error_if_the_server_stops(daemon):
    messages = Client(f"http://{daemon.endpoint}").subscribe()
    next(messages)
    daemon.process.kill()
    with pytest.raises(StreamError):
        next(messages)


def test_the_client_of_asyncio(daemon):
    async def main():
        async with AsyncClient(f"http://{daemon.endpoint}") as client:
            assert await client.query(G.V().Count()) == 0
            seen = []

            async def watch():
                async for message in client.subscribe():
                    seen.append(message["Type"])
                    if len(seen) == 2:
                        return

            task = asyncio.create_task(watch())
            while not seen:
                await asyncio.sleep(0.01)
            await client.request("/api/node", "POST", NODE)
            await asyncio.wait_for(task, 10)
            assert seen == ["SyncReply", "NodeAdded"]
            with pytest.raises(ApiError):
                await client.query("G.Nope()")

    asyncio.run(main())


def test_passwords(tmp_path):
    daemon = Daemon(tmp_path, "analyzer", ("analyzer.auth.api.backend=basic", "auth.basic.users={ann: one}"))
    try:
        client = Client(f"http://{daemon.endpoint}", username="ann", password="one")
        assert client.query("G.V().Count()") == 0
        assert next(client.subscribe())["Type"] == "SyncReply"
        with pytest.raises(StreamError, match="401"):
            next(Client(f"http://{daemon.endpoint}").subscribe())
    finally:
        daemon.stop()


def test_a_slow_consumer_does_not_collect_messages_without_limit():
    server = WebSocketServer()
    try:
        messages = Client(f"http://127.0.0.1:{server.port}").subscribe()
        assert next(messages)["Number"] == 0
        before = -1
        while server.sent != before:
            before = server.sent
            time.sleep(0.3)
        assert server.sent < server.TOTAL / 2, "the socket is full, and nothing more is read"
        assert [next(messages)["Number"] for _ in range(server.TOTAL - 1)] == list(range(1, server.TOTAL))
    finally:
        server.stop()


def test_servers_that_hang_raise_an_error():
    server = RawServer(lambda connection, number: time.sleep(5))
    try:
        began = time.monotonic()
        with pytest.raises(OSError):
            Client(f"http://{server.endpoint}", timeout=0.3).query("G")
        assert time.monotonic() - began < 3
    finally:
        server.stop()


def test_several_threads_share_a_client(daemon):
    client = Client(f"http://{daemon.endpoint}")
    results = []
    threads = [threading.Thread(target=lambda: results.append(client.query("G.V().Count()"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 8
