"""Calls every method of the REST client that is installed against a server, and prints the results.

Usage: client_calls.py HOST:PORT [SCHEME USER PASSWORD CAFILE]

Prints one JSON array per call: name, type and content of the result. Random values are replaced, and
attributes that the original does not have are omitted.
"""

import json
import re
import sys
import urllib.error

import skydive.rest.client as module
from skydive.encoder import JSONEncoder
from skydive.rest.client import BadRequest, RESTClient

NEW = {"origin", "extra_layers", "create_time"}
UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MILLISECONDS = re.compile(r"\b1[6-9]\d{11}\b")
NUMBERS = iter(range(1000))


def fixed_uuid():
    return "00000000-0000-4000-8000-%012d" % next(NUMBERS)


def describe(value):
    """Returns the JSON value of a result, with the attributes of its objects."""
    if isinstance(value, list):
        return [describe(item) for item in value]
    if isinstance(value, bytes):
        return {"bytes": value.decode()}
    if hasattr(value, "__dict__"):
        attributes = {name: describe(attribute) for name, attribute in vars(value).items()
                      if name not in NEW}
        return {"class": type(value).__name__, "json": json.loads(json.dumps(value, cls=JSONEncoder)),
                **attributes}
    return value


def call(label, function, /, *arguments, **keywords):
    try:
        result = function(*arguments, **keywords)
        line = [label, type(result).__name__, describe(result)]
    except (BadRequest, urllib.error.URLError, KeyError, AttributeError, TypeError, NameError) as error:
        result = None
        body = error.args[0] if error.args else None
        line = [label, type(error).__name__, describe(body) if isinstance(body, (bytes, str)) else str(body)]
    print(MILLISECONDS.sub("0", UUID.sub("UUID", json.dumps(line, sort_keys=True))), flush=True)
    return result


def resources(client):
    query = "G.V().Has('Name', 'nothing')"
    capture = call("capture_create", client.capture_create, query, name="n", bpf_filter="icmp")
    call("capture_create twice", client.capture_create, query, bpf_filter="icmp")
    call("capture_create all", client.capture_create, query, "name", "text", True, True, True, "L3", "tcp",
         "afpacket", 7, 5, 128, "127.0.0.1:9", "netflowv5", 20, 2)
    call("capture_create wrong", client.capture_create, "G.V(")
    call("capture_list", lambda: sorted(client.capture_list(), key=lambda c: c.name or ""))
    call("capture_delete", client.capture_delete, capture.uuid)
    call("capture_delete missing", client.capture_delete, "missing")
    for one in client.capture_list():
        client.capture_delete(one.uuid)
    call("capture_list empty", client.capture_list)
    alert = call("alert_create", client.alert_create, "http://localhost:1", "G.V().Count() > 100")
    call("alert_create duration", client.alert_create, "", "G.V().Count() > 100", trigger="duration:10s")
    call("alert_list", lambda: sorted(client.alert_list(), key=lambda alert: str(alert.action)))
    call("alert_delete", client.alert_delete, alert.uuid)
    rule = call("noderule_create", client.noderule_create, "create", {"Name": "made", "Type": "fabric"})
    call("noderule_create update", client.noderule_create, "update", query="G.V()")
    call("noderule_list", lambda: [rule.uuid in [r.uuid for r in client.noderule_list()]])
    call("noderule_delete", client.noderule_delete, rule.uuid)
    rule = call("edgerule_create", client.edgerule_create, "G.V()", "G.V()", {"RelationType": "layer2"})
    call("edgerule_list", client.edgerule_list)
    call("edgerule_delete", client.edgerule_delete, rule.uuid)
    injection = call("injection_create", client.injection_create, query, query, count=2, increment=True)
    call("injection_create all", client.injection_create, query, query, "tcp4", "hello", 10, "1.1.1.1", "1.1.1.2",
         "02:00:00:00:00:01", "02:00:00:00:00:02", 3, 4, 5, 6, False, 32)
    call("injection_list", client.injection_list)
    call("injection_delete", client.injection_delete, injection.uuid if injection else "missing")


def elements(client):
    for index in range(2):
        call("node_create", client.node_create, f"n{index}", "h", {"Name": f"n{index}", "Type": "rack"})
    node = call("node_create default", client.node_create, metadata={"Name": "é", "Type": "rack"})
    call("node_create twice", client.node_create, "n0", "h", {"Name": "n0", "Type": "rack"})
    call("node_create invalid", client.node_create, "n3", "h", {"Name": "n3"})
    patch = [{"op": "add", "path": "/Metadata/Site", "value": "paris"}]
    call("node_update", client.node_update, "n0", patch)
    call("node_update again", client.node_update, "n0", patch)
    call("node_update missing", client.node_update, "missing", patch)
    call("node_list", lambda: sorted(client.node_list(), key=lambda node: node.metadata["Name"]))
    call("edge_create", client.edge_create, "n0", "n1", "e0", "h", {"RelationType": "ownership"})
    call("edge_create default", client.edge_create, "n0", node.id, metadata={"RelationType": "x"})
    call("edge_create missing", client.edge_create, "n0", "missing", metadata={"RelationType": "x"})
    call("edge_update", client.edge_update, "e0", [{"op": "add", "path": "/Metadata/Weight", "value": 5}])
    call("edge_list", lambda: sorted(client.edge_list(), key=lambda edge: edge.id == "e0"))
    lookups(client)
    call("edge_delete", client.edge_delete, "e0")
    call("edge_delete missing", client.edge_delete, "e0")
    call("node_delete", client.node_delete, node.id)
    call("node_delete missing", client.node_delete, node.id)


def lookups(client):
    call("lookup", client.lookup, "G.V().Has('Name', 'n0')")
    call("lookup number", client.lookup, "G.V().Has('Type', 'rack').Count()")
    call("lookup values", client.lookup, "G.V().Has('Type', 'rack').Values('Name')")
    call("lookup no values", client.lookup, "G.V().Has('Type', 'rack').Values('Missing')")
    call("lookup_nodes", client.lookup_nodes, "G.V().Has('Name', 'n1')")
    call("lookup_nodes none", client.lookup_nodes, "G.V().Has('Name', 'missing')")
    call("lookup_edges", client.lookup_edges, "G.E().Has('RelationType', 'ownership')")
    call("lookup_edges of nodes", client.lookup_edges, "G.V().Has('Name', 'n1')")
    call("lookup_nodes of no values", client.lookup_nodes, "G.V().Values('Missing')")
    call("lookup wrong", client.lookup, "G.V(.Has('Name', 'x')")
    call("lookup empty", client.lookup, "")
    call("request", lambda: sorted(client.request("/api/status")))
    call("request text", lambda: type(client.request("/")).__name__)
    call("request missing", client.request, "/api/missing")
    call("request bytes", client.request, "/api/topology", "POST", b"{}")


def main():
    module.uuid4, module.gethostname, module.time = fixed_uuid, lambda: "this-host", lambda: 1700000000.5
    options = {}
    if len(sys.argv) > 2:
        options = dict(zip(("scheme", "username", "password", "cafile"), sys.argv[2:]))
    client = RESTClient(sys.argv[1], cookies={"extra": "cookie"}, **options)
    resources(client)
    elements(client)


if __name__ == "__main__":
    main()
