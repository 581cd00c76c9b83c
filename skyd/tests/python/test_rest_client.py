"""Tests of all `RESTClient` methods that create, list, change, or delete, with the unmodified client."""

import json
import uuid

import pytest

from daemon import Daemon

rest = pytest.importorskip("skydive.rest.client")

NOTHING = "G.V().Has('Name', 'nothing')"


@pytest.fixture
def client(daemon):
    return rest.RESTClient(daemon.endpoint)


def refused(call, *args, **kwargs):
    """Returns the error text of a call that the daemon must reject."""
    with pytest.raises(rest.BadRequest) as error:
        call(*args, **kwargs)
    return error.value.args[0]


def test_nodes(client):
    metadata = {"Name": "rack-17", "Type": "rack", "Rows": [1, 2], "Nest": {"a": {"b": True}}}
    node = client.node_create(host="edge-01", metadata=metadata)
    assert uuid.UUID(node.id).version == 4
    assert (node.host, node.metadata, node.revision) == ("edge-01", metadata, 1)
    assert node.created_at == node.updated_at > 1_600_000_000_000
    assert node.deleted_at is None
    assert [n.id for n in client.node_list()] == [node.id]
    assert [n.metadata for n in client.lookup_nodes("G.V().Has('Type', 'rack')")] == [metadata]
    changed = client.node_update(node.id, [{"op": "add", "path": "/Metadata/Site", "value": "paris"}])
    assert (changed.metadata["Site"], changed.revision) == ("paris", 2)
    again = refused(client.node_update, node.id, [{"op": "add", "path": "/Metadata/Site", "value": "paris"}])
    assert again == b"", "status 304, which urllib treats as an error"
    assert b"applying JSON patch" in refused(
        client.node_update, node.id, [{"op": "remove", "path": "/Metadata/None"}])
    assert refused(client.node_create, node.id, "h", {"Name": "x", "Type": "y"}) == b"Node ID conflict\n"
    assert b"invalid schema" in refused(client.node_create, "n2", "h", {"Name": "x"})
    assert client.node_delete(node.id) == b""
    assert client.node_list() == []
    assert refused(client.node_delete, node.id) == f"Node '{node.id}' not found\n".encode()
    assert refused(client.node_update, node.id, []) == b""


def test_edges(client):
    ends = [client.node_create(f"n{i}", "h", {"Name": f"n{i}", "Type": "rack"}) for i in range(2)]
    edge = client.edge_create(ends[0].id, ends[1].id, metadata={"RelationType": "ownership"})
    assert (edge.parent, edge.child) == ("n0", "n1")
    assert [e.id for e in client.edge_list()] == [edge.id]
    assert [e.id for e in client.lookup_edges("G.E().Has('RelationType', 'ownership')")] == [edge.id]
    changed = client.edge_update(edge.id, [{"op": "add", "path": "/Metadata/Weight", "value": 5}])
    assert changed.metadata == {"RelationType": "ownership", "Weight": 5}
    assert refused(client.edge_create, "n0", "missing", metadata={"RelationType": "x"}) == b"Child node not found\n"
    client.edge_delete(edge.id)
    assert client.edge_list() == []
    assert refused(client.edge_delete, edge.id) == f"Edge '{edge.id}' not found\n".encode()


def test_captures(client):
    options = {
        "name": "all", "description": "every option", "extra_tcp_metric": True, "ip_defrag": True,
        "reassemble_tcp": True, "layer_key_mode": "L3", "bpf_filter": "tcp port 80",
        "capture_type": "afpacket", "port": 7, "raw_pkt_limit": 5, "header_size": 128,
        "polling_interval": 20, "sampling_rate": 2,
    }
    created = client.capture_create(NOTHING, **options)
    (listed,) = client.capture_list()
    for capture in (created, listed):
        assert (capture.uuid, capture.query, capture.count) == (created.uuid, NOTHING, 0)
        for name, value in options.items():
            assert getattr(capture, name) == value, name
    assert refused(client.capture_create, NOTHING, **options) == b"duplicated resource\n"
    assert b"Not a valid BPF expression" in refused(client.capture_create, "G.V()", bpf_filter="prot 80")
    assert client.capture_delete(created.uuid) == b""
    assert refused(client.capture_delete, created.uuid) == f"Capture '{created.uuid}' not found\n".encode()


def test_alerts(client):
    # The original client swaps expression and trigger when it reads them.
    alert = client.alert_create("https://localhost:8081", NOTHING, "graph")
    assert (alert.action, {alert.expression, alert.trigger}) == ("https://localhost:8081", {NOTHING, "graph"})
    assert [a.uuid for a in client.alert_list()] == [alert.uuid]
    assert b"Action" in refused(client.alert_create, "ftp://x", NOTHING)
    assert client.alert_delete(alert.uuid) == b""
    assert client.alert_list() == []


def test_rules(client):
    rule = client.noderule_create("create", {"Name": "by-rule", "Type": "fabric"})
    assert (rule.action, rule.metadata) == ("create", {"Name": "by-rule", "Type": "fabric"})
    assert [r.uuid for r in client.noderule_list()] == [rule.uuid]
    assert b"Name and Type" in refused(client.noderule_create, "update", {"Name": "a"}, "G.V()")
    assert client.noderule_delete(rule.uuid) == b""
    assert client.noderule_list() == []
    rule = client.edgerule_create(NOTHING, NOTHING, {"RelationType": "layer2"})
    assert (rule.src, rule.dst, rule.metadata) == (NOTHING, NOTHING, {"RelationType": "layer2"})
    assert [r.uuid for r in client.edgerule_list()] == [rule.uuid]
    client.edgerule_delete(rule.uuid)
    assert client.edgerule_list() == []


def test_injections_are_checked(client):
    assert client.injection_list() == []
    assert refused(client.injection_create, NOTHING, NOTHING, type="smoke") == b"given type is not supported\n"
    assert b"source node" in refused(client.injection_create, NOTHING, NOTHING)
    assert refused(client.injection_delete, "none") == b"Injectpacket 'none' not found\n"


def test_queries_and_other_routes(client):
    assert client.lookup("G.V()") == []
    assert client.lookup("G.V().Count()") == 0
    assert client.lookup("G") == [{"Nodes": None, "Edges": None}]
    assert client.lookup_nodes("G.V()") == client.lookup_edges("G.E()") == []
    assert client.request("/api")["Service"] == "analyzer"
    assert client.request("/api/status")["Captures"] == {"IsMaster": True}
    assert client.request("/api/config/no.such") == ""
    assert refused(client.request, "/api/nothing") == b"404 page not found\n"
    assert refused(client.request, "/api/topology", method="POST", data="{") != b""
    assert refused(client.request, "/api/capture", method="PUT", data="{}") == b""


@pytest.fixture
def closed(tmp_path):
    users = json.dumps({"admin": "pass", "viewer": "look"})
    daemon = Daemon(tmp_path, "analyzer", credentials=("admin", "pass"), settings=(
        "analyzer.auth.api.backend=mine", "auth.mine.type=basic", f"auth.mine.users={users}",
        'rbac.policy=["g, viewer, guest"]'))
    yield daemon
    daemon.stop()


def test_with_a_password(closed):
    client = rest.RESTClient(closed.endpoint, username="admin", password="pass")
    node = client.node_create(metadata={"Name": "n", "Type": "t"})
    assert [n.id for n in client.node_list()] == [node.id]
    assert client.auth.authenticated
    assert refused(rest.RESTClient(closed.endpoint).lookup, "G.V()") == b"Wrong credentials"
    for path in ("/metrics", "/swagger.json", "/api/status", "/api/config/flow"):
        assert refused(rest.RESTClient(closed.endpoint).request, path) == b"Wrong credentials", path
        client.request(path)
    viewer = rest.RESTClient(closed.endpoint, username="viewer", password="look")
    for path in ("/metrics", "/swagger.json", "/api/status"):
        viewer.request(path)
    for path in ("/api/config/flow", "/api/capture"):
        refused(viewer.request, path)
    assert b"'viewer' has no 'write' permission on 'capture'" in refused(viewer.capture_create, "G.V()")
