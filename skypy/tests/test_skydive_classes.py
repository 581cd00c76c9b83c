"""Names, signatures, and JSON of the package `skydive`."""

import importlib
import inspect
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydive.alerts import Alert
from skydive.captures import Capture
from skydive.encoder import JSONEncoder
from skydive.graph import Edge, GraphElement, Node
from skydive.packet_injector import PacketInjection
from skydive.rest.client import BadRequest, RESTClient
from skydive.rules import EdgeRule, NodeRule
from skydive.websocket.client import SyncRequestMsg, WSClient, WSMessage

NAMES = {
    "skydive.graph": "GraphElement Node Edge",
    "skydive.captures": "Capture",
    "skydive.alerts": "Alert",
    "skydive.rules": "NodeRule EdgeRule",
    "skydive.packet_injector": "PacketInjection",
    "skydive.encoder": "JSONEncoder json",
    "skydive.tls": "create_ssl_context ssl",
    "skydive.auth": "Authenticate CookieJar request urlencoder ssl create_ssl_context",
    "skydive.rest": "",
    "skydive.rest.client": "RESTClient BadRequest Authenticate Node Edge NodeRule EdgeRule Alert Capture "
                           "PacketInjection create_ssl_context request json time gethostname uuid4",
    "skydive.websocket": "",
    "skydive.websocket.client": "WSClient WSClientDefaultProtocol WSClientDebugProtocol WSMessage "
                                "SyncRequestMsg SyncRequestMsgType SyncReplyMsgType "
                                "OriginGraphDeletedMsgType NodeUpdatedMsgType NodeDeletedMsgType "
                                "NodeAddedMsgType EdgeUpdatedMsgType EdgeDeletedMsgType EdgeAddedMsgType "
                                "LOG Authenticate JSONEncoder create_ssl_context "
                                "WebSocketClientProtocol WebSocketClientFactory asyncio functools httplib "
                                "json logging urlparse uuid warnings",
    "skydive.wsshell": "main WSClientModifyProtocol LOG WSClient WSClientDebugProtocol WSMessage argparse json "
                       "logging os sys NodeAddedMsgType EdgeAddedMsgType",
}

ELEMENT = "id, host, created_at=0, updated_at=0, deleted_at=0, revision=0, metadata=None"
CONNECTION = ("endpoint, scheme='http', username='', password='', cookies={}, insecure=False, debug=0, cafile='', "
              "certfile='', keyfile=''")
SIGNATURES = {
    "skydive.graph.GraphElement": ELEMENT,
    "skydive.graph.Node": ELEMENT,
    "skydive.graph.Edge": ELEMENT.replace("host,", "host, parent, child,"),
    "skydive.captures.Capture":
        "uuid, query, name='', description='', count=0, extra_tcp_metric=False, ip_defrag=False, "
        "reassemble_tcp=False, layer_key_mode='L2', bpf_filter='', capture_type='', raw_pkt_limit=0, port=0, "
        "header_size=0, target='', target_type='', polling_interval=10, sampling_rate=1",
    "skydive.alerts.Alert": "uuid, action, expression, trigger='graph', name='', description=''",
    "skydive.rules.NodeRule": "uuid, action, metadata, name='', description='', query=''",
    "skydive.rules.EdgeRule": "uuid, src, dst, metadata, name='', description=''",
    "skydive.packet_injector.PacketInjection":
        "uuid='', src='', dst='', srcip='', dstip='', srcmac='', dstmac='', srcport=0, dstport=0, type='icmp4', "
        "payload='', trackingid='', icmpid=0, count=1, interval=0, mode='unique', starttime='', ttl=64",
    "skydive.tls.create_ssl_context": "insecure=False, cafile='', certfile='', keyfile=''",
    "skydive.auth.Authenticate": CONNECTION,
    "skydive.auth.Authenticate.login": "self",
    "skydive.auth.Authenticate.logout": "self",
    "skydive.rest.client.RESTClient": CONNECTION,
    "skydive.rest.client.RESTClient.request": "self, path, method='GET', data=None",
    "skydive.rest.client.RESTClient.lookup": "self, gremlin, klass=None",
    "skydive.rest.client.RESTClient.lookup_nodes": "self, gremlin",
    "skydive.rest.client.RESTClient.lookup_edges": "self, gremlin",
    "skydive.rest.client.RESTClient.capture_create":
        "self, query, name='', description='', extra_tcp_metric=False, ip_defrag=False, reassemble_tcp=False, "
        "layer_key_mode='L2', bpf_filter='', capture_type='', port=0, raw_pkt_limit=0, header_size=0, target='', "
        "target_type='', polling_interval=10, sampling_rate=1",
    "skydive.rest.client.RESTClient.capture_list": "self",
    "skydive.rest.client.RESTClient.capture_delete": "self, capture_id",
    "skydive.rest.client.RESTClient.alert_create": "self, action, expression, trigger='graph'",
    "skydive.rest.client.RESTClient.alert_list": "self",
    "skydive.rest.client.RESTClient.alert_delete": "self, alert_id",
    "skydive.rest.client.RESTClient.noderule_create": "self, action, metadata=None, query=''",
    "skydive.rest.client.RESTClient.noderule_list": "self",
    "skydive.rest.client.RESTClient.noderule_delete": "self, rule_id",
    "skydive.rest.client.RESTClient.edgerule_create": "self, src, dst, metadata",
    "skydive.rest.client.RESTClient.edgerule_list": "self",
    "skydive.rest.client.RESTClient.edgerule_delete": "self, rule_id",
    "skydive.rest.client.RESTClient.node_create": "self, node_id=None, host=None, metadata=None",
    "skydive.rest.client.RESTClient.node_update": "self, node_id=None, patches=[]",
    "skydive.rest.client.RESTClient.node_list": "self",
    "skydive.rest.client.RESTClient.node_delete": "self, node_id",
    "skydive.rest.client.RESTClient.edge_create":
        "self, parent_id, child_id, edge_id=None, host=None, metadata=None",
    "skydive.rest.client.RESTClient.edge_update": "self, edge_id=None, patches=[]",
    "skydive.rest.client.RESTClient.edge_list": "self",
    "skydive.rest.client.RESTClient.edge_delete": "self, edge_id",
    "skydive.rest.client.RESTClient.injection_create":
        "self, src_query='', dst_query='', type='icmp4', payload='', interval=1000, src_ip='', dst_ip='', src_mac='', "
        "dst_mac='', count=1, icmp_id=0, src_port=0, dst_port=0, increment=False, ttl=64",
    "skydive.rest.client.RESTClient.injection_list": "self",
    "skydive.rest.client.RESTClient.injection_delete": "self, injection_id",
    "skydive.websocket.client.WSMessage": "ns, type, obj",
    "skydive.websocket.client.SyncRequestMsg": "filter",
    "skydive.websocket.client.WSClient.connect": "self",
    "skydive.websocket.client.WSClient.start": "self",
    "skydive.websocket.client.WSClient.stop": "self",
    "skydive.websocket.client.WSClient.login": "self, host_spec='', username='', password=''",
    "skydive.websocket.client.WSClientDefaultProtocol.sendWSMessage": "self, msg",
    "skydive.websocket.client.WSClientDefaultProtocol.debug_send": "self, func, arg",
    "skydive.websocket.client.WSClientDefaultProtocol.stop": "self",
    "skydive.websocket.client.WSClientDefaultProtocol.stop_when_complete": "self",
    "skydive.websocket.client.WSClientDebugProtocol.onMessage": "self, payload, isBinary",
    "skydive.websocket.client.WSClientDebugProtocol.onClose": "self, wasClean, code, reason",
    "skydive.websocket.client.WSClientDebugProtocol.onConnect": "self, response",
    "skydive.wsshell.main": "",
}


@pytest.mark.parametrize("module", NAMES)
def test_every_name_is_in_its_module(module):
    found = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(found, name)] == []


def resolve(path):
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise AssertionError(path)


@pytest.mark.parametrize("path", SIGNATURES)
def test_signatures_are_those_of_the_original_plus_keywords(path):
    parameters = inspect.signature(resolve(path)).parameters.values()
    old = [str(parameter) for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
    assert ", ".join(old) == SIGNATURES[path]


def test_the_signature_of_wsclient_ends_with_free_keywords():
    parameters = list(inspect.signature(WSClient).parameters.values())
    assert [p.name for p in parameters] == [
        "host_id", "endpoint", "protocol", "username", "password", "cookie", "sync", "filter", "persistent",
        "insecure", "type", "cafile", "certfile", "keyfile", "kwargs"]
    assert parameters[-1].kind is inspect.Parameter.VAR_KEYWORD
    assert [p.default for p in parameters[3:-1]] == [
        "", "", None, "", "", True, False, "skydive-python-client", "", "", ""]


def test_constants():
    assert RESTClient.INJECTION_PATH == "/api/injectpacket"
    module = importlib.import_module("skydive.websocket.client")
    for name in NAMES["skydive.websocket.client"].split():
        if name.endswith("MsgType"):
            assert getattr(module, name) == name[:-len("MsgType")]
    assert module.LOG.name == "skydive.websocket.client"


# Class, JSON with all keys, mandatory keys, JSON with only these, the attributes that are then not None.
CLASSES = [
    (Node, {"ID": "i", "Host": "h", "Metadata": {"Name": "n"}, "CreatedAt": 1, "UpdatedAt": 2, "DeletedAt": 3},
     ["ID", "Host"], {"ID": "i", "Host": "h", "Metadata": None}),
    (Edge, {"ID": "i", "Host": "h", "Metadata": {}, "CreatedAt": 1, "UpdatedAt": 2, "DeletedAt": 3, "Parent": "p",
            "Child": "c"}, ["ID", "Host", "Parent", "Child"],
     {"ID": "i", "Host": "h", "Metadata": None, "Parent": "p", "Child": "c"}),
    (Capture, {"UUID": "u", "GremlinQuery": "q", "Name": "n", "Description": "d", "Count": 2, "ExtraTCPMetric": True,
               "IPDefrag": True, "ReassembleTCP": True, "LayerKeyMode": "L3", "BPFFilter": "b", "Type": "t",
               "RawPacketLimit": 1, "Port": 2, "HeaderSize": 3, "Target": "x", "TargetType": "y",
               "PollingInterval": 4, "SamplingRate": 5, "ExtraLayers": 6}, ["UUID", "GremlinQuery"],
     {"UUID": "u", "GremlinQuery": "q", "LayerKeyMode": None, "Count": None}),
    (Alert, {"UUID": "u", "Action": "a", "Expression": "e", "Trigger": "t", "Name": "n", "Description": "d"},
     ["UUID", "Expression"], {"UUID": "u", "Action": "", "Expression": "e", "Trigger": ""}),
    (NodeRule, {"UUID": "u", "Action": "a", "Metadata": {}, "Name": "n", "Description": "d", "Query": "q"},
     ["UUID", "Action", "Metadata"], {"UUID": "u", "Action": "a", "Metadata": {}}),
    (EdgeRule, {"UUID": "u", "Src": "s", "Dst": "d", "Metadata": {}, "Name": "n", "Description": "d"},
     ["UUID", "Src", "Dst", "Metadata"], {"UUID": "u", "Src": "s", "Dst": "d", "Metadata": {}}),
    (PacketInjection, {"UUID": "u", "Src": "s", "Dst": "d", "SrcIP": "1", "DstIP": "2", "SrcMAC": "3", "DstMAC": "4",
                       "SrcPort": 5, "DstPort": 6, "Type": "tcp4", "Payload": "p", "TrackingID": "t", "ICMPID": 7,
                       "Count": 8, "Interval": 9, "Mode": "m", "TTL": 10}, [], {}),
]


@pytest.mark.parametrize("klass, full, mandatory, least", CLASSES)
def test_json_round_trips(klass, full, mandatory, least):
    assert klass.from_object({**full, "Unknown": 1}).repr_json() == full
    assert klass.from_object({key: full[key] for key in mandatory}).repr_json() == least
    for key in mandatory:
        with pytest.raises(KeyError) as missing:
            klass.from_object({other: value for other, value in full.items() if other != key})
        assert missing.value.args == (key,)


@pytest.mark.parametrize("klass, full, mandatory, least", CLASSES)
def test_subclasses_and_attributes(klass, full, mandatory, least):
    class Mine(klass):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            self.mine = True

    found = Mine.from_object(full)
    assert type(found) is Mine and found.mine
    found.more = 1
    assert {found: 1}[found] == 1
    assert json.loads(json.dumps({"a": [found]}, cls=JSONEncoder)) == {"a": [full]}


def test_absent_keys_of_a_capture_are_none():
    capture = Capture.from_object({"UUID": "u", "GremlinQuery": "q"})
    assert (capture.name, capture.count, capture.sampling_rate, capture.extra_layers) == (None,) * 4
    assert Capture("u", "q").repr_json() == {
        "UUID": "u", "GremlinQuery": "q", "LayerKeyMode": "L2", "Count": 0, "PollingInterval": 10, "SamplingRate": 1}


def test_new_attributes_and_repaired_ones():
    edge = Edge.from_object({"ID": "e", "Host": "h", "Parent": "p", "Child": "c", "Revision": 7, "Origin": "agent.h"})
    assert (edge.revision, edge.origin, edge.deleted_at) == (7, "agent.h", 0)
    assert Edge("e", "h", "p", "c", 1, 2, 3, 4).revision == 4
    assert Node("n", "h").origin == ""
    assert Node.from_object({"ID": "n", "Host": "h", "DeletedAt": None}).deleted_at is None
    alert = Alert.from_object({"UUID": "u", "Action": "a", "Expression": "G.V()", "Trigger": "graph",
                               "CreateTime": "2025-02-03T09:10:11Z"})
    assert (alert.expression, alert.trigger, alert.create_time) == ("G.V()", "graph", "2025-02-03T09:10:11Z")
    assert PacketInjection().repr_json() == {"Type": "icmp4", "Count": 1, "Mode": "unique", "TTL": 64}
    assert PacketInjection.from_object({}).starttime == ""
    assert GraphElement("i", "h", 1).created_at == 1


def test_messages():
    message = WSMessage("Graph", "NodeAdded", Node("i", "h"))
    assert len(message.uuid) == 32 and int(message.uuid, 16)
    assert list(message.repr_json()) == ["UUID", "Namespace", "Type", "Obj", "Status"]
    assert json.loads(message.to_json()) == {
        "UUID": message.uuid, "Namespace": "Graph", "Type": "NodeAdded",
        "Obj": {"ID": "i", "Host": "h", "Metadata": None}, "Status": 200}
    assert SyncRequestMsg("G").to_json() == '{"GremlinFilter": "G"}'


def test_objects_without_json_are_refused_as_by_the_json_module():
    with pytest.raises(TypeError):
        json.dumps({1, 2}, cls=JSONEncoder)


def test_bad_request_has_the_body_as_its_only_argument():
    error = BadRequest(b"text")
    assert (error.args, error.body, error.status) == ((b"text",), b"text", 0)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(st.text(), st.text(), st.dictionaries(st.text(), JSON), st.integers(0), st.integers(0))
def test_elements_round_trip(identifier, host, metadata, created, updated):
    node = Node(identifier, host, created, updated, metadata=metadata)
    again = Node.from_object(json.loads(json.dumps(node, cls=JSONEncoder)))
    assert vars(again) == vars(node)
