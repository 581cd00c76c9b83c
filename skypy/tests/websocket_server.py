"""WebSocket server for tests. The path of a request selects what the server does."""

import asyncio
import base64
import hashlib
import json
import threading


def frame(opcode, payload, final=True, reserved=0):
    """Returns a frame of a server."""
    size = len(payload)
    head = bytes([(0x80 if final else 0) | reserved | opcode])
    if size < 126:
        head += bytes([size])
    elif size < 1 << 16:
        head += bytes([126]) + size.to_bytes(2, "big")
    else:
        head += bytes([127]) + size.to_bytes(8, "big")
    return head + payload


def close_frame(code, reason=b""):
    return frame(8, code.to_bytes(2, "big") + reason)


class WebSocketServer:
    """Server in a thread. `heads` are the received opening handshakes, `received` the frames."""

    TOTAL = 40_000

    def __init__(self):
        self.heads, self.received, self.sent = [], [], 0
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._started.wait()

    def stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self):
        self._loop = asyncio.new_event_loop()
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            path = head.split(b" ")[1].decode().strip("/").replace("/", "_")
            await getattr(self, "_" + path)(head, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _accept(self, head, writer):
        key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        key = key.split(b":")[1].strip()
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"X-Host-ID: server\r\nX-Service-Type: analyzer\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        await writer.drain()

    async def _frame(self, reader):
        """Returns the opcode and the payload of a client's frame."""
        first, second = await reader.readexactly(2)
        size = second & 127
        if size >= 126:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
        key = await reader.readexactly(4)
        payload = await reader.readexactly(size)
        mask = (key * (size // 4 + 1))[:size]
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
        self.received.append((first & 15, payload))
        return first & 15, payload

    async def _echo(self, head, reader, writer):
        """Returns every message, and replies to a close frame."""
        await self._accept(head, writer)
        while True:
            opcode, payload = await self._frame(reader)
            if opcode != 10:
                writer.write(frame(opcode if opcode != 9 else 10, payload))
            await writer.drain()
            if opcode == 8:
                return

    async def _three(self, head, reader, writer):
        """Sends three messages, a ping, and a close frame."""
        await self._accept(head, writer)
        for number in range(3):
            writer.write(frame(1, json.dumps({"Number": number}).encode()))
        writer.write(frame(9, b"ping") + close_frame(1001, b"restart"))
        await self._frame(reader)
        await self._frame(reader)

    async def _drop(self, head, reader, writer):
        """Closes the TCP connection after one message."""
        await self._accept(head, writer)
        writer.write(frame(1, b"{}"))

    async def _refuse(self, head, reader, writer):
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")

    async def _conflict(self, head, reader, writer):
        writer.write(b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n")

    async def _hang(self, head, reader, writer):
        """Never replies to the opening handshake."""
        await asyncio.sleep(60)

    async def _mute(self, head, reader, writer):
        """Never reads and never writes after the opening handshake."""
        await self._accept(head, writer)
        await asyncio.sleep(60)

    async def _garbage(self, head, reader, writer):
        writer.write(b"\x00\x01\x02 not http\r\n\r\n" * 3)
        await asyncio.sleep(5)

    async def _endless_head(self, head, reader, writer):
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n")
        while True:
            writer.write(b"X-Filler: " + b"x" * 1000 + b"\r\n")
            await writer.drain()

    async def _wrong_accept(self, head, reader, writer):
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n")
        await asyncio.sleep(5)

    async def _send(self, head, reader, writer, *frames):
        await self._accept(head, writer)
        writer.write(b"".join(frames))
        await asyncio.sleep(5)

    async def _reserved(self, head, reader, writer):
        await self._send(head, reader, writer, frame(1, b"{}", reserved=0x40))

    async def _opcode(self, head, reader, writer):
        await self._send(head, reader, writer, frame(3, b"{}"))

    async def _masked(self, head, reader, writer):
        await self._send(head, reader, writer, b"\x81\x82abcdef")

    async def _huge(self, head, reader, writer):
        await self._send(head, reader, writer, b"\x81\x7f" + (1 << 62).to_bytes(8, "big"))

    async def _huge_parts(self, head, reader, writer):
        await self._send(head, reader, writer, *[frame(0 if i else 1, b"x" * 600, final=False) for i in range(9)])

    async def _long_ping(self, head, reader, writer):
        await self._send(head, reader, writer, frame(9, b"x" * 126))

    async def _not_utf8(self, head, reader, writer):
        await self._send(head, reader, writer, frame(1, b"\xff\xfe"))

    async def _continuation(self, head, reader, writer):
        await self._send(head, reader, writer, frame(0, b"{}"))

    async def _bad_close(self, head, reader, writer):
        await self._send(head, reader, writer, close_frame(999))

    async def _parts(self, head, reader, writer):
        """Sends a message in parts, with a ping between them, byte by byte."""
        await self._accept(head, writer)
        data = (frame(1, b"one ", final=False) + frame(9, b"p") + frame(0, "zwölf ".encode(), final=False)
                + frame(0, b"x" * 300) + frame(2, b"\x00\xff") + frame(1, b"y" * 70000) + close_frame(1000))
        for index in range(40):
            writer.write(data[index:index + 1])
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(data[40:])
        await self._frame(reader)
        await self._frame(reader)

    async def _ws_subscriber(self, head, reader, writer):
        """Sends numbered messages of 1 kB as fast as the client reads them."""
        await self._accept(head, writer)
        for number in range(self.TOTAL):
            writer.write(frame(1, json.dumps({"Number": number, "Filler": "x" * 1000}).encode()))
            await writer.drain()
            self.sent = number + 1
        await reader.read()

    async def _not_json_ws_subscriber(self, head, reader, writer):
        await self._send(head, reader, writer, frame(1, b"{broken"))

    async def _no_object_ws_subscriber(self, head, reader, writer):
        await self._send(head, reader, writer, frame(1, b"[1]"))

    async def _deep_json_ws_subscriber(self, head, reader, writer):
        await self._send(head, reader, writer, frame(1, b"[" * 200_000))

    async def _binary_ws_subscriber(self, head, reader, writer):
        await self._send(head, reader, writer, frame(2, b"\xff\x00"))

    async def _count(self, head, reader, writer):
        """Receives messages until a close frame; replies to it after a while."""
        await self._accept(head, writer)
        while (await self._frame(reader))[0] != 8:
            await asyncio.sleep(0)
        writer.write(close_frame(1000))
