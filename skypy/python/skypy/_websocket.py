"""WebSocket client (RFC 6455) as a protocol of `asyncio`, with the callbacks of autobahn.

The class reads many frames per call and writes many frames per system call, because the work per call of
`asyncio` limits the messages per second. Masked frames are created by the compiled module.
"""

import asyncio
import base64
import hashlib
import logging
import os
import urllib.parse

from ._skypy import websocket_frames

LOG = logging.getLogger("skydive.websocket.client")

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_FINAL = 0x80
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_HEAD_BYTES = 1 << 16
_CLOSE_CODES = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}
_PEER_DROPPED = "peer dropped the TCP connection without previous WebSocket closing handshake"
_OPEN_TIMEOUT = "WebSocket opening handshake timeout (peer did not finish the opening handshake in time)"
_CLOSE_TIMEOUT = "WebSocket closing handshake timeout (peer did not finish the closing handshake in time)"
_DROPPED = "I dropped the WebSocket TCP connection"


class TransportDetails:
    """Address of the server."""

    def __init__(self, peer):
        self.peer = peer


class ConnectionResponse:
    """Reply of the server to the opening handshake. Names of headers are in lower case."""

    def __init__(self, peer, headers):
        self.peer = peer
        self.headers = headers
        self.version = 18
        self.protocol = None
        self.extensions = []


class WebSocketClientFactory:
    """Creates the protocol of a connection. `headers` are sent with the opening handshake."""

    protocol = None

    def __init__(self, url, headers=None, useragent=None, loop=None):
        self.url = url
        self.headers = dict(headers or {})
        self.useragent = useragent
        self.loop = loop or asyncio.get_event_loop()

    def __call__(self):
        protocol = self.protocol()
        protocol.factory = self
        return protocol


class WebSocketClientProtocol(asyncio.Protocol):
    """A WebSocket connection. Subclasses override the callbacks, which may be coroutines.

    All limits are attributes of the class: times in seconds, sizes in bytes.
    """

    STATE_CLOSED, STATE_CONNECTING, STATE_CLOSING, STATE_OPEN = 0, 1, 2, 3

    open_timeout = 5
    """Time limit of the opening handshake, in seconds."""
    close_timeout = 1
    """Time limit of the closing handshake after all messages were sent, in seconds."""
    max_message_bytes = 1 << 30
    """Size limit of a received message, in bytes."""

    factory = None
    transport = None
    peer = None
    state = STATE_CLOSED

    _loop = None
    _timer = None
    _key = b""
    # Received bytes of an incomplete frame; `_missing` is the number of bytes that are still needed.
    _pieces = ()
    _missing = 0
    # Opcode, payloads, and size of a message in several frames.
    _message_opcode = 0
    _message_parts = ()
    _message_size = 0
    _writable = True
    _failure = None
    _close_sent = False
    _close_received = None
    _tasks = ()

    opened = False
    """Whether the opening handshake succeeded."""
    closed_by_client = False
    """Whether `sendClose` was called."""

    # Callbacks.

    def onConnecting(self, transport_details):
        """Called when the TCP connection is established."""

    def onConnect(self, response):
        """Called when the server accepted the opening handshake."""

    def onOpen(self):
        """Called when messages can be sent."""

    def onMessage(self, payload, isBinary):
        """Called for each message. `payload` is bytes, also for text."""

    def onClose(self, wasClean, code, reason):
        """Called once, when the connection has ended."""

    def onPing(self, payload):
        """Called for each ping; replies to it."""
        self.sendPong(payload)

    def onPong(self, payload):
        """Called for each pong."""

    # Methods for subclasses.

    def sendMessage(self, payload, isBinary=False, fragmentSize=None, sync=False, doNotCompress=False):
        """Sends a message, which is bytes. Does nothing if the connection is not open."""
        if not isinstance(payload, (bytes, bytearray)):
            raise TypeError(f"a message must be bytes, not {type(payload).__name__}")
        if self.state == self.STATE_OPEN:
            self._send_frame(_BINARY if isBinary else _TEXT, bytes(payload))

    def send_texts(self, payloads):
        """Sends text messages, which are bytes, together. Does nothing if the connection is not open."""
        if self.state == self.STATE_OPEN:
            self._send_frames(_TEXT, payloads)

    def sendPing(self, payload=None):
        """Sends a ping with at most 125 bytes."""
        self._send_control(_PING, payload)

    def sendPong(self, payload=None):
        """Sends a pong with at most 125 bytes."""
        self._send_control(_PONG, payload)

    def sendClose(self, code=None, reason=None):
        """Starts the closing handshake. Messages that were sent before are delivered first."""
        if code is not None and code != 1000 and not 3000 <= code < 5000:
            raise ValueError(f"the close code must be 1000 or 3000 to 4999, not {code}")
        if reason is not None and code is None:
            raise ValueError("a close reason needs a close code")
        self.closed_by_client = True
        if self.state == self.STATE_OPEN:
            self._send_close_frame(code, (reason or "").encode())
            self._close_after_drain()
        elif self.state == self.STATE_CONNECTING:
            self._fail("the connection was closed during the opening handshake")

    # Callbacks of asyncio.

    def connection_made(self, transport):
        self.transport = transport
        self._loop = self.factory.loop
        self._pieces, self._message_parts, self._tasks = [], [], set()
        address = transport.get_extra_info("peername") or ("", 0)
        family = "tcp6" if len(address) == 4 else "tcp4"
        self.peer = f"{family}:{address[0]}:{address[1]}"
        self.state = self.STATE_CONNECTING
        self._start_timer(self.open_timeout, _OPEN_TIMEOUT)
        self._call(self.onConnecting, TransportDetails(self.peer))
        self._key = base64.b64encode(os.urandom(16))
        transport.write(self._handshake())

    def data_received(self, data):
        if self._missing > len(data):
            self._pieces.append(data)
            self._missing -= len(data)
            return
        if self._pieces:
            self._pieces.append(data)
            data = b"".join(self._pieces)
            self._pieces.clear()
        self._missing = 0
        if self.state == self.STATE_CONNECTING:
            data = self._read_handshake(data)
        if data:
            rest = self._read_frames(data)
            if rest:
                self._pieces.append(rest)

    def eof_received(self):
        return False

    def pause_writing(self):
        self._writable = False

    def resume_writing(self):
        self._writable = True
        if self._close_sent and self._failure is None:
            self._close_after_drain()

    def connection_lost(self, exc):
        self._stop_timer()
        if self.state == self.STATE_CLOSED:
            return
        self.state = self.STATE_CLOSED
        if self._failure is None and self._close_sent and self._close_received is not None:
            code, reason = self._close_received
            clean = True
        else:
            clean, code = False, 1006
            reason = f'connection was closed uncleanly ("{self._failure or _PEER_DROPPED}")'
        self._call(self.onClose, clean, code, reason)
        lost = getattr(self.factory, "connection_lost", None)
        if lost is not None:
            lost(self)

    # Opening handshake.

    def _handshake(self):
        url = urllib.parse.urlsplit(self.factory.url)
        target = urllib.parse.urlunsplit(("", "", url.path or "/", url.query, ""))
        lines = [f"GET {target} HTTP/1.1"]
        if self.factory.useragent:
            lines.append(f"User-Agent: {self.factory.useragent}")
        lines += [f"Host: {url.netloc.rpartition('@')[2]}", "Upgrade: WebSocket", "Connection: Upgrade",
                  "Pragma: no-cache", "Cache-Control: no-cache"]
        lines += [f"{name}: {value}" for name, value in self.factory.headers.items()]
        lines += [f"Sec-WebSocket-Key: {self._key.decode()}", "Sec-WebSocket-Version: 13"]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("headers of the opening handshake must not contain line breaks")
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    def _read_handshake(self, data):
        """Reads the reply of the server; returns the bytes after it."""
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            if len(data) > _MAX_HEAD_BYTES:
                self._fail(f"the reply to the opening handshake exceeds {_MAX_HEAD_BYTES} bytes")
            else:
                self._pieces.append(data)
            return b""
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        failure = self._handshake_failure(first, headers)
        if failure:
            self._fail(failure)
            return b""
        self._stop_timer()
        if self._call(self.onConnect, ConnectionResponse(self.peer, headers)):
            self.state = self.STATE_OPEN
            self.opened = True
            self._call(self.onOpen)
        return rest if self.state != self.STATE_CLOSED and self._failure is None else b""

    def _handshake_failure(self, first, headers):
        """Returns the reason why the reply to the opening handshake is invalid, or `None` if it is valid."""
        version, _, rest = first.partition(" ")
        status, _, reason = rest.partition(" ")
        if not version.startswith("HTTP/1.") or not status.isdecimal():
            return f"the reply to the opening handshake is not HTTP: {first[:200]!r}"
        if status != "101":
            return f"WebSocket connection upgrade failed [{status}]: {reason}"
        accept = base64.b64encode(hashlib.sha1(self._key + _GUID).digest()).decode()
        if headers.get("upgrade", "").lower() != "websocket":
            return "the reply to the opening handshake lacks the header Upgrade: websocket"
        if "upgrade" not in headers.get("connection", "").lower():
            return "the reply to the opening handshake lacks the header Connection: Upgrade"
        if headers.get("sec-websocket-accept") != accept:
            return "the reply to the opening handshake has a wrong Sec-WebSocket-Accept"
        for name in ("sec-websocket-extensions", "sec-websocket-protocol"):
            if headers.get(name):
                return f"the server selected {name} {headers[name][:80]!r}, which was not offered"
        return None

    # Received frames.

    def _read_frames(self, data):
        """Reads all complete frames; returns the bytes after them."""
        at, end = 0, len(data)
        while end - at >= 2:
            first, size = data[at], data[at + 1]
            start = at + 2
            if size >= 126:
                if size > 127:
                    self._protocol_error(1002, "a frame of the server is masked")
                    return b""
                start += 2 if size == 126 else 8
                if start > end:
                    break
                size = int.from_bytes(data[at + 2:start], "big")
                if size > self.max_message_bytes:
                    self._protocol_error(1009, f"a message exceeds {self.max_message_bytes} bytes")
                    return b""
            stop = start + size
            if stop > end:
                self._missing = stop - end
                break
            payload = data[start:stop]
            at = stop
            if first == _FINAL | _TEXT and not self._message_opcode:
                self._on_text(payload)
            else:
                self._on_frame(first, payload)
            if self.state == self.STATE_CLOSED or self._failure is not None or self._close_received is not None:
                return b""
        return data[at:] if at else data

    def _on_text(self, payload):
        try:
            payload.decode()
        except UnicodeDecodeError:
            self._protocol_error(1007, "a text message is not UTF-8")
            return
        self._on_message(payload, False)

    def _on_message(self, payload, binary):
        try:
            result = self.onMessage(payload, binary)
        except Exception as error:
            self._on_callback_error(self.onMessage, error)
        else:
            if result is not None:
                self._run(self.onMessage, result)

    def _on_frame(self, first, payload):
        """Processes a control frame, or a part of a message."""
        opcode, final = first & 0x0F, first & _FINAL
        if first & 0x70:
            return self._protocol_error(1002, "a frame has reserved bits that were not negotiated")
        if opcode >= 8:
            if not final or len(payload) > 125:
                return self._protocol_error(1002, "a control frame is fragmented or longer than 125 bytes")
            return self._on_control(opcode, payload)
        if opcode not in (_CONTINUATION, _TEXT, _BINARY) or (opcode == _CONTINUATION) != bool(self._message_opcode):
            return self._protocol_error(1002, f"a frame with the opcode {opcode} is not allowed here")
        if opcode:
            self._message_opcode = opcode
        self._message_parts.append(payload)
        self._message_size += len(payload)
        if self._message_size > self.max_message_bytes:
            return self._protocol_error(1009, f"a message exceeds {self.max_message_bytes} bytes")
        if not final:
            return None
        opcode, message = self._message_opcode, b"".join(self._message_parts)
        self._message_opcode, self._message_size = 0, 0
        self._message_parts.clear()
        return self._on_text(message) if opcode == _TEXT else self._on_message(message, True)

    def _on_control(self, opcode, payload):
        if opcode == _PING:
            self._call(self.onPing, payload)
        elif opcode == _PONG:
            self._call(self.onPong, payload)
        elif opcode == _CLOSE:
            self._on_close_frame(payload)
        else:
            self._protocol_error(1002, f"the opcode {opcode} is not defined")

    def _on_close_frame(self, payload):
        code = int.from_bytes(payload[:2], "big") if payload else None
        if len(payload) == 1 or payload and not (code in _CLOSE_CODES or 3000 <= code < 5000):
            return self._protocol_error(1002, "a close frame has an invalid code")
        try:
            reason = payload[2:].decode() or None
        except UnicodeDecodeError:
            return self._protocol_error(1007, "the reason of a close frame is not UTF-8")
        self._close_received = code, reason
        if not self._close_sent:
            self._send_close_frame(1000, b"")
        self.state = self.STATE_CLOSING
        # The server closes the TCP connection first (RFC 6455, section 7.1.1).
        self._start_timer(self.close_timeout, None)
        return None

    def _protocol_error(self, code, reason):
        if self.state == self.STATE_OPEN:
            self._send_close_frame(code, b"")
        self._fail(f"{_DROPPED}: {reason}")

    # Sent frames.

    def _send_frame(self, opcode, payload):
        self._send_frames(opcode, [payload])

    def _send_frames(self, opcode, payloads):
        """Sends one frame per payload, with one system call."""
        self.transport.write(websocket_frames(opcode, payloads, os.urandom(4 * len(payloads))))

    def _send_control(self, opcode, payload):
        payload = payload or b""
        if len(payload) > 125:
            raise ValueError(f"the payload of a ping or pong is limited to 125 bytes, not {len(payload)}")
        if self.state == self.STATE_OPEN:
            self._send_frame(opcode, payload)

    def _send_close_frame(self, code, reason):
        payload = b"" if code is None else code.to_bytes(2, "big") + reason[:123]
        self._send_frame(_CLOSE, payload)
        self.state = self.STATE_CLOSING
        self._close_sent = True

    def _close_after_drain(self):
        """Limits the time until the end of the closing handshake, if all bytes are sent."""
        if self._writable and self._timer is None:
            self._start_timer(self.close_timeout, _CLOSE_TIMEOUT)

    # Ends and errors.

    def _fail(self, reason):
        """Ends the connection immediately."""
        if self._failure is None:
            self._failure = reason
        if self.transport is not None:
            if self._close_sent:
                self.transport.close()
                self._start_timer(self.close_timeout, None)
            else:
                self.transport.abort()

    def _start_timer(self, seconds, failure):
        """Ends the connection after some time; `failure` is the reason, unless it is a normal end."""
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, self._on_timer, failure)

    def _stop_timer(self):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self, failure):
        self._timer = None
        if failure is not None and self._failure is None:
            self._failure = failure
        self.transport.abort()

    def _call(self, callback, *arguments):
        """Calls a callback; returns whether it succeeded."""
        try:
            result = callback(*arguments)
        except Exception as error:
            self._on_callback_error(callback, error)
            return False
        if result is not None:
            self._run(callback, result)
        return True

    def _run(self, callback, result):
        """Runs the coroutine of a callback as a task."""
        if not (asyncio.iscoroutine(result) or asyncio.isfuture(result)):
            return
        task = asyncio.ensure_future(result, loop=self._loop)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._on_task_done(callback, done))

    def _on_task_done(self, callback, task):
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._on_callback_error(callback, task.exception())

    def _on_callback_error(self, callback, error):
        name = getattr(callback, "__name__", "callback")
        LOG.error("%s of the WebSocket protocol failed: %s", name, error, exc_info=error)
        if self.state != self.STATE_CLOSED:
            self._fail(f"{_DROPPED}: {error}")
