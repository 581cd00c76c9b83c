"""Client of the REST interface."""

import json
from socket import gethostname
from time import time
from urllib import request
from uuid import uuid4

from skydive._session import Session
from skydive.alerts import Alert
from skydive.auth import Authenticate
from skydive.captures import Capture
from skydive.graph import Edge, Node
from skydive.packet_injector import PacketInjection
from skydive.rules import EdgeRule, NodeRule
from skydive.tls import create_ssl_context
from skypy._http import ApiError

__all__ = [
    "Alert", "Authenticate", "BadRequest", "Capture", "Edge", "EdgeRule", "Node", "NodeRule",
    "PacketInjection", "RESTClient", "create_ssl_context", "request",
]


class BadRequest(ApiError):
    """Raised if the server replies with a status other than success.

    The only argument is the body of the reply, as bytes; `status` is the HTTP status.
    """


class RESTClient(Session):
    """Client of the REST interface of one server.

    `endpoint` is `host:port`. Connections are reused. `timeout` is the limit of each request, in
    seconds; `None` for no limit.
    """

    INJECTION_PATH = "/api/injectpacket"

    def __init__(self, endpoint, scheme="http", username="", password="", cookies={}, insecure=False,
                 debug=0, cafile="", certfile="", keyfile="", *, timeout=None):
        super().__init__(endpoint, scheme, username, password, cookies, insecure, debug, cafile, certfile,
                         keyfile, timeout)
        self.auth = Authenticate(endpoint, scheme, username, password, cookies, insecure, debug,
                                 cafile, certfile, keyfile, timeout=timeout)

    def request(self, path, method="GET", data=None, *, timeout=None):
        """Sends a request; returns the parsed JSON, or bytes if the reply is not JSON.

        `data` is text or `None`. A reply without content is `None`; the reply to DELETE is bytes.

        Raises `BadRequest` if the server rejects the request, `urllib.error.URLError` if it cannot be
        reached, and `TimeoutError` if the time limit is exceeded.
        """
        self.auth.login_if_needed()
        body = data.encode() if data is not None else None
        response = self._send(path, method, _JSON_HEADERS, body, self.auth.cookie_jar, timeout,
                              repeatable=method == "GET" or path == _TOPOLOGY)
        if not 200 <= response.status < 300:
            self.auth.logout()
            raise BadRequest.of(response) from response.http_error(self._url(path))
        return _value(response, method)

    def lookup(self, gremlin, klass=None):
        """Returns the result of a Gremlin query: parsed JSON, or a list of `klass` objects."""
        found = self.request(_TOPOLOGY, "POST", json.dumps({"GremlinQuery": gremlin}))
        if klass:
            return [klass.from_object(obj) for obj in found or []]
        # The reply to an empty query has no content.
        return [] if found is None and not gremlin else found

    def lookup_nodes(self, gremlin):
        """Returns the nodes that a Gremlin query returns."""
        return self.lookup(gremlin, Node)

    def lookup_edges(self, gremlin):
        """Returns the edges that a Gremlin query returns."""
        return self.lookup(gremlin, Edge)

    def capture_create(self, query, name="", description="", extra_tcp_metric=False, ip_defrag=False,
                       reassemble_tcp=False, layer_key_mode="L2", bpf_filter="", capture_type="",
                       port=0, raw_pkt_limit=0, header_size=0, target="", target_type="",
                       polling_interval=10, sampling_rate=1, *, extra_layers=0):
        """Starts a capture on the nodes that a Gremlin query selects."""
        body = {
            "GremlinQuery": query,
            "LayerKeyMode": layer_key_mode,
            "PollingInterval": polling_interval,
            "SamplingRate": sampling_rate,
            **_not_empty(
                Name=name, Description=description, BPFFilter=bpf_filter, Type=capture_type,
                Port=port, RawPacketLimit=raw_pkt_limit, HeaderSize=header_size, Target=target,
                TargetType=target_type, ExtraLayers=extra_layers,
                ExtraTCPMetric=bool(extra_tcp_metric), IPDefrag=bool(ip_defrag),
                ReassembleTCP=bool(reassemble_tcp)),
        }
        return self._create("/api/capture", body, Capture)

    def capture_list(self):
        """Returns the captures."""
        return self._list("/api/capture", Capture)

    def capture_delete(self, capture_id):
        """Deletes a capture."""
        return self.request(f"/api/capture/{capture_id}", "DELETE")

    def alert_create(self, action, expression, trigger="graph"):
        """Creates an alert."""
        body = {"Action": action, "Expression": expression, "Trigger": trigger}
        return self._create("/api/alert", body, Alert)

    def alert_list(self):
        """Returns the alerts."""
        return self._list("/api/alert", Alert)

    def alert_delete(self, alert_id):
        """Deletes an alert."""
        return self.request(f"/api/alert/{alert_id}", "DELETE")

    def noderule_create(self, action, metadata=None, query=""):
        """Creates a rule for nodes."""
        body = {"Action": action, "Metadata": metadata, "Query": query}
        return self._create("/api/noderule", body, NodeRule)

    def noderule_list(self):
        """Returns the rules for nodes."""
        return self._list("/api/noderule", NodeRule)

    def noderule_delete(self, rule_id):
        """Deletes a rule for nodes."""
        return self.request(f"/api/noderule/{rule_id}", "DELETE")

    def edgerule_create(self, src, dst, metadata):
        """Creates a rule for edges."""
        return self._create("/api/edgerule", {"Src": src, "Dst": dst, "Metadata": metadata}, EdgeRule)

    def edgerule_list(self):
        """Returns the rules for edges."""
        return self._list("/api/edgerule", EdgeRule)

    def edgerule_delete(self, rule_id):
        """Deletes a rule for edges."""
        self.request(f"/api/edgerule/{rule_id}", "DELETE")

    def node_create(self, node_id=None, host=None, metadata=None):
        """Creates a node. By default, it has a random identifier and the name of this host."""
        body = {**_new_element(node_id, host), "Metadata": metadata, "Revision": 1}
        return self._create("/api/node", body, Node)

    def node_update(self, node_id=None, patches=[]):
        """Changes the metadata of a node by a JSON patch.

        Raises `BadRequest` with the status 304 if the patch changes nothing.
        """
        return Node.from_object(self.request(f"/api/node/{node_id}", "PATCH", json.dumps(patches)))

    def node_list(self):
        """Returns the nodes that were created through the REST interface."""
        return self._list("/api/node", Node)

    def node_delete(self, node_id):
        """Deletes a node."""
        return self.request(f"/api/node/{node_id}", "DELETE")

    def edge_create(self, parent_id, child_id, edge_id=None, host=None, metadata=None):
        """Creates an edge. By default, it has a random identifier and the name of this host."""
        body = {**_new_element(edge_id, host), "Parent": parent_id, "Child": child_id,
                "Metadata": metadata}
        return self._create("/api/edge", body, Edge)

    def edge_update(self, edge_id=None, patches=[]):
        """Changes the metadata of an edge by a JSON patch.

        Raises `BadRequest` with the status 304 if the patch changes nothing.
        """
        return Edge.from_object(self.request(f"/api/edge/{edge_id}", "PATCH", json.dumps(patches)))

    def edge_list(self):
        """Returns the edges that were created through the REST interface."""
        return self._list("/api/edge", Edge)

    def edge_delete(self, edge_id):
        """Deletes an edge."""
        self.request(f"/api/edge/{edge_id}", "DELETE")

    def injection_create(self, src_query="", dst_query="", type="icmp4", payload="", interval=1000,
                         src_ip="", dst_ip="", src_mac="", dst_mac="", count=1, icmp_id=0, src_port=0,
                         dst_port=0, increment=False, ttl=64):
        """Sends packets from one node to another.

        If `increment` is a number, the payload grows by that number of bytes with each packet.
        """
        body = {
            "Src": src_query, "Dst": dst_query, "SrcPort": src_port, "DstPort": dst_port,
            "SrcIP": src_ip, "DstIP": dst_ip, "SrcMAC": src_mac, "DstMAC": dst_mac, "Type": type,
            "Count": count, "ICMPID": icmp_id, "Interval": interval, "Payload": payload,
            "Increment": increment, "TTL": ttl,
        }
        if increment and not isinstance(increment, bool):
            body["IncrementPayload"] = increment
        return self._create(self.INJECTION_PATH, body, PacketInjection)

    def injection_list(self):
        """Returns the injections."""
        return self._list(self.INJECTION_PATH, PacketInjection)

    def injection_delete(self, injection_id):
        """Deletes an injection."""
        return self.request(self.INJECTION_PATH + "/" + injection_id, "DELETE")

    def close(self):
        """Closes the idle connections. The client can still be used."""
        self._http.close()

    def _create(self, path, body, klass):
        return klass.from_object(self.request(path, "POST", json.dumps(body)))

    def _list(self, path, klass):
        return [klass.from_object(obj) for obj in self.request(path).values()]


_TOPOLOGY = "/api/topology"
_JSON_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


def _value(response, method):
    """Returns the content of a response."""
    if method == "DELETE":
        return response.body
    if response.status == 204:
        return None
    if response.headers.get("content-type", "").partition(";")[0] == "application/json":
        return json.loads(response.body)
    return response.body


def _not_empty(**fields):
    return {key: value for key, value in fields.items() if value}


def _new_element(element_id, host):
    """Returns the fields of a new node or edge. Times are Unix milliseconds."""
    now = int(time() * 1000)
    return {"ID": element_id or str(uuid4()), "CreatedAt": now, "UpdatedAt": now,
            "Host": host or gethostname()}
