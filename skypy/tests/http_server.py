"""HTTP server for tests: sends prepared bytes, and records the requests. Also a recording proxy."""

import json
import socket
import threading


class RawServer:
    """Server in a thread. `serve(connection, number)` runs for each connection, counted from 0."""

    def __init__(self, serve, context=None):
        self._serve = serve
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.endpoint = f"127.0.0.1:{self.port}"
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self._socket.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            number = self.connections
            self.connections += 1
            threading.Thread(target=self._run, args=(connection, number), daemon=True).start()

    def _run(self, connection, number):
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            self._serve(connection, number)
        except OSError:
            pass
        finally:
            connection.close()


class Request:
    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers, self.body = method, path, headers, body


def read_request(stream):
    """Returns the next request of a stream, or `None` at its end."""
    first = stream.readline()
    if not first.strip():
        return None
    method, path, _ = first.decode().split(" ", 2)
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode().partition(":")
        headers[name.strip().title()] = value.strip()
    body = stream.read(int(headers.get("Content-Length", 0)))
    return Request(method, path, headers, body)


class Replies:
    """Sends the replies one after the other; the last is repeated. A reply is bytes, or a function of the
    request that returns bytes; empty bytes close the connection."""

    def __init__(self, *replies):
        self.replies, self.requests = list(replies), []

    def __call__(self, connection, number):
        stream = connection.makefile("rb")
        while request := read_request(stream):
            reply = self.replies[min(len(self.requests), len(self.replies) - 1)]
            self.requests.append(request)
            data = reply(request) if callable(reply) else reply
            if not data:
                return
            connection.sendall(data)


def reply(status=200, body=b"", content_type="application/json", *headers):
    """Returns a reply with a length."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(body)}", *headers]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class RecordingProxy:
    """Forwards connections to a server, and records what clients send."""

    def __init__(self, endpoint):
        host, port = endpoint.split(":")
        self._target = (host, int(port))
        self.sent = {}
        self._server = RawServer(self._serve)
        self.endpoint = self._server.endpoint

    def stop(self):
        self._server.stop()

    def requests(self):
        """Returns the requests of all connections, in the order of the connections."""
        import io

        found = []
        for number in sorted(self.sent):
            stream = io.BytesIO(bytes(self.sent[number]))
            while request := read_request(stream):
                found.append(request)
        return found

    def _serve(self, client, number):
        self.sent[number] = bytearray()
        server = socket.create_connection(self._target)
        answers = threading.Thread(target=self._copy, args=(server, client, None), daemon=True)
        answers.start()
        self._copy(client, server, self.sent[number])
        answers.join()
        server.close()

    @staticmethod
    def _copy(source, target, record):
        try:
            while data := source.recv(1 << 16):
                if record is not None:
                    record += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass
