"""Runs one scenario with the client that is installed, and prints the events as JSON.

Usage: websocket_events.py PORT SCENARIO
"""

import asyncio
import json
import logging
import sys
import threading
import urllib.request

from skydive.websocket.client import WSClient, WSClientDefaultProtocol, WSMessage

EVENTS = []
PORT = int(sys.argv[1])


class Recorder(WSClientDefaultProtocol):
    """Records all events, and stops the loop at the end of the connection."""

    def note(self, *event):
        EVENTS.append([*event, threading.current_thread() is threading.main_thread()])

    def onConnect(self, response):
        self.note("connect", response.peer.replace(str(PORT), "PORT"), response.headers["x-host-id"],
                  response.version, response.protocol, response.extensions)

    def onOpen(self):
        self.note("open", self.factory.client is client, self.factory.kwargs)

    def onMessage(self, payload, isBinary):
        self.note("message", type(payload).__name__, payload.decode("latin-1")[:40], isBinary)

    def onClose(self, wasClean, code, reason):
        self.note("close", wasClean, code, reason)
        self.stop()


class SendsAndCloses(Recorder):
    def onOpen(self):
        super().onOpen()
        self.sendMessage(b"direct")
        self.sendMessage(b"\x00\x01", isBinary=True)
        self.factory.loop.call_later(0.3, self.sendClose)


class ClosesWithReason(Recorder):
    def onOpen(self):
        super().onOpen()
        self.sendClose(3001, "my reason")


class FailsInOnOpen(Recorder):
    def onOpen(self):
        super().onOpen()
        raise RuntimeError("in onOpen")


class FailsInOnConnect(Recorder):
    def onConnect(self, response):
        super().onConnect(response)
        raise RuntimeError("in onConnect")


class FailsInOnMessage(Recorder):
    def onMessage(self, payload, isBinary):
        super().onMessage(payload, isBinary)
        raise RuntimeError("in onMessage")


class FailsInOnClose(Recorder):
    def onClose(self, wasClean, code, reason):
        super().onClose(wasClean, code, reason)
        raise RuntimeError("in onClose")


class Coroutines(Recorder):
    async def onConnect(self, response):
        super().onConnect(response)

    async def onOpen(self):
        await asyncio.sleep(0.01)
        super().onOpen()
        self.sendWSMessage(WSMessage("Graph", "X", {}))

    async def onMessage(self, payload, isBinary):
        await asyncio.sleep(0.01)
        self.note("message", json.loads(payload)["Type"])
        self.sendClose()


class Tasks(Recorder):
    def onOpen(self):
        super().onOpen()
        asyncio.get_event_loop().create_task(self.later())

    async def later(self):
        await asyncio.sleep(0.01)
        self.note("task")
        self.sendClose()


class Queue(Recorder):
    def onOpen(self):
        super().onOpen()
        for number in range(3):
            self.sendWSMessage(WSMessage("Graph", f"T{number}", {}))
        self.stop_when_complete()

    def onMessage(self, payload, isBinary):
        self.note("message", json.loads(payload)["Type"])


class BlocksInOnOpen(Recorder):
    def onOpen(self):
        super().onOpen()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/refuse", timeout=5)
        except OSError as error:
            self.note("rest", str(error))
        self.sendClose()


SCENARIOS = {
    "three": ("three", Recorder),
    "drop": ("drop", Recorder),
    "refuse": ("refuse", Recorder),
    "conflict": ("conflict", Recorder),
    "hang": ("hang", Recorder),
    "parts": ("parts", Recorder),
    "garbage": ("garbage", Recorder),
    "sends": ("echo", SendsAndCloses),
    "reason": ("echo", ClosesWithReason),
    "mute": ("mute", ClosesWithReason),
    "open_fails": ("echo", FailsInOnOpen),
    "connect_fails": ("echo", FailsInOnConnect),
    "message_fails": ("drop", FailsInOnMessage),
    "close_fails": ("drop", FailsInOnClose),
    "coroutines": ("echo", Coroutines),
    "tasks": ("echo", Tasks),
    "blocks": ("echo", BlocksInOnOpen),
    "queue": ("echo", Queue),
    **{name: (name, Recorder) for name in (
        "reserved", "opcode", "masked", "long_ping", "not_utf8", "continuation", "bad_close",
        "wrong_accept", "huge", "endless_head")},
}

path, protocol = SCENARIOS[sys.argv[2]]
logging.getLogger().addHandler(logging.NullHandler())
client = WSClient("host-1", f"ws://127.0.0.1:{PORT}/{path}", protocol, filter="G.V()", cookie=["a=b", "c=d"],
                  free="keyword")
try:
    client.connect()
    client.loop.call_later(8, client.stop)
    client.start()
except Exception as error:
    EVENTS.append(["raised", type(error).__name__, str(error)])
print(json.dumps(EVENTS))
