"""Client of the WebSocket interfaces: publishers, and subscribers of the graph and of flows."""

import asyncio
import functools
import http.client as httplib
import json
import logging
import uuid
import warnings
from urllib.parse import urlparse

from skydive.auth import Authenticate
from skydive.encoder import JSONEncoder
from skydive.tls import create_ssl_context
from skypy import __version__
from skypy._websocket import LOG, WebSocketClientFactory, WebSocketClientProtocol

__all__ = [
    "Authenticate", "EdgeAddedMsgType", "EdgeDeletedMsgType", "EdgeUpdatedMsgType", "JSONEncoder", "LOG",
    "NodeAddedMsgType", "NodeDeletedMsgType", "NodeUpdatedMsgType", "OriginGraphDeletedMsgType",
    "SyncReplyMsgType", "SyncRequestMsg", "SyncRequestMsgType", "WSClient", "WSClientDebugProtocol",
    "WSClientDefaultProtocol", "WSMessage", "WebSocketClientFactory", "WebSocketClientProtocol",
    "asyncio", "create_ssl_context", "functools", "httplib", "json", "logging", "urlparse", "uuid",
    "warnings",
]

SyncRequestMsgType = "SyncRequest"
SyncReplyMsgType = "SyncReply"
OriginGraphDeletedMsgType = "OriginGraphDeleted"
NodeUpdatedMsgType = "NodeUpdated"
NodeDeletedMsgType = "NodeDeleted"
NodeAddedMsgType = "NodeAdded"
EdgeUpdatedMsgType = "EdgeUpdated"
EdgeDeletedMsgType = "EdgeDeleted"
EdgeAddedMsgType = "EdgeAdded"

_ENCODER = JSONEncoder()
# `JSONEncoder.encode` creates this function of the `json` module for each message, which takes a third of its time.
# Without the detection of circular references, it has no state. It is missing in other interpreters than CPython.
_WRITE = json.encoder.c_make_encoder and json.encoder.c_make_encoder(
    None, _ENCODER.default, json.encoder.encode_basestring_ascii, None, ": ", ", ", False, False, True)
_FIRST_RECONNECT_SECONDS = 1
_LAST_RECONNECT_SECONDS = 30
_CLOSE_LIMIT_SECONDS = 60


class WSMessage:
    """A message: namespace, type, and object. `uuid` identifies the message and its reply."""

    def __init__(self, ns, type, obj):
        self.uuid = uuid.uuid4().hex
        self.ns = ns
        self.type = type
        self.obj = obj
        self.status = httplib.OK

    def repr_json(self):
        """Returns the message as a dict that the `json` module can write."""
        return {"UUID": self.uuid, "Namespace": self.ns, "Type": self.type, "Obj": self.obj,
                "Status": self.status}

    def to_json(self):
        """Returns the message as JSON text."""
        return _to_json(self)


class SyncRequestMsg:
    """Object of a message that requests the graph, or the part that a Gremlin query selects."""

    def __init__(self, filter):
        self.filter = filter

    def repr_json(self):
        """Returns the object as a dict that the `json` module can write."""
        return {"GremlinFilter": self.filter}

    def to_json(self):
        """Returns the object as JSON text."""
        return _to_json(self)


def _to_json(message):
    value = message.repr_json()
    if _WRITE is not None and isinstance(value, dict):
        try:
            return "".join(_WRITE(value, 0))
        except RecursionError:
            pass
    return _ENCODER.encode(value)


class WSClientDefaultProtocol(WebSocketClientProtocol):
    """Protocol without output. `self.factory.client` is the client, `self.factory.kwargs` its keyword arguments."""

    _queue = None

    def sendWSMessage(self, msg):
        """Queues a message, which is sent after the earlier messages."""
        payload = msg.to_json().encode()
        if not self._queue:
            self._queue = []
            self.factory.loop.call_soon(self._send_queue)
        self._queue.append(payload)

    def debug_send(self, func, arg):
        """Logs a call of a function with one argument, and calls it."""
        LOG.debug("%s: %s", func.__name__, arg)
        return func(arg)

    def sendClose(self, code=None, reason=None):
        """Starts the closing handshake after the earlier messages have been sent."""
        self._send_queue()
        super().sendClose(code, reason)

    def stop(self):
        """Stops the event loop, so that `WSClient.start` returns."""
        self.factory.loop.stop()

    def stop_when_complete(self):
        """Sends all queued messages, closes the connection, and stops the event loop."""
        self.factory.loop.call_soon(self._close_and_stop)

    def _send_queue(self):
        queue, self._queue = self._queue, None
        if not queue:
            return
        if type(self).sendMessage is WebSocketClientProtocol.sendMessage:
            self.send_texts(queue)
            return
        for payload in queue:
            self.sendMessage(payload)

    def _close_and_stop(self):
        if self.state != self.STATE_OPEN:
            self.stop()
            return
        self.factory.stop_when_lost = True
        self.sendClose(1000)
        # A server that does not read must not prevent the end.
        self.factory.loop.call_later(_CLOSE_LIMIT_SECONDS, self.transport.abort)


class WSClientDebugProtocol(WSClientDefaultProtocol):
    """Protocol that logs all events, and requests the graph if the client has `sync` set."""

    def onConnect(self, response):
        """Logs the address of the server."""
        LOG.debug("connected to %s", response.peer)

    def onOpen(self):
        """Requests the graph if the client has `sync` set."""
        LOG.debug("WebSocket connection open")
        client = self.factory.client
        if client.sync:
            self.sendWSMessage(WSMessage("Graph", SyncRequestMsgType, SyncRequestMsg(client.filter)))

    def onMessage(self, payload, isBinary):
        """Logs the message."""
        if isBinary:
            LOG.debug("binary message received: %d bytes", len(payload))
        else:
            LOG.debug("text message received: %s", payload.decode())

    def onClose(self, wasClean, code, reason):
        """Logs the reason."""
        LOG.debug("WebSocket connection closed: %s", reason)

    def sendWSMessage(self, msg):
        """Logs and sends a message."""
        LOG.debug("sending message: %s", msg.to_json())
        super().sendWSMessage(msg)


class _Factory(WebSocketClientFactory):
    """Factory of the client's protocol."""

    stop_when_lost = False

    def __init__(self, client, headers):
        super().__init__(client.endpoint, headers, useragent=f"skypy/{__version__}", loop=client.loop)
        self.client = client
        self.protocol = client.protocol
        self.kwargs = client.kwargs

    def connection_lost(self, protocol):
        """Stops the event loop or connects again, if that was requested."""
        if self.stop_when_lost:
            self.loop.stop()
        elif self.client.reconnect and not protocol.closed_by_client:
            self.client._reconnect_later(protocol.opened)


class WSClient:
    """Client of one WebSocket endpoint, for example `ws://localhost:8082/ws/subscriber`.

    `persistent` means that the server retains published nodes and edges after the connection ends. Other
    keyword arguments are available to the protocol as `self.factory.kwargs`. With `reconnect=True`, a lost
    connection is opened again, after 1 to 30 seconds.
    """

    def __init__(self, host_id, endpoint, protocol=WSClientDefaultProtocol, username="", password="",
                 cookie=None, sync="", filter="", persistent=True, insecure=False,
                 type="skydive-python-client", cafile="", certfile="", keyfile="", **kwargs):
        self.host_id = host_id
        self.endpoint = endpoint
        self.protocol = protocol
        self.username = username
        self.password = password
        self.cookies = _cookie_list(cookie)
        self.type = type
        self.filter = filter
        self.persistent = persistent
        self.sync = sync
        self.insecure = insecure
        self.kwargs = kwargs
        self.reconnect = kwargs.get("reconnect", False)
        self.url = urlparse(endpoint)
        secure = self.url.scheme == "wss"
        self.ssl_context = create_ssl_context(insecure, cafile, certfile, keyfile) if secure else None
        self.auth = Authenticate(
            f"{_bracketed(self.url.hostname)}:{self._port()}", "https" if secure else "http", username, password,
            insecure=insecure, cafile=cafile, certfile=certfile, keyfile=keyfile)
        self.loop = _current_loop()
        self._delay = _FIRST_RECONNECT_SECONDS

    def connect(self):
        """Logs in if there is a user name, and opens the TCP or TLS connection.

        The WebSocket handshake follows in `start`; if the server rejects it, `onClose` is called.
        """
        if self.loop.is_running():
            raise RuntimeError("connect blocks, but the event loop is running: await connect_async instead")
        self._log_in()
        transport = self.loop.run_until_complete(self._open(paused=True))
        self.loop.call_soon(transport.resume_reading)

    async def connect_async(self):
        """Does the same as `connect`, inside a running event loop. The callbacks run in that loop."""
        self.loop = asyncio.get_running_loop()
        await self.loop.run_in_executor(None, self._log_in)
        await self._open()

    def start(self, *, timeout=None):
        """Runs the event loop with all callbacks until `stop` or Ctrl-C, at most `timeout` seconds."""
        timer = None if timeout is None else self.loop.call_later(timeout, self.loop.stop)
        try:
            self.loop.run_forever()
        except KeyboardInterrupt:
            self.loop.close()
        finally:
            if timer is not None:
                timer.cancel()

    def stop(self):
        """Stops the event loop. Must be called in the thread of the loop."""
        self.loop.stop()

    def login(self, host_spec="", username="", password=""):
        """Logs in, and returns whether that succeeded. Deprecated: `connect` logs in."""
        warnings.warn("WSClient.login is deprecated; pass the user name and the password to WSClient",
                      DeprecationWarning, stacklevel=2)
        auth = self.auth
        if host_spec:
            auth = Authenticate(host_spec, auth.scheme, username, password, insecure=auth.insecure,
                                cafile=auth.cafile, certfile=auth.certfile, keyfile=auth.keyfile)
        try:
            auth.login()
        except Exception as error:
            LOG.debug("login failed: %s", error)
            return False
        self._set_token(auth.token)
        return True

    def _port(self):
        return self.url.port or (443 if self.url.scheme == "wss" else 80)

    def _log_in(self):
        if self.username and self.auth.login():
            self._set_token(self.auth.token)

    def _set_token(self, token):
        self.cookies.append(f"authtoken={token}")

    def _headers(self):
        headers = {
            "X-Host-ID": self.host_id,
            "X-Client-Type": self.type,
            "X-Client-Protocol": "json",
            "X-Persistence-Policy": "Persistent" if self.persistent else "DeleteOnDisconnect",
        }
        if self.filter:
            headers["X-Gremlin-Filter"] = self.filter
        if self.cookies:
            headers["Cookie"] = ";".join(self.cookies)
        return headers

    async def _open(self, paused=False):
        """Opens the connection. If it is paused, all callbacks with replies wait for the next run of the loop."""
        factory = _Factory(self, self._headers())
        transport, _ = await self.loop.create_connection(
            factory, self.url.hostname, self._port(), ssl=self.ssl_context)
        if paused:
            transport.pause_reading()
        return transport

    def _reconnect_later(self, opened=False):
        if opened:
            self._delay = _FIRST_RECONNECT_SECONDS
        delay, self._delay = self._delay, min(2 * self._delay, _LAST_RECONNECT_SECONDS)
        LOG.info("the connection was lost; connecting again in %d s", delay)
        self.loop.call_later(delay, lambda: self._track(self.loop.create_task(self._reopen())))

    def _track(self, task):
        # The loop itself holds only weak references to tasks.
        self._task = task

    async def _reopen(self):
        try:
            if self.username:
                self.cookies[:] = [text for text in self.cookies if not text.startswith("authtoken=")]
                await self.loop.run_in_executor(None, self._log_in)
            await self._open()
        except Exception as error:
            LOG.info("connecting failed: %s", error)
            self._reconnect_later()


def _cookie_list(cookie):
    if cookie is None:
        return []
    if isinstance(cookie, list):
        return cookie
    if isinstance(cookie, dict):
        return [f"{name}={value}" for name, value in cookie.items()]
    return [cookie]


def _bracketed(host):
    """Returns a host name as in a URL."""
    return f"[{host}]" if host and ":" in host else host


def _current_loop():
    """Returns the event loop of this thread, and creates it if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return asyncio.get_event_loop()
    except RuntimeError:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        return loop
