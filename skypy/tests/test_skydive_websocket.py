"""The WebSocket client of the package `skydive`: handshake, callbacks, messages, hostile servers."""

import asyncio
import json
import logging
import threading
import time
import warnings

import pytest

from http_server import RawServer, Replies, reply
from original import needs_original, run_original, run_ours
from skydive.graph import Node
from skydive.websocket.client import (
    NodeAddedMsgType, WSClient, WSClientDebugProtocol, WSClientDefaultProtocol, WSMessage)
from websocket_server import WebSocketServer

UNCLEAN = 'connection was closed uncleanly ("%s")'


@pytest.fixture
def server():
    server = WebSocketServer()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def loop():
    """Provides one event loop for all clients of a test."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    if not loop.is_closed():
        loop.close()


def events(run, server, scenario):
    server.received.clear()
    found = json.loads(run("websocket_events.py", server.port, scenario).splitlines()[-1])
    sent = [(opcode, payload if opcode == 8 else len(payload)) for opcode, payload in server.received]
    return found, sent


@needs_original
@pytest.mark.parametrize("scenario", [
    "three", "drop", "refuse", "conflict", "parts", "sends", "reason", "mute", "open_fails", "connect_fails",
    "message_fails", "close_fails", "coroutines", "tasks", "blocks"])
def test_callbacks_and_frames_are_those_of_the_original(server, scenario):
    old, ours = (events(run, server, scenario) for run in (run_original, run_ours))
    assert ours == old
    assert ours[0][-1][0] == "close" and all(event[-1] for event in ours[0]), "in the main thread"


@needs_original
def test_the_handshake_is_that_of_the_original_except_for_the_user_agent(server):
    for run in (run_original, run_ours):
        run("websocket_events.py", server.port, "refuse")
    old, ours = ([line for line in head.split(b"\r\n") if b"Sec-WebSocket-Key" not in line] for head in server.heads)
    assert ours[1].startswith(b"User-Agent: skypy/") and old[1].startswith(b"User-Agent: ")
    assert ours[:1] + ours[2:] == old[:1] + old[2:]


def test_stop_when_complete_closes_the_connection(server):
    found, sent = events(run_ours, server, "queue")
    assert [event[0] for event in found] == ["connect", "open", "message", "message", "message", "close"]
    assert found[-1][1:3] == [True, 1000]
    assert [opcode for opcode, _ in sent] == [1, 1, 1, 8]


# Scenarios of hostile servers: what the reason of the unclean end contains.
HOSTILE = {
    "garbage": "is not HTTP",
    "wrong_accept": "wrong Sec-WebSocket-Accept",
    "endless_head": "exceeds 65536 bytes",
    "reserved": "reserved bits",
    "opcode": "opcode 3",
    "masked": "is masked",
    "huge": "a message exceeds",
    "long_ping": "longer than 125 bytes",
    "not_utf8": "not UTF-8",
    "continuation": "opcode 0",
    "bad_close": "invalid code",
}


class Ends(WSClientDefaultProtocol):
    """Records the messages and the end, and stops the loop."""

    def onMessage(self, payload, isBinary):
        self.factory.kwargs["events"].append(payload)

    def onClose(self, wasClean, code, reason):
        self.factory.kwargs["events"].append((wasClean, code, reason))
        self.stop()


def run(server, path, protocol=Ends, **keywords):
    """Connects, runs until the loop stops, and returns the events."""
    found = []
    client = WSClient("me", f"ws://127.0.0.1:{server.port}/{path}", protocol, events=found, **keywords)
    client.connect()
    client.start(timeout=20)
    return found


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_servers_end_the_connection(server, path):
    ((clean, code, reason),) = run(server, path)
    assert (clean, code) == (False, 1006)
    assert HOSTILE[path] in reason


def test_messages_in_parts_are_limited_in_total(server):
    class Small(Ends):
        max_message_bytes = 1000

    ((_, code, reason),) = run(server, "huge_parts", Small)
    assert code == 1006 and "exceeds 1000 bytes" in reason


def test_servers_that_hang_end_the_connection(server):
    class Impatient(Ends):
        open_timeout = 0.2

    assert run(server, "hang", Impatient) == [
        (False, 1006, UNCLEAN % "WebSocket opening handshake timeout (peer did not finish the opening handshake in time)")]

    class Closes(Ends):
        close_timeout = 0.2

        def onOpen(self):
            self.sendClose()

    ((clean, code, reason),) = run(server, "mute", Closes)
    assert (clean, code) == (False, 1006) and "closing handshake timeout" in reason


def test_connecting_to_nothing_raises():
    with pytest.raises(ConnectionRefusedError):
        WSClient("me", "ws://127.0.0.1:1/ws/publisher").connect()


@pytest.mark.parametrize("options, lines", [
    ({}, ["X-Client-Type: skydive-python-client", "X-Persistence-Policy: Persistent"]),
    ({"persistent": False, "type": "mine"}, ["X-Client-Type: mine", "X-Persistence-Policy: DeleteOnDisconnect"]),
    ({"filter": "G.V()"}, ["X-Gremlin-Filter: G.V()"]),
    ({"cookie": ["a=b", "c=d"]}, ["Cookie: a=b;c=d"]),
    ({"cookie": {"a": "b", "c": "d"}}, ["Cookie: a=b;c=d"]),
    ({"cookie": "a=b"}, ["Cookie: a=b"]),
])
def test_headers_of_the_handshake(server, options, lines):
    run(server, "refuse", **options)
    head = server.heads[0].decode()
    for line in ["X-Host-ID: me", "X-Client-Protocol: json", *lines]:
        assert f"\r\n{line}\r\n" in head
    assert ("X-Gremlin-Filter" in head) == ("filter" in options)
    assert ("Cookie" in head) == ("cookie" in options)


def test_headers_cannot_be_smuggled(server):
    client = WSClient("me\r\nX: y", f"ws://127.0.0.1:{server.port}/echo")
    client.connect()
    client.start(timeout=0.2)
    assert server.heads == []


def test_attributes_of_the_client(loop):
    cookies = []
    client = WSClient("me", "ws://localhost:8082/ws/subscriber", cookie=cookies, free=1, username="u", password="p")
    assert client.cookies is cookies and client.ssl_context is None and client.loop is loop
    assert client.kwargs == {"free": 1}
    assert (client.url.hostname, client.url.port, client.url.path) == ("localhost", 8082, "/ws/subscriber")
    assert (client.auth.endpoint, client.auth.scheme) == ("localhost:8082", "http")
    secure = WSClient("me", "wss://localhost/ws/subscriber", insecure=True)
    assert secure.auth.endpoint == "localhost:443" and not secure.ssl_context.check_hostname


def test_the_debug_protocol_requests_the_graph(server, caplog):
    class Debug(WSClientDebugProtocol):
        def onMessage(self, payload, isBinary):
            super().onMessage(payload, isBinary)
            self.factory.kwargs["events"].append(json.loads(payload))
            self.stop_when_complete()

    with caplog.at_level(logging.DEBUG, "skydive.websocket.client"):
        (request,) = run(server, "echo", Debug, sync="yes", filter="G.V()")
    assert (request["Type"], request["Namespace"]) == ("SyncRequest", "Graph")
    assert request["Obj"] == {"GremlinFilter": "G.V()"}
    assert "text message received" in caplog.text and "connected to tcp4" in caplog.text


def test_thousands_of_messages_arrive_before_the_close(server):
    class Sends(Ends):
        close_timeout = 20

        def onOpen(self):
            for _ in range(5000):
                self.sendWSMessage(WSMessage("Graph", NodeAddedMsgType, Node("i", "h", metadata={"x": "y" * 2000})))
            self.stop_when_complete()

    found = run(server, "count", Sends)
    assert found == [(True, 1000, None)]
    assert len(server.received) == 5001
    assert json.loads(server.received[4999][1])["Obj"]["Metadata"] == {"x": "y" * 2000}


def test_messages_of_every_length_arrive(server):
    lengths = [0, 1, 125, 126, 127, 1000, 65535, 65536]

    class Sends(Ends):
        def onOpen(self):
            for length in lengths:
                self.sendMessage(b"\xf0" * length, isBinary=True)

        def onMessage(self, payload, isBinary):
            super().onMessage(payload, isBinary)
            if len(payload) == lengths[-1]:
                self.sendClose()

    found = run(server, "echo", Sends)
    assert [message for message in found if isinstance(message, bytes) and len(message) < 65536] == [
        b"\xf0" * length for length in lengths[:-1]]


def test_messages_must_be_bytes_and_close_codes_valid():
    protocol = WSClientDefaultProtocol()
    with pytest.raises(TypeError):
        protocol.sendMessage("text")
    with pytest.raises(ValueError):
        protocol.sendClose(999)
    protocol.sendMessage(b"not connected: ignored")


def test_start_ends_at_its_time_limit_and_can_be_repeated(server):
    client = WSClient("me", f"ws://127.0.0.1:{server.port}/echo")
    client.connect()
    began = time.monotonic()
    client.start(timeout=0.1)
    client.start(timeout=0.1)
    assert 0.2 <= time.monotonic() - began < 5


def test_clients_run_in_threads_without_an_event_loop(server):
    found = []

    def work():
        client = WSClient("me", f"ws://127.0.0.1:{server.port}/drop", Ends, events=found)
        client.connect()
        client.start(timeout=10)
        client.loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0] == b"{}" and found[1][:2] == (False, 1006)


def test_connect_async_works_inside_a_running_loop(server, loop):
    found = []

    class Signals(Ends):
        def onClose(self, wasClean, code, reason):
            self.factory.kwargs["ended"].set()

    async def main():
        ended = asyncio.Event()
        client = WSClient("me", f"ws://127.0.0.1:{server.port}/drop", Signals, events=found, ended=ended)
        with pytest.raises(RuntimeError):
            client.connect()
        await client.connect_async()
        await asyncio.wait_for(ended.wait(), 10)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop.run_until_complete(main())
    assert found == [b"{}"]


def test_reconnect_opens_a_lost_connection_again(server):
    class Counts(Ends):
        def onClose(self, wasClean, code, reason):
            self.factory.kwargs["events"].append(code)
            if self.factory.kwargs["events"].count(1006) == 2:
                self.stop()

    assert run(server, "drop", Counts, reconnect=True) == [b"{}", 1006, b"{}", 1006]


def test_login_is_deprecated_and_returns_whether_it_succeeded():
    replies = Replies(
        reply(200, {}, "application/json", "Set-Cookie: authtoken=t; Path=/"), reply(401), reply(200, {}))
    http = RawServer(replies)
    try:
        client = WSClient("me", f"ws://{http.endpoint}/ws/publisher", username="u", password="p")
        with pytest.deprecated_call():
            assert client.login() is True
        assert client.cookies == ["authtoken=t"]
        with pytest.deprecated_call():
            assert client.login(http.endpoint, "u", "wrong") is False
        with pytest.deprecated_call():
            assert client.login(http.endpoint, "u", "p") is True
        assert client.cookies == ["authtoken=t", "authtoken="]
        assert replies.requests[1].body == b"username=u&password=wrong"
    finally:
        http.stop()
