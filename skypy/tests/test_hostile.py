"""Bad input of all kinds raises exceptions of the documented classes, and Ctrl-C ends every wait."""

import asyncio
import datetime
import http.client
import io
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import skypy
from http_server import RawServer, Replies, reply
from skypy.client import ApiError, AsyncClient, Client, StreamError
from test_flows import pcap, udp
from websocket_server import WebSocketServer

TRACE = pcap([udp(1000 + port, 2000) for port in range(50)])

# Scripts that wait for ever. `{fifo}` is a pipe without a writer, `{url}` a server that accepts and is silent.
WAITS = {
    "a pipe without a writer": "import skypy; print('waits', flush=True); skypy.flows({fifo!r})",
    "a stream of a pipe without a writer":
        "import skypy; print('waits', flush=True); list(skypy.flows({fifo!r}, stream=True))",
    "a pipe without packets": "import os, skypy; os.open({fifo!r}, os.O_RDWR); print('waits', flush=True); "
                              "skypy.flows({fifo!r})",
    "a file object": "import os, skypy; print('waits', flush=True); skypy.flows(os.fdopen(os.pipe()[0], 'rb'))",
    "a query": "import skypy; g = skypy.Graph(); [g.add_node(f'{{i:03}}', {{}}) for i in range(200)]\n"
               "for i in range(200):\n    for j in range(i): g.add_edge(f'{{i:03}}', f'{{j:03}}', {{}})\n"
               "print('waits', flush=True); g.query('G.V()' + '.Both()' * 12 + '.Count()')",
    "events": "import skypy; a = skypy.Analyzer(probes=False); print('waits', flush=True); list(a.events())",
    "a request": "from skypy.client import Client; print('waits', flush=True); Client({url!r}).query('G')",
    "a login": "from skypy.client import Client; print('waits', flush=True); "
               "Client({url!r}, username='a', password='b').query('G')",
    "a subscription": "from skypy.client import Client; print('waits', flush=True); next(Client({url!r}).subscribe())",
    "a subscription with a login": "from skypy.client import Client; print('waits', flush=True); "
                                   "next(Client({url!r}, username='a', password='b').subscribe())",
    "a request of asyncio": "import asyncio; from skypy.client import AsyncClient; print('waits', flush=True); "
                            "asyncio.run(AsyncClient({url!r}).query('G'))",
    "a subscription of asyncio":
        "import asyncio; from skypy.client import AsyncClient; print('waits', flush=True)\n"
        "async def main():\n    async for message in AsyncClient({url!r}).subscribe(): pass\n"
        "asyncio.run(main())",
    "RESTClient": "from skydive.rest.client import RESTClient; print('waits', flush=True); "
                  "RESTClient({url!r}[7:]).capture_list()",
    "Authenticate": "from skydive.auth import Authenticate; print('waits', flush=True); "
                    "Authenticate({url!r}[7:], username='a', password='b').login()",
    "WSClient.connect": "from skydive.websocket.client import WSClient; print('waits', flush=True); "
                        "WSClient('me', {url!r}.replace('http', 'wss') + '/x', insecure=True).connect()",
}


@pytest.fixture
def silent():
    server = RawServer(lambda connection, number: time.sleep(60))
    yield server
    server.stop()


@pytest.mark.parametrize("name", WAITS)
def test_ctrl_c_ends_every_wait(name, silent, tmp_path):
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    script = WAITS[name].format(fifo=fifo, url=f"http://{silent.endpoint}")
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"waits\n"
        time.sleep(0.5)
        assert process.poll() is None, process.stderr.read()
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=10)
        assert b"KeyboardInterrupt" in text, text
        assert time.monotonic() - began < 4
        assert process.returncode in (1, -signal.SIGINT, 130), process.returncode
    finally:
        process.kill()


def test_ctrl_c_ends_start_as_in_the_original():
    server = WebSocketServer()
    script = ("from skydive.websocket.client import WSClient\n"
              f"client = WSClient('me', 'ws://127.0.0.1:{server.port}/mute')\n"
              "client.connect(); print('waits', flush=True); client.start(); print('ended', client.loop.is_closed())")
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"waits\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=10)
        assert (output, process.returncode) == (b"ended True\n", 0)
    finally:
        process.kill()
        server.stop()


EXITS = {
    "a stream that reads a file object":
        "s = skypy.flows(open({path!r}, 'rb', buffering=0), stream=True, expire=1)\nnext(s)",
    "a stream that waits for a pipe": "r, w = os.pipe(); os.write(w, open({path!r}, 'rb').read(24))\n"
                                      "s = skypy.flows(os.fdopen(r, 'rb', 0), stream=True)",
    "a thread that reads": "t = threading.Thread(target=lambda: [skypy.flows({path!r}) for _ in range(1000)], daemon=True)\n"
                           "t.start()",
    "a thread that queries":
        "g = skypy.Graph(); [g.add_node(f'{{i:03}}', {{}}) for i in range(100)]\n"
        "[g.add_edge(f'{{i:03}}', f'{{j:03}}', {{}}) for i in range(100) for j in range(i)]\n"
        "t = threading.Thread(target=lambda: g.query('G.V()' + '.Both()' * 9 + '.Count()'), daemon=True)\nt.start()",
    "an analyzer": "a = skypy.Analyzer(); e = a.events()\n"
                   "t = threading.Thread(target=lambda: list(e), daemon=True); t.start()",
}


@pytest.mark.parametrize("name", EXITS)
def test_programs_end_while_threads_work(name, tmp_path):
    path = tmp_path / "many.pcap"
    path.write_bytes(pcap([udp(port % 60000 + 1, port // 60000 + 1) for port in range(100_000)]))
    script = "import os, skypy, threading, time\n" + EXITS[name].format(path=str(path))
    processes = [subprocess.Popen([sys.executable, "-c", f"{script}\ntime.sleep({delay})"], stderr=subprocess.PIPE)
                 for delay in (0.01, 0.05, 0.1, 0.2)]
    for process in processes:
        try:
            _, text = process.communicate(timeout=20)
            assert process.returncode == 0, text
        finally:
            process.kill()


def test_garbage_is_a_capture_error_or_has_flows():
    source = random.Random(7)
    for _ in range(300):
        content = bytearray(TRACE)
        for _ in range(source.randrange(1, 30)):
            content[source.randrange(len(content))] = source.randrange(256)
        content = bytes(content[:source.randrange(len(content))])
        for options in ({}, {"stream": True}, {"query": "G.Flows().Count()"}, {"threads": 2}):
            try:
                flows = skypy.flows(content, **options)
                if "query" not in options:
                    list(flows)
            except skypy.CaptureError:
                pass
    for content in (b"", b"\0", b"PK\3\4", b"\x1f\x8b\x08", b"(\xb5/\xfd", os.urandom(4096), b"\x0a\x0d\x0d\x0a" * 100):
        with pytest.raises(skypy.CaptureError):
            skypy.flows(content)


class Liar(io.RawIOBase):
    """File whose method `read` returns something wrong."""

    def __init__(self, result):
        self.result = result

    def read(self, size=-1):
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


@pytest.mark.parametrize("result, error", [
    (None, TypeError), ("text", TypeError), (7, TypeError), ([1], TypeError), (b"x" * 10_000_000, ValueError),
    (OSError(5, "broken"), OSError), (KeyError("k"), KeyError), (KeyboardInterrupt(), KeyboardInterrupt)])
def test_files_that_lie(result, error):
    for options in ({}, {"stream": True}):
        with pytest.raises(error):
            list(skypy.flows(Liar(result), **options))


def test_closed_files_and_wrong_paths(tmp_path):
    path = tmp_path / "trace.pcap"
    path.write_bytes(TRACE)
    with open(path, "rb") as file:
        pass
    with pytest.raises(ValueError, match="closed"):
        skypy.flows(file)
    with open(path) as file, pytest.raises((TypeError, ValueError)):
        skypy.flows(file)
    with pytest.raises(IsADirectoryError):
        skypy.flows(tmp_path)
    for wrong in ("no\0path", "", str(tmp_path / ("x" * 5000)), b"", [], [path, 7], None, 7, {}, object()):
        with pytest.raises((OSError, ValueError, TypeError, skypy.CaptureError)):
            skypy.flows(wrong)
    for options in (
            {"bpf": "no filter"}, {"bpf": 7}, {"query": "G.Nope()"}, {"query": ""}, {"link_type": "no"}, {"link_type": -1},
            {"interface": 7}, {"layer_key": "L9"}, {"expire": "soon"}, {"expire": -1}, {"expire": float("nan")},
            {"update": float("inf")}, {"ports": "tcp"}, {"raw_packets": 11}, {"raw_packets": -1}, {"extra_layer": "no"},
            {"top": -1}, {"top": 1.5}, {"by": "no"}, {"max_bytes": -1}, {"threads": 0}, {"threads": 1 << 80},
            {"key_ignore": "no"}, {"nope": 1}, {"stream": "yes"}, {"bpf": "\ud800"}, {"query": "\ud800"}):
        with pytest.raises((ValueError, TypeError, OverflowError, skypy.QueryError)):
            skypy.flows(TRACE, **options)


def test_graphs_refuse_what_is_not_json():
    graph = skypy.Graph()
    cycle, deep = {}, {}
    cycle["self"] = cycle
    for _ in range(100_000):
        deep = {"x": deep}
    for metadata in (cycle, {"x": float("nan")}, {"x": "\ud800"}, {"x": {1, 2}}, {"x": b"bytes"}, {"x": 10 ** 400},
                     {"x": datetime.datetime.now()}, deep, [], None, "text", 7):
        with pytest.raises((ValueError, TypeError, RecursionError)):
            graph.add_node("n", metadata)
    for wrong in (None, 7, b"n", "\ud800"):
        with pytest.raises((TypeError, ValueError)):
            graph.add_node(wrong, {})
    for time_ in ("now", 1 << 70, 1.5):
        with pytest.raises((TypeError, OverflowError)):
            graph.add_node("n", {}, time=time_)
    graph.add_node("n", {}, time=-(1 << 63))
    graph.add_node("m", {}, time=(1 << 63) - 1)
    assert len(list(graph.nodes())) == 2
    for query in ("", "G", "G.V(", "G." * 10_000, "G.V()" + ".Out()" * 100_000, "G.V().Has('x', Regex('(((((('))",
                  "(" * 100_000, "G.V('" + "x" * 1_000_000 + "')", None, 7, b"G.V()", "G.V().Limit(-1)",
                  "G.V().Has('x', Regex('" + "(a*)*" * 1000 + "'))", "G.At('x').V()"):
        try:
            graph.query(query)
        except skypy.QueryError as error:
            assert error.position is None or error.position >= 0
    with pytest.raises(skypy.QueryError):
        graph.query("G.V(")


@pytest.mark.parametrize("packets", [
    None, 7, [7], [(1,)], [(1, "text")], [("x", b"")], [(1 << 70, b"")], [(1, None)], "text", b"bytes"])
def test_flow_tables_refuse_what_is_no_packet(packets):
    table = skypy.FlowTable()
    with pytest.raises((TypeError, ValueError, OverflowError)):
        table.process(packets)
    assert table.packets == 0
    table.process([(0, b""), (1 << 62, os.urandom(100)), (-(1 << 62), udp(1, 2)), (5, bytearray(70_000))])
    table.advance(-(1 << 63))
    table.advance((1 << 63) - 1)
    assert len(table.flush()) >= 0


# Replies to a request, with the class of the exception.
FALSE_REPLIES = {
    "html": (reply(200, b"<html>", "application/json"), ValueError),
    "half of the JSON": (reply(200, b'[{"ID": '), ValueError),
    "deep JSON": (reply(200, b"[" * 200_000), (ValueError, RecursionError)),
    "no UTF-8": (reply(200, b'["\xff\xfe"]'), ValueError),
    "a status without a text": (reply(500, b""), ApiError),
    "a large error": (reply(400, b"x" * 5_000_000), ApiError),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", http.client.HTTPException),
    "nothing": (b"", http.client.HTTPException),
}


@pytest.mark.parametrize("name", FALSE_REPLIES)
def test_false_replies(name):
    content, error = FALSE_REPLIES[name]
    server = RawServer(Replies(content))
    try:
        client = Client(f"http://{server.endpoint}", timeout=5)
        with pytest.raises(error):
            client.query("G.V()")
        with pytest.raises(error):
            asyncio.run(AsyncClient(f"http://{server.endpoint}", timeout=5).query("G.V()"))
        with pytest.raises((StreamError, OSError)):
            next(client.subscribe())
    finally:
        server.stop()


@pytest.mark.parametrize("path", ["not_json", "no_object", "deep_json", "binary"])
def test_messages_that_are_no_objects_end_a_subscription(path):
    server = WebSocketServer()
    try:
        with pytest.raises(StreamError, match="not a JSON object"):
            list(Client(f"http://127.0.0.1:{server.port}/{path}").subscribe())
    finally:
        server.stop()


def test_hosts_that_do_not_answer_are_errors_in_time():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        # Connections that nobody accepts, until the queue is full.
        others = []
        for _ in range(8):
            other = socket.socket()
            other.setblocking(False)
            other.connect_ex(server.getsockname())
            others.append(other)
        client = Client("http://127.0.0.1:%d" % server.getsockname()[1], timeout=0.5)
        began = time.monotonic()
        with pytest.raises(OSError):
            client.query("G")
        with pytest.raises((OSError, StreamError)):
            next(client.subscribe())
        with pytest.raises(OSError):
            asyncio.run(AsyncClient("http://127.0.0.1:%d" % server.getsockname()[1], timeout=0.5).query("G"))
        assert time.monotonic() - began < 10
        for other in others:
            other.close()


def test_a_canceled_request_ends_at_once(silent):
    async def main():
        client = AsyncClient(f"http://{silent.endpoint}", timeout=60)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.query("G"), 0.2)

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 5


def test_objects_may_be_used_after_their_end():
    analyzer = skypy.Analyzer(probes=False)
    events = analyzer.events()
    analyzer.stop()
    analyzer.stop()
    assert list(events) == [] and analyzer.query("G.V().Count()") == 0
    assert len(analyzer.nodes()) == len(analyzer.flows()) == 0
    stream = skypy.flows(TRACE, stream=True)
    assert len(list(stream)) == 50 == len(skypy.flows(TRACE))
    assert list(stream) == []
    nodes = skypy.Graph().nodes()
    assert list(nodes) == list(nodes) == []
    client = Client("http://127.0.0.1:1")
    client.close()
    client.close()
    with pytest.raises(OSError):
        client.query("G")


def test_threads_share_a_stream():
    stream = skypy.flows(TRACE, stream=True)
    found = []
    threads = [threading.Thread(target=lambda: found.extend(stream)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len({flow["UUID"] for flow in found}) == 50 == len(found)
