"""Tests of the unmodified Python client of Skydive with passwords and over TLS."""

import shutil
import subprocess
import urllib.error

import pytest
from daemon import Daemon

rest = pytest.importorskip("skydive.rest.client")
websocket = pytest.importorskip("skydive.websocket.client")

BASIC = ("analyzer.auth.api.backend=basic", "auth.basic.users={ann: one}")


@pytest.fixture
def start(tmp_path):
    daemons = []

    def started(*settings):
        daemons.append(Daemon(tmp_path, "analyzer", settings))
        return daemons[-1]

    yield started
    for daemon in daemons:
        daemon.stop()


def test_a_user_logs_in_once_and_works_with_the_token(start):
    daemon = start(*BASIC)
    client = rest.RESTClient(daemon.endpoint, username="ann", password="one")
    assert client.lookup_nodes("G.V()") == []
    token = client.auth.token
    assert client.auth.authenticated and len(token) == 64
    capture = client.capture_create("G.V().Has('Name', 'nothing')")
    assert [c.uuid for c in client.capture_list()] == [capture.uuid]
    client.capture_delete(capture.uuid)
    assert client.auth.token == token


def test_wrong_or_missing_credentials_are_reported(start):
    daemon = start(*BASIC)
    wrong = rest.RESTClient(daemon.endpoint, username="ann", password="two")
    with pytest.raises(urllib.error.HTTPError) as refused:
        wrong.lookup("G")
    assert refused.value.code == 401
    with pytest.raises(rest.BadRequest) as refused:
        rest.RESTClient(daemon.endpoint).lookup("G")
    assert refused.value.args[0] == b"Wrong credentials"


SYNC = """
import sys
from skydive.websocket.client import WSClient, WSClientDefaultProtocol


class Protocol(WSClientDefaultProtocol):
    def onOpen(self):
        print("open")
        self.factory.client.protocol.stop()

    def onClose(self, wasClean, code, reason):
        if not wasClean:
            print("refused", reason)
        self.stop()


keywords = {name: value for name, value in (a.split("=", 1) for a in sys.argv[2:])}
client = WSClient("me", sys.argv[1], protocol=Protocol, **keywords)
client.connect()
client.start()
"""


def subscribe(url, **keywords):
    import sys
    arguments = [f"{name}={value}" for name, value in keywords.items()]
    done = subprocess.run([sys.executable, "-c", SYNC, url, *arguments],
                          capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr


def test_websockets_accept_the_token_of_a_login(start):
    daemon = start(*BASIC)
    url = f"ws://{daemon.endpoint}/ws/subscriber"
    assert "open" in subscribe(url, username="ann", password="one")
    refused = subscribe(url)
    assert "401" in refused and "open" not in refused


@pytest.fixture
def certificates(tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("SKIPPED: creating certificates requires openssl")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True)
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def test_tls_requires_a_trusted_certificate(start, certificates):
    certificate, key = certificates
    daemon = start(f"tls.server_cert={certificate}", f"tls.server_key={key}")
    client = rest.RESTClient(daemon.endpoint, scheme="https", cafile=str(certificate))
    assert client.lookup_nodes("G.V()") == []
    assert rest.RESTClient(daemon.endpoint, scheme="https", insecure=True).capture_list() == []
    with pytest.raises(urllib.error.URLError):
        rest.RESTClient(daemon.endpoint, scheme="https").lookup("G")
    url = f"wss://{daemon.endpoint}/ws/subscriber"
    assert "open" in subscribe(url, cafile=certificate)
