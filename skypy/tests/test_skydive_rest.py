"""The REST client of the package `skydive`: requests, replies, errors, logins, TLS, hostile servers."""

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
from pathlib import Path

import pytest

from http_server import RawServer, RecordingProxy, Replies, reply
from original import needs_original, run_original, run_ours
from skydive.auth import Authenticate
from skydive.rest.client import BadRequest, RESTClient
from skypy import SkydiveError

sys.path.append(str(Path(__file__).resolve().parents[2] / "skyd/tests/python"))
from daemon import Daemon  # noqa: E402

# The calls of client_calls.py whose result is not that of the original, and the result of the original.
FIXES = {
    "alert_create": "expression and trigger are exchanged",
    "alert_create duration": "KeyError: an empty action is not in the reply",
    "alert_list": "KeyError: an empty action is not in the reply",
    "edge_update": "the revision of edges is always 0",
    "edge_list": "the revision of edges is always 0",
    "lookup_edges": "the revision of edges is always 0",
    "lookup_nodes of no values": "TypeError: the reply is null",
    "lookup empty": "AttributeError: the reply has no Content-Type",
}


@pytest.fixture
def serve():
    servers = []

    def started(handler, context=None):
        servers.append(RawServer(handler, context))
        return servers[-1]

    yield started
    for server in servers:
        server.stop()


@needs_original
def test_requests_and_results_are_those_of_the_original_except_for_the_fixes(tmp_path):
    results, requests = [], []
    for number, run in enumerate((run_original, run_ours)):
        (tmp_path / str(number)).mkdir()
        daemon = Daemon(tmp_path / str(number), "analyzer")
        proxy = RecordingProxy(daemon.endpoint)
        try:
            lines = run("client_calls.py", proxy.endpoint).splitlines()
        finally:
            proxy.stop()
            daemon.stop()
        results.append([json.loads(line) for line in lines])
        requests.append(proxy.requests())
        if run is run_ours:
            assert len(proxy.sent) == 1, "all requests share one connection"
    assert len(results[0]) == len(results[1]) > 50
    different = {ours[0] for old, ours in zip(*results) if old != ours}
    assert different == set(FIXES)
    compare_requests(*requests)


def compare_requests(old, ours):
    # Identifiers that the server assigned differ between the two runs.
    assert len(old) == len(ours)
    for before, after in zip(old, ours):
        assert before.method == after.method
        assert before.path == after.path or len(before.path) == len(after.path)
        assert (json.loads(before.body or "null")) == json.loads(after.body or "null")
        assert after.headers.pop("Cookie") == "extra=cookie", "which the original never sends"
        for headers in (before.headers, after.headers):
            headers.pop("Host")
            headers.pop("Connection", None)
            headers["User-Agent"] = headers["User-Agent"].rpartition("/")[0]
        assert before.headers == after.headers


@pytest.mark.parametrize("status", [304, 400, 401, 403, 404, 405, 409, 500, 503])
def test_other_statuses_than_success_are_bad_requests(serve, status):
    body = b"" if status == 304 else b"text of the error\n"
    server = serve(Replies(reply(status, body, "text/plain")))
    with pytest.raises(BadRequest) as refused:
        RESTClient(server.endpoint).lookup("G")
    assert refused.value.args == (body,)
    assert (refused.value.status, refused.value.reason) == (status, "Reason")
    assert isinstance(refused.value, SkydiveError)
    assert isinstance(refused.value.__cause__, urllib.error.HTTPError)
    assert refused.value.__cause__.code == status


def test_contents_of_replies(serve):
    server = serve(Replies(
        reply(200, {"a": 1}), reply(200, [1], "application/json; charset=UTF-8"), reply(200, b"x", "text/plain"),
        reply(200, b"x", "Application/JSON"), reply(204, b"", ""), reply(200, b"x", ""), reply(200, b"{}"),
        reply(204, b"", ""), reply(200, b"null"), reply(200, b"null")))
    client = RESTClient(server.endpoint)
    assert [client.request("/") for _ in range(6)] == [{"a": 1}, [1], b"x", b"x", None, b"x"]
    assert client.request("/api/x/1", "DELETE") == b"{}"
    assert client.lookup("") == []
    assert client.lookup_nodes("G.V().Values('x')") == []
    assert client.lookup("G.V().Values('x')") is None
    assert server.connections == 1


def test_deletes_return_the_body_except_for_edges_and_edge_rules(serve):
    client = RESTClient(serve(Replies(reply(200, b""))).endpoint)
    assert [client.capture_delete("i"), client.alert_delete("i"), client.noderule_delete("i"),
            client.node_delete("i"), client.injection_delete("i")] == [b""] * 5
    assert [client.edgerule_delete("i"), client.edge_delete("i")] == [None] * 2


def test_arguments_are_checked_as_by_the_original(serve):
    client = RESTClient(serve(Replies(reply())).endpoint)
    with pytest.raises(AttributeError):
        client.request("/", "POST", b"bytes")
    with pytest.raises(http.client.InvalidURL):
        client.request("/api/capture/a b\r\nX: y")
    with pytest.raises(TypeError):
        client.injection_delete(1)
    client.cookies = {"a": "b\r\nX: y"}
    with pytest.raises(ValueError, match="line breaks"):
        client.request("/")


def test_increments_are_sent_under_the_name_that_the_server_knows(serve):
    replies = Replies(reply(201, {"UUID": "u"}))
    client = RESTClient(serve(replies).endpoint)
    client.injection_create(increment=True)
    client.injection_create(increment=4)
    bodies = [json.loads(request.body) for request in replies.requests]
    assert ["IncrementPayload" in body for body in bodies] == [False, True]
    assert (bodies[1]["Increment"], bodies[1]["IncrementPayload"]) == (4, 4)


def test_subclasses_may_replace_request(serve):
    class Mine(RESTClient):
        def request(self, path, method="GET", data=None):
            return {"x": {"UUID": path, "GremlinQuery": method}}

    assert [c.uuid for c in Mine("nowhere").capture_list()] == ["/api/capture"]


def test_refused_connections_and_unknown_hosts_are_url_errors():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(urllib.error.URLError) as refused:
        RESTClient(f"127.0.0.1:{port}").lookup("G")
    assert isinstance(refused.value.reason, ConnectionRefusedError)
    with pytest.raises(urllib.error.URLError):
        RESTClient("no.such.host.invalid:80").lookup("G")
    with pytest.raises(http.client.InvalidURL):
        RESTClient("localhost:port").lookup("G")


# Servers that reply with something else than HTTP, or with too little or too much.
HOSTILE = {
    "closes": (lambda c: None, http.client.RemoteDisconnected),
    "garbage": (lambda c: c.sendall(b"\x00garbage\r\n\r\n"), http.client.BadStatusLine),
    "no status": (lambda c: c.sendall(b"HTTP/1.1 abc OK\r\n\r\n"), http.client.BadStatusLine),
    "half a head": (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-"), http.client.IncompleteRead),
    "half a body": (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), http.client.IncompleteRead),
    "no colon": (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nnothing\r\n\r\n"), http.client.HTTPException),
    "length": (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), http.client.HTTPException),
    "chunk size": (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
                   http.client.HTTPException),
    "half a chunk": (lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nx"),
                     http.client.IncompleteRead),
    "endless head": (lambda c: [c.sendall(b"X-Filler: " + b"x" * 5000) for _ in range(100)],
                     http.client.HTTPException),
    "not JSON": (lambda c: c.sendall(reply(200, b"{broken")), ValueError),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_servers_cause_exceptions(serve, kind):
    send, error = HOSTILE[kind]

    def handler(connection, number):
        connection.recv(1 << 16)
        send(connection)

    with pytest.raises(error):
        RESTClient(serve(handler).endpoint, timeout=10).lookup("G")


def test_time_limits_include_slow_replies(serve):
    def drips(connection, number):
        connection.recv(1 << 16)
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)

    for handler in (lambda connection, number: time.sleep(5), drips):
        began = time.monotonic()
        with pytest.raises(socket.timeout):
            RESTClient(serve(handler).endpoint, timeout=0.3).lookup("G")
        assert time.monotonic() - began < 3
    client = RESTClient(serve(drips).endpoint)
    with pytest.raises(socket.timeout):
        client.request("/", timeout=0.2)


def test_ctrl_c_interrupts_a_call(serve):
    server = serve(lambda connection, number: time.sleep(20))
    script = f"from skydive.rest.client import RESTClient\nRESTClient({server.endpoint!r}).lookup('G')"
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    while not server.connections:
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(2)
    _, text = process.communicate(timeout=5)
    assert b"KeyboardInterrupt" in text


def test_a_connection_that_the_server_closed_is_replaced(serve):
    def closes_after_one(connection, number):
        connection.recv(1 << 16)
        connection.sendall(reply(200, {"number": number}))

    client = RESTClient(serve(closes_after_one).endpoint)
    for number in range(3):
        assert client.request("/") == {"number": number}
        time.sleep(0.05)


def test_chunked_replies_and_replies_without_length(serve):
    chunked = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
               b"3;x=y\r\n[1,\r\nA\r\n2, 3, 4, 5\r\n1\r\n]\r\n0\r\nTrailer: x\r\n\r\n")
    client = RESTClient(serve(Replies(b"HTTP/1.1 100 Continue\r\n\r\n" + chunked, chunked)).endpoint)
    assert [client.request("/"), client.request("/")] == [[1, 2, 3, 4, 5]] * 2

    def no_length(connection, number):
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n[" + b"1," * 100000 + b"1]")

    assert len(RESTClient(serve(no_length).endpoint).request("/")) == 100001


def test_redirects_are_followed(serve):
    target = serve(Replies(reply(200, ["target"])))
    moved = reply(302, b"", "", f"Location: http://{target.endpoint}/there")
    replies = Replies(moved)
    assert RESTClient(serve(replies).endpoint).request("/here") == ["target"]


def test_proxies_of_the_environment_are_used(serve, monkeypatch):
    replies = Replies(reply(200, ["proxy"]))
    monkeypatch.setenv("http_proxy", f"http://{serve(replies).endpoint}")
    monkeypatch.setenv("no_proxy", "")
    assert RESTClient("skyd.invalid:8082").request("/api") == ["proxy"]
    assert replies.requests[0].path == "http://skyd.invalid:8082/api"


def test_endpoints_may_have_a_prefix(serve):
    replies = Replies(reply(200, []))
    RESTClient(serve(replies).endpoint + "/prefix").lookup("G")
    assert replies.requests[0].path == "/prefix/api/topology"


def test_several_threads_share_a_client(serve):
    client = RESTClient(serve(lambda c, n: Replies(lambda r: reply(200, json.loads(r.body)))(c, n)).endpoint)
    wrong = []

    def work(thread):
        for number in range(50):
            query = f"{thread}-{number}"
            if client.lookup(query)["GremlinQuery"] != query:
                wrong.append(query)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_debug_prints_requests_and_replies(serve, capsys):
    RESTClient(serve(Replies(reply(200, {}))).endpoint, debug=1).request("/api/status")
    printed = capsys.readouterr().out
    assert "GET /api/status" in printed and "reply: 200" in printed


# Logins.

LOGIN = reply(200, {"Token": "t"}, "application/json", "Set-Cookie: authtoken=secret; Path=/")


def test_a_login_sends_a_form_and_later_requests_send_the_token(serve):
    replies = Replies(LOGIN, reply(200, []))
    client = RESTClient(serve(replies).endpoint, username="ann", password="o&e", cookies={"a": "b"})
    client.lookup("G")
    client.lookup("G")
    assert [request.path for request in replies.requests] == ["/login", "/api/topology", "/api/topology"]
    login, first, _ = replies.requests
    assert login.body == b"username=ann&password=o%26e"
    assert login.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Accept" not in login.headers
    assert login.headers["Cookie"] == "a=b"
    assert first.headers["Cookie"] == "authtoken=secret; a=b"
    assert (client.auth.token, client.auth.authenticated) == ("secret", True)
    client.auth.logout()
    assert (client.auth.token, client.auth.authenticated, len(client.auth.cookie_jar)) == ("", False, 1)


def test_wrong_passwords_are_http_errors(serve):
    auth = Authenticate(serve(Replies(reply(401, b"Wrong credentials", "text/plain"))).endpoint, "http", "a", "b")
    with pytest.raises(urllib.error.HTTPError) as refused:
        auth.login()
    assert (refused.value.code, refused.value.read()) == (401, b"Wrong credentials")


def test_a_server_without_authentication_gets_one_login(serve):
    replies = Replies(reply(200, {"Token": ""}), reply(200, []))
    client = RESTClient(serve(replies).endpoint, username="ann", password="one")
    for _ in range(3):
        client.lookup("G")
    assert [request.path for request in replies.requests].count("/login") == 1
    assert not client.auth.authenticated


def test_an_expired_token_causes_one_error_and_then_a_login(serve):
    replies = Replies(LOGIN, reply(401, b"Wrong credentials", "text/plain"), LOGIN, reply(200, ["x"]))
    client = RESTClient(serve(replies).endpoint, username="ann", password="one")
    with pytest.raises(BadRequest):
        client.lookup("G")
    assert client.lookup("G") == ["x"]


@pytest.fixture
def certificate(tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("SKIPPED: creating a certificate requires openssl")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def test_tls_with_a_password_which_the_original_cannot_do(tmp_path, certificate):
    cert, key = certificate
    daemon = Daemon(tmp_path, "analyzer", (
        "analyzer.auth.api.backend=basic", "auth.basic.users={ann: one}", f"tls.server_cert={cert}",
        f"tls.server_key={key}"))
    try:
        client = RESTClient(daemon.endpoint, "https", "ann", "one", cafile=str(cert))
        node = client.node_create("n", "h", {"Name": "n", "Type": "rack"})
        assert [found.id for found in client.lookup_nodes("G.V()")] == [node.id]
        assert run_ours("client_calls.py", daemon.endpoint, "https", "ann", "one", cert).count("\n") > 50
        insecure = RESTClient(daemon.endpoint, "https", "ann", "one", insecure=True)
        assert insecure.lookup("G.V().Count()") >= 1
        with pytest.raises(urllib.error.URLError) as refused:
            RESTClient(daemon.endpoint, "https", "ann", "one").lookup("G")
        assert isinstance(refused.value.reason, ssl.SSLCertVerificationError)
        with pytest.raises(urllib.error.HTTPError) as wrong:
            RESTClient(daemon.endpoint, "https", "ann", "two", insecure=True).lookup("G")
        assert wrong.value.code == 401
    finally:
        daemon.stop()


def test_a_forked_process_opens_its_own_connection(serve):
    server = serve(lambda c, n: Replies(reply(200, {"connection": n}))(c, n))
    client = RESTClient(server.endpoint)
    assert client.request("/") == {"connection": 0}
    child = os.fork()
    if child == 0:
        os._exit(client.request("/")["connection"])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert client.request("/") == {"connection": 0}
