"""Clients of a server: `Client` for programs without asyncio, `AsyncClient` for programs with asyncio.

Both send Gremlin queries, and subscribe to the changes of the graph and to the flows of captures. `request`
sends requests to all other routes of the REST interface. Results are the parsed JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
import uuid
from collections import deque
from typing import Any, AsyncGenerator, AsyncIterator, Iterator, Optional, Union
from urllib.parse import urlsplit

from . import __version__
from ._http import ApiError
from ._traversal import Traversal
from ._websocket import WebSocketClientFactory, WebSocketClientProtocol

__all__ = ["ApiError", "AsyncClient", "Client", "StreamError"]

Query = Union[str, Traversal]

_GRAPH, _FLOWS = "/ws/subscriber", "/ws/subscriber/flow"
_PAUSE_MESSAGES, _RESUME_MESSAGES = 1000, 100


class StreamError(ApiError):
    """Raised if the connection of a subscription fails or ends. `status` is 0."""


class Client:
    """Client of one server, for example `Client("http://localhost:8082")`. Several threads can share it.

    `timeout` is the limit of each request in seconds. `cafile` adds a certificate authority; `insecure` skips
    the verification of certificates.

    A request that the server rejects raises `ApiError`. A server that cannot be reached or does not answer in time
    raises `OSError` (`urllib.error.URLError`, `socket.timeout`), a reply that is not HTTP `http.client.HTTPException`,
    and a reply that is not JSON `ValueError`.
    """

    def __init__(self, url: str = "http://127.0.0.1:8082", *, username: str = "", password: str = "",
                 timeout: Optional[float] = 30, insecure: bool = False, cafile: str = "",
                 certfile: str = "", keyfile: str = "") -> None:
        from skydive.rest.client import RESTClient

        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the URL must begin with http:// or https:// and a host: {url!r}")
        self._rest: Any = RESTClient(
            parts.netloc + parts.path.rstrip("/"), parts.scheme, username, password, insecure=insecure,
            cafile=cafile, certfile=certfile, keyfile=keyfile, timeout=timeout)

    def query(self, gremlin: Query) -> Any:
        """Returns the result of a Gremlin query. Raises `ApiError` if the server rejects it."""
        return self._rest.lookup(str(gremlin))

    def explain(self, gremlin: Query) -> Any:
        """Returns how the server runs a query, step by step."""
        return self.request("/api/topology", "POST", {"GremlinQuery": str(gremlin), "Explain": True})

    def nodes(self, gremlin: Query = "G.V()") -> list[dict[str, Any]]:
        """Returns the nodes that a query returns."""
        return self._rest.lookup(str(gremlin)) or []

    def edges(self, gremlin: Query = "G.E()") -> list[dict[str, Any]]:
        """Returns the edges that a query returns."""
        return self._rest.lookup(str(gremlin)) or []

    def flows(self, gremlin: Query = "G.Flows()") -> list[dict[str, Any]]:
        """Returns the flows that a query returns."""
        return self._rest.lookup(str(gremlin)) or []

    def request(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Sends a request to any route, with a body that is written as JSON."""
        return self._rest.request(path, method, None if body is None else json.dumps(body))

    def subscribe(self, gremlin: Query = "", *, sync: bool = True) -> Iterator[dict[str, Any]]:
        """Yields the messages of the graph as they arrive: dicts with `Type` (such as "NodeAdded") and `Obj`.

        `gremlin` selects a part of the graph, for example `G.V().Has('Type', 'bridge').SubGraph()`. With `sync`,
        the first message is the current graph. Must not be used in a running event loop.
        """
        return self._iterate(_GRAPH, str(gremlin), sync)

    def follow_flows(self) -> Iterator[dict[str, Any]]:
        """Yields the flows of all captures as they are updated."""
        for message in self._iterate(_FLOWS, "", False):
            yield from _flows(message)

    def close(self) -> None:
        """Closes the idle connections."""
        self._rest.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _iterate(self, path: str, gremlin: str, sync: bool) -> Iterator[dict[str, Any]]:
        loop = asyncio.new_event_loop()
        messages = _messages(self._rest, path, gremlin, sync)
        try:
            while True:
                yield _wait(loop, messages)
        finally:
            loop.run_until_complete(messages.aclose())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


class AsyncClient:
    """Client of one server for asyncio, with the arguments of `Client`. Requests run in threads.

    A request that is canceled, for example by Ctrl-C, ends at once; its thread ends at its time limit.
    """

    def __init__(self, url: str = "http://127.0.0.1:8082", **options: Any) -> None:
        self._client = Client(url, **options)

    async def query(self, gremlin: Query) -> Any:
        """Returns the result of a Gremlin query. Raises `ApiError` if the server rejects it."""
        return await _in_thread(self._client.query, gremlin)

    async def explain(self, gremlin: Query) -> Any:
        """Returns how the server runs a query, step by step."""
        return await _in_thread(self._client.explain, gremlin)

    async def request(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Sends a request to any route, with a body that is written as JSON."""
        return await _in_thread(self._client.request, path, method, body)

    def subscribe(self, gremlin: Query = "", *, sync: bool = True) -> AsyncIterator[dict[str, Any]]:
        """Yields the messages of the graph as they arrive, as `Client.subscribe` does."""
        return _messages(self._client._rest, _GRAPH, str(gremlin), sync)

    async def follow_flows(self) -> AsyncIterator[dict[str, Any]]:
        """Yields the flows of all captures as they are updated."""
        async for message in _messages(self._client._rest, _FLOWS, "", False):
            for flow in _flows(message):
                yield flow

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._client.close()


def _wait(loop: asyncio.AbstractEventLoop, messages: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    """Returns the next message. After Ctrl-C, the iterator can be closed."""
    task = asyncio.ensure_future(messages.__anext__(), loop=loop)
    try:
        return loop.run_until_complete(task)
    except BaseException:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            loop.run_until_complete(task)
        raise


def _flows(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the flows of a message; messages of other types have none."""
    return message.get("Obj") or [] if message.get("Type") == "store" else []


async def _in_thread(function: Any, *arguments: Any) -> Any:
    """Calls a function in a thread of its own, for which neither a canceled task nor the end of the program waits."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def finish(result: Any, error: Optional[BaseException]) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def work() -> None:
        result, error = None, None
        try:
            result = function(*arguments)
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(finish, result, error)

    threading.Thread(target=work, name="skypy request", daemon=True).start()
    return await future


class _Subscription(WebSocketClientProtocol):
    """Connection that queues messages, and stops reading while the queue is full."""

    def __init__(self) -> None:
        self.messages: deque[dict[str, Any]] = deque()
        self.changed = asyncio.Event()
        self.failure: Optional[str] = None
        self._paused = False

    def onOpen(self) -> None:
        if self.factory.request is not None:
            self.sendMessage(json.dumps(self.factory.request).encode())

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        try:
            message = json.loads(payload)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self.failure = "the server sent a message that is not a JSON object"
            self.transport.abort()
            self.changed.set()
            return
        self.messages.append(message)
        self.changed.set()
        if len(self.messages) >= _PAUSE_MESSAGES and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def onClose(self, wasClean: bool, code: Optional[int], reason: Optional[str]) -> None:
        self.failure = self.failure or reason or f"the server closed the connection with the code {code}"
        self.changed.set()

    async def next(self) -> dict[str, Any]:
        """Returns the next message."""
        while not self.messages:
            if self.failure is not None:
                raise StreamError(self.failure)
            self.changed.clear()
            await self.changed.wait()
        if self._paused and len(self.messages) <= _RESUME_MESSAGES:
            self._paused = False
            self.transport.resume_reading()
        return self.messages.popleft()


async def _messages(rest: Any, path: str, gremlin: str, sync: bool) -> AsyncGenerator[dict[str, Any], None]:
    """Yields the messages of a WebSocket endpoint."""
    loop = asyncio.get_running_loop()
    await _in_thread(rest.auth.login_if_needed)
    headers = {
        "X-Host-ID": f"skypy-{uuid.uuid4().hex[:12]}",
        "X-Client-Type": "skypy",
        "X-Client-Protocol": "json",
    }
    if gremlin:
        headers["X-Gremlin-Filter"] = gremlin
    if rest.auth.token:
        headers["Cookie"] = f"authtoken={rest.auth.token}"
    secure = rest.scheme == "https"
    url = f"{'wss' if secure else 'ws'}://{rest.endpoint}{path}"
    factory: Any = WebSocketClientFactory(url, headers, f"skypy/{__version__}", loop)
    factory.protocol = _Subscription
    factory.request = None
    if sync:
        factory.request = {
            "UUID": uuid.uuid4().hex, "Namespace": "Graph", "Type": "SyncRequest",
            "Obj": {"GremlinFilter": gremlin}, "Status": 200}
    parts = urlsplit(url)
    context: Optional[ssl.SSLContext] = rest._tls() if secure else None
    connecting = loop.create_connection(
        factory, parts.hostname, parts.port or (443 if secure else 80), ssl=context)
    try:
        transport, protocol = await asyncio.wait_for(connecting, rest.timeout)
    except asyncio.TimeoutError:
        raise socket.timeout("timed out") from None
    try:
        while True:
            yield await protocol.next()
    finally:
        transport.abort()
