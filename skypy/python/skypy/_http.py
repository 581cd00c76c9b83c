"""HTTP/1.1 client on reused connections, with the error types of `urllib`.

Direct connections to the server are implemented here. Redirects, and proxies set in the environment, are
handled by `urllib.request`.
"""

import http.client
import io
import math
import os
import re
import select
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from email.message import Message

from ._skypy import SkydiveError

USER_AGENT = "Python-urllib/%s" % urllib.request.__version__
"""The same value as with `urllib`, because servers and proxies may have rules for this user agent."""

_MAX_HEAD_BYTES = 1 << 16
_MAX_LINE_BYTES = 1 << 12
_MAX_IDLE = 8
# A request that must not be repeated uses only a connection that the server can hardly be closing.
_FRESH_SECONDS = 2
_READ_BYTES = 1 << 18
_INVALID_IN_TARGET = re.compile("[\x00-\x20\x7f]")
_INVALID_IN_HEADER = re.compile("[\x00\r\n]")
_REDIRECTS = (301, 302, 303, 307, 308)


class ApiError(SkydiveError):
    """Raised if the server rejects a request. Its only argument is the body of the reply, as bytes."""

    status = 0
    """HTTP status."""
    reason = ""
    """Reason phrase of the HTTP status."""

    @property
    def body(self):
        """Body of the reply, as bytes."""
        return self.args[0] if self.args else b""

    @classmethod
    def of(cls, response):
        """Returns the exception for a response."""
        error = cls(response.body)
        error.status, error.reason = response.status, response.reason
        return error


class Response:
    """A complete response. Names of headers are in lower case."""

    __slots__ = ("status", "reason", "headers", "cookies", "body")

    def __init__(self, status, reason, headers, cookies, body):
        self.status = status
        self.reason = reason
        self.headers = headers
        self.cookies = cookies
        self.body = body

    def info(self):
        """Returns the headers in the form that `http.cookiejar` and `HTTPError` expect."""
        message = Message()
        for name, value in self.headers.items():
            if name != "set-cookie":
                message[name] = value
        for cookie in self.cookies:
            message["Set-Cookie"] = cookie
        return message

    def http_error(self, url):
        """Returns the response as the exception that `urllib` raises."""
        return urllib.error.HTTPError(url, self.status, self.reason, self.info(), io.BytesIO(self.body))


class HttpClient:
    """Pool of connections, for use by several threads. A process that forks does not share them."""

    def __init__(self):
        self._idle = {}
        self._process = os.getpid()

    def request(self, url, method, headers, body=None, *, jar=None, context=None, timeout=None,
                debug=0, repeatable=False):
        """Sends a request and returns the response with any status.

        `context` is the TLS context of an https URL. `timeout` is the limit of the whole exchange, in
        seconds. `repeatable` means that the request may be executed twice: the request is sent again
        if the server closed a reused connection at the same time.
        """
        scheme, _, rest = url.partition("://")
        host, slash, target = rest.partition("/")
        target = slash + target
        if _INVALID_IN_TARGET.search(target):
            raise http.client.InvalidURL(f"the path must not contain control characters or spaces: {target!r}")
        headers = dict(headers)
        if jar is not None and len(jar):
            _add_cookies(headers, jar, url)
        lines = [f"{method} {target or '/'} HTTP/1.1", f"Host: {host}", "Accept-Encoding: identity",
                 f"User-Agent: {USER_AGENT}"]
        for name, value in headers.items():
            if _INVALID_IN_HEADER.search(value):
                raise ValueError(f"the header {name} must not contain line breaks: {value!r}")
            lines.append(f"{name}: {value}")
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        message = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")
        deadline = None if timeout is None else time.monotonic() + timeout
        if debug:
            print("send:", message)

        key = (scheme, host, context)
        response = self._exchange(key, message, method, deadline, repeatable)
        if response is None or response.status in _REDIRECTS and "location" in response.headers:
            response = _urllib_request(url, method, headers, body, jar, context, timeout)
        elif jar is not None and response.cookies:
            jar.extract_cookies(response, urllib.request.Request(url))
        if debug:
            print("reply:", response.status, response.reason)
            for name, value in response.headers.items():
                print("header:", f"{name}: {value}")
        return response

    def close(self):
        """Closes the idle connections."""
        idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _exchange(self, key, message, method, deadline, repeatable):
        """Returns the response, or `None` if a proxy must be used."""
        connection = self._take(key, math.inf if repeatable else _FRESH_SECONDS)
        if connection is not None:
            try:
                return self._exchange_on(connection, key, message, method, deadline)
            except (ConnectionError, urllib.error.URLError):
                # The server closed the idle connection while the request was being sent.
                if connection.received or not repeatable:
                    raise
        scheme, host, context = key
        if _uses_proxy(scheme, host):
            return None
        connection = _Connection(scheme, host, context, deadline)
        return self._exchange_on(connection, key, message, method, deadline)

    def _exchange_on(self, connection, key, message, method, deadline):
        reusable = False
        try:
            connection.deadline = deadline
            connection.send(message)
            response, reusable = connection.receive(method)
        finally:
            if not reusable:
                connection.close()
        if reusable:
            self._put(key, connection)
        return response

    def _take(self, key, max_idle):
        """Returns a connection that the server did not close, idle for at most `max_idle` seconds, or `None`."""
        if self._process != os.getpid():
            self._idle, self._process = {}, os.getpid()
        idle = self._idle.get(key)
        while idle:
            try:
                connection = idle.pop()
            except IndexError:  # another thread was faster
                break
            if time.monotonic() - connection.used < max_idle and connection.is_idle():
                return connection
            connection.close()
        return None

    def _put(self, key, connection):
        connection.used = time.monotonic()
        idle = self._idle.setdefault(key, [])
        if len(idle) < _MAX_IDLE:
            idle.append(connection)
        else:
            connection.close()


class _Connection:
    """One connection to a server."""

    def __init__(self, scheme, host, context, deadline):
        self.deadline = deadline
        self.received = False
        self.used = 0.0
        self._buffer = b""
        parts = urllib.parse.urlsplit("//" + host)
        try:
            port = parts.port or (443 if scheme == "https" else 80)
        except ValueError as error:
            raise http.client.InvalidURL(f"nonnumeric port in {host!r}") from error
        try:
            self._socket = socket.create_connection((parts.hostname or "", port), self._remaining())
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if scheme == "https":
                self._socket = context.wrap_socket(self._socket, server_hostname=parts.hostname)
        except OSError as error:
            self.close()
            raise urllib.error.URLError(error) from error
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    _socket = None

    def close(self):
        if self._socket is not None:
            self._socket.close()

    def is_idle(self):
        """Returns whether nothing can be read: data, or the end, before a request makes the connection unusable."""
        return not self._buffer and not self._poll.poll(0)

    def send(self, message):
        self.received = False
        try:
            self._socket.settimeout(self._remaining())
            self._socket.sendall(message)
        except OSError as error:
            raise urllib.error.URLError(error) from error

    def receive(self, method):
        """Returns the response, and whether the connection can be used again."""
        while True:
            version, status, reason, headers, cookies = _parse_head(self._read_head())
            if status >= 200 or status == 101:
                break
        close = "close" in headers.get("connection", "").lower() or version == "HTTP/1.0"
        if method == "HEAD" or status in (204, 304):
            body = b""
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._read_chunked()
        elif "content-length" in headers:
            body = self._read_exactly(_decimal(headers["content-length"]))
        else:
            body, close = self._read_to_end(), True
        return Response(status, reason, headers, cookies, body), not close

    def _remaining(self):
        """Returns the seconds until the deadline, or `None`."""
        if self.deadline is None:
            return None
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise socket.timeout("timed out")
        return remaining

    def _receive_some(self):
        """Returns the next bytes; empty at the end."""
        if self.deadline is not None or self._socket.gettimeout() is not None:
            self._socket.settimeout(self._remaining())
        data = self._socket.recv(_READ_BYTES)
        self.received = self.received or bool(data)
        return data

    def _read_head(self):
        return self._read_until(b"\r\n\r\n", _MAX_HEAD_BYTES)

    def _read_until(self, mark, limit):
        """Returns the bytes before a delimiter."""
        buffer = self._buffer
        while (end := buffer.find(mark)) < 0:
            if len(buffer) > limit:
                raise http.client.HTTPException(f"a line or the headers of the reply exceed {limit} bytes")
            data = self._receive_some()
            if not data:
                if not self.received:
                    raise http.client.RemoteDisconnected("Remote end closed connection without response")
                raise http.client.IncompleteRead(buffer)
            buffer += data
        self._buffer = buffer[end + len(mark):]
        return buffer[:end]

    def _read_exactly(self, size):
        buffer = self._buffer
        if len(buffer) >= size:
            self._buffer = buffer[size:]
            return buffer[:size]
        pieces, missing = [buffer], size - len(buffer)
        self._buffer = b""
        while missing > 0:
            data = self._receive_some()
            if not data:
                raise http.client.IncompleteRead(b"".join(pieces), missing)
            pieces.append(data)
            missing -= len(data)
        body = b"".join(pieces)
        self._buffer = body[size:]
        return body[:size] if self._buffer else body

    def _read_chunked(self):
        pieces = []
        while size := _hexadecimal(self._read_until(b"\r\n", _MAX_LINE_BYTES).partition(b";")[0]):
            pieces.append(self._read_exactly(size))
            if self._read_exactly(2) != b"\r\n":
                raise http.client.HTTPException("a chunk of the reply has no line break at its end")
        trailer_lines = 0
        while self._read_until(b"\r\n", _MAX_LINE_BYTES):
            trailer_lines += 1
            if trailer_lines > 100:
                raise http.client.HTTPException("the reply has more than 100 trailer lines")
        return b"".join(pieces)

    def _read_to_end(self):
        pieces = [self._buffer]
        self._buffer = b""
        while data := self._receive_some():
            pieces.append(data)
        return b"".join(pieces)


def _parse_head(head):
    """Returns the version, status, reason, headers, and cookies of a response head."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1.") or not (status.isdecimal() and len(status) == 3):
        raise http.client.BadStatusLine(first[:200])
    headers, cookies = {}, []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise http.client.HTTPException(f"a header of the reply has no colon: {line[:200]!r}")
        name = name.lower()
        headers[name] = value.strip()
        if name == "set-cookie":
            cookies.append(value.strip())
    return version, int(status), reason, headers, cookies


def _decimal(text):
    if not text.isdecimal() or len(text) > 18:
        raise http.client.HTTPException(f"Content-Length of the reply is not a number: {text[:40]!r}")
    return int(text)


def _hexadecimal(digits):
    digits = digits.strip()
    if not re.fullmatch(b"[0-9A-Fa-f]{1,15}", digits):
        raise http.client.HTTPException(f"the size of a chunk is not a hexadecimal number: {digits[:40]!r}")
    return int(digits, 16)


def _add_cookies(headers, jar, url):
    """Adds the cookies of a jar to the header `Cookie`."""
    request = urllib.request.Request(url)
    jar.add_cookie_header(request)
    cookies = [text for text in (request.get_header("Cookie"), headers.get("Cookie")) if text]
    if cookies:
        headers["Cookie"] = "; ".join(cookies)


def _uses_proxy(scheme, host):
    return scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)


def _urllib_request(url, method, headers, body, jar, context, timeout):
    """Sends a request with `urllib`, which supports proxies and redirects."""
    handlers = [] if context is None else [urllib.request.HTTPSHandler(context=context)]
    if jar is not None:
        handlers.append(urllib.request.HTTPCookieProcessor(jar))
    request = urllib.request.Request(url, body, headers, method=method)
    options = {} if timeout is None else {"timeout": timeout}
    try:
        reply = urllib.request.build_opener(*handlers).open(request, **options)
    except urllib.error.HTTPError as error:
        reply = error
    with reply:
        all_headers = {name.lower(): value for name, value in reply.headers.items()}
        # The cookie processor has extracted the cookies.
        return Response(reply.status, reply.reason, all_headers, [], reply.read())
