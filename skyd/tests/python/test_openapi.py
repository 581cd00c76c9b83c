"""Tests that responses to valid and invalid requests conform to the OpenAPI document."""

import json
import subprocess
import sys

import pytest

from daemon import Daemon, free_port

pytest.importorskip("schemathesis", reason="SKIPPED: schemathesis is not installed")

CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance",
          "response_schema_conformance", "response_headers_conformance")


@pytest.fixture
def recorder(tmp_path):
    """An analyzer that also serves SPP."""
    daemon = Daemon(tmp_path, "analyzer", settings=(f"spp.listen=127.0.0.1:{free_port()}",))
    yield daemon
    daemon.stop()


def test_the_daemon_conforms_to_its_document(recorder, tmp_path):
    daemon = recorder
    document = f"http://{daemon.endpoint}/swagger.json"
    command = [sys.executable, "-m", "schemathesis.cli", "run", document, "--checks", ",".join(CHECKS),
               "--max-examples", "5", "--seed", "1", "--no-color", "--request-timeout", "20"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert daemon.process.poll() is None


def test_the_document_is_served_as_json(daemon):
    status, text = daemon.request("GET", "/swagger.json")
    document = json.loads(text)
    assert status == 200 and document["openapi"].startswith("3.")
    assert "/api/topology" in document["paths"]
