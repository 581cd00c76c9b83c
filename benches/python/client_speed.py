"""Measures the REST and WebSocket clients that are installed; run it in each environment to compare.

Usage: client_speed.py HOST:PORT of a running skyd. Prints one JSON object: REST calls, and
WebSocket messages that are received and sent (400 bytes each), per second of processor time of the
client. Processor time, because other processes must not decide the result.
"""

import asyncio
import base64
import hashlib
import json
import multiprocessing
import sys
import time

from skydive.rest.client import RESTClient
from skydive.websocket.client import WSClient, WSClientDefaultProtocol, WSMessage

CALLS = 500
MESSAGES = 20_000
OBJECT = {"ID": "n" * 36, "Host": "h", "Metadata": {"Name": "eth0", "Text": "x" * 180}}


def serve(queue):
    """Accepts a WebSocket, sends all messages, then receives all messages."""

    async def client(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(l for l in head.split(b"\r\n") if l.startswith(b"Sec-WebSocket-Key")).split(b": ")[1]
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        writer.write(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        text = json.dumps({"UUID": "u" * 32, "Namespace": "Graph", "Type": "NodeAdded", "Obj": OBJECT}).encode()
        writer.write((b"\x81\x7e" + len(text).to_bytes(2, "big") + text) * MESSAGES)
        await writer.drain()
        total = 0
        while data := await reader.read(1 << 20):
            total += len(data)
            if total >= MESSAGES * 400:
                break
        # A ping confirms that everything arrived.
        writer.write(b"\x81\x02{}")
        await reader.read()

    async def run():
        server = await asyncio.start_server(client, "127.0.0.1", 0, limit=1 << 22)
        queue.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


class Speed(WSClientDefaultProtocol):
    def onOpen(self):
        self.count, self.began = 0, time.process_time()

    def onMessage(self, payload, isBinary):
        self.count += 1
        results = self.factory.kwargs["results"]
        if self.count == MESSAGES:
            results["received"] = MESSAGES / (time.process_time() - self.began)
            message = WSMessage("Graph", "NodeAdded", {**OBJECT, "Pad": "x" * 60})
            self.began = time.process_time()
            for _ in range(MESSAGES):
                self.sendWSMessage(message)
        elif self.count > MESSAGES:
            results["sent"] = MESSAGES / (time.process_time() - self.began)
            self.stop()


def main():
    results = {}
    client = RESTClient(sys.argv[1])
    client.lookup("G.V().Limit(1)")
    began = time.process_time()
    for _ in range(CALLS):
        client.lookup("G.V().Limit(1)")
    results["rest"] = CALLS / (time.process_time() - began)
    queue = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(queue,), daemon=True)
    server.start()
    client = WSClient("speed", f"ws://127.0.0.1:{queue.get()}/", Speed, results=results)
    client.connect()
    client.start()
    server.terminate()
    print(json.dumps({name: round(value) for name, value in results.items()}))


if __name__ == "__main__":
    main()
