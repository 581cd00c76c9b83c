"""Tests of every resource of the unmodified Python client of Skydive against a running daemon."""

import pytest

rest = pytest.importorskip("skydive.rest.client")


@pytest.fixture
def client(daemon):
    return rest.RESTClient(daemon.endpoint)


def test_nodes_are_created_changed_listed_and_deleted(client):
    node = client.node_create("n1", host="lab-1", metadata={"Name": "n1", "Type": "device"})
    assert (node.id, node.host, node.metadata["Name"]) == ("n1", "lab-1", "n1")
    assert [n.id for n in client.lookup_nodes("G.V('n1')")] == ["n1"]
    patch = {"op": "add", "path": "/Metadata/Speed", "value": 10}
    assert client.node_update("n1", [patch]).metadata["Speed"] == 10
    # A patch without effect returns status 304, which this client treats as an error.
    with pytest.raises(rest.BadRequest) as unchanged:
        client.node_update("n1", [patch])
    assert unchanged.value.args[0] == b""
    assert "n1" in [n.id for n in client.node_list()]
    assert client.node_delete("n1") == b""
    assert "n1" not in [n.id for n in client.node_list()]
    with pytest.raises(rest.BadRequest) as missing:
        client.node_delete("n1")
    assert missing.value.args[0] == b"Node 'n1' not found\n"
    named = client.node_create(metadata={"Name": "n2", "Type": "device"})
    assert len(named.id) == 36
    client.node_delete(named.id)


def test_edges_are_created_changed_listed_and_deleted(client):
    ends = [client.node_create(metadata={"Name": n, "Type": "device"}).id for n in "ab"]
    edge = client.edge_create(*ends, edge_id="e1", metadata={"RelationType": "layer2"})
    assert (edge.id, edge.parent, edge.child) == ("e1", *ends)
    assert [e.id for e in client.lookup_edges("G.E('e1')")] == ["e1"]
    patch = {"op": "replace", "path": "/Metadata/RelationType", "value": "other"}
    assert client.edge_update("e1", [patch]).metadata["RelationType"] == "other"
    assert "e1" in [e.id for e in client.edge_list()]
    client.edge_delete("e1")
    assert "e1" not in [e.id for e in client.edge_list()]
    with pytest.raises(rest.BadRequest) as orphan:
        client.edge_create("nowhere", ends[0], metadata={"RelationType": "layer2"})
    assert orphan.value.args[0] == b"Parent node not found\n"


def test_alerts_are_created_listed_and_deleted(client):
    alert = client.alert_create("https://localhost:8081", "G.V().Has('Name', 'x')")
    # The client swaps trigger and expression when it reads an alert.
    assert alert.action == "https://localhost:8081"
    assert {alert.trigger, alert.expression} == {"graph", "G.V().Has('Name', 'x')"}
    assert [a.uuid for a in client.alert_list()] == [alert.uuid]
    assert client.alert_delete(alert.uuid) == b""
    assert client.alert_list() == []
    with pytest.raises(rest.BadRequest):
        client.alert_create("ftp://localhost", "G.V()")


def test_node_rules_are_created_listed_and_deleted(client):
    rule = client.noderule_create("create", metadata={"Name": "r", "Type": "fabric"})
    update = client.noderule_create("update", query="G.V().Has('Name', 'nothing')")
    assert rule.metadata == {"Name": "r", "Type": "fabric"} and update.metadata is None
    assert {r.uuid for r in client.noderule_list()} == {rule.uuid, update.uuid}
    for one in (rule, update):
        assert client.noderule_delete(one.uuid) == b""
    assert client.noderule_list() == []


def test_edge_rules_are_created_listed_and_deleted(client):
    rule = client.edgerule_create("G.V('a')", "G.V('b')", {"RelationType": "layer2"})
    assert (rule.src, rule.dst) == ("G.V('a')", "G.V('b')")
    assert [r.uuid for r in client.edgerule_list()] == [rule.uuid]
    client.edgerule_delete(rule.uuid)
    assert client.edgerule_list() == []


def test_injections_are_created_listed_and_deleted(client):
    metadata = {"Type": "device", "IPV4": ["192.0.2.1/24"], "MAC": "02:00:00:00:00:01"}
    for name in ("from", "to"):
        client.node_create(name, metadata={"Name": name, **metadata})
    injection = client.injection_create("G.V('from')", "G.V('to')", count=3)
    assert (injection.src, injection.count) == ("G.V('from')", 3)
    assert [i.uuid for i in client.injection_list()] == [injection.uuid]
    assert client.injection_delete(injection.uuid) == b""
    assert client.injection_list() == []
    with pytest.raises(rest.BadRequest) as lost:
        client.injection_create("G.V('nowhere')", "G.V('to')")
    assert lost.value.args[0] == b"Not able to find a source node for 'G.V('nowhere')'\n"
