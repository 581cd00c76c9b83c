"""Tests of the unmodified `WSClient` of Skydive: publishers, subscribers, sync requests, flow stream."""

import asyncio
import json
import socket

import pytest

websocket = pytest.importorskip("skydive.websocket.client")
graph = pytest.importorskip("skydive.graph")


@pytest.fixture(autouse=True)
def loop():
    """Provides one event loop for all clients of a test; tests do not share loops."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    loop.close()


def message(kind, obj):
    return websocket.WSMessage("Graph", kind, obj)


def node(name, kind="device"):
    return graph.Node(name, "py", metadata={"Name": name, "Type": kind})


def edge(name, parent, child):
    return graph.Edge(name, "py", parent, child, metadata={"RelationType": "layer2"})


class Publisher(websocket.WSClientDefaultProtocol):
    """Sends messages and then a SyncRequest, whose reply confirms that all of them were processed."""

    def onOpen(self):
        for one in self.factory.kwargs["send"]:
            self.sendWSMessage(one)
        self.sendWSMessage(message("SyncRequest", {}))

    def onMessage(self, payload, isBinary):
        reply = json.loads(payload)
        if reply["Type"] != "SyncReply":
            return  # a pubsub client also receives the events of other publishers
        assert (reply["Status"], isBinary) == (200, False)
        self.factory.kwargs["replies"].append(reply["Obj"])
        self.stop()


class Listener(websocket.WSClientDebugProtocol):
    """Stores the received messages and stops when they meet a condition; its base class requests the
    graph if `sync` is set."""

    def onMessage(self, payload, isBinary):
        got = self.factory.kwargs["got"]
        got.append(json.loads(payload))
        if self.factory.kwargs["until"](got):
            self.stop()


def publish(daemon, messages, path="publisher", name="py", **more):
    """Runs a publisher until its messages are processed; returns the client and the resulting graph."""
    replies = []
    client = websocket.WSClient(name, f"ws://{daemon.endpoint}/ws/{path}", protocol=Publisher,
                                send=messages, replies=replies, **more)
    client.connect()
    while not replies:
        run(client)  # a listener that has received enough also stops the loop
    return client, replies[0]


def listen(daemon, path, until, **more):
    got = []
    client = websocket.WSClient("listener", f"ws://{daemon.endpoint}/ws/{path}", protocol=Listener,
                                got=got, until=until, **more)
    client.connect()
    return client, got


def run(client, seconds=15):
    """Runs all clients until one of them stops."""
    late = []

    def give_up():
        late.append(True)
        client.stop()

    timer = client.loop.call_later(seconds, give_up)
    client.start()
    timer.cancel()
    assert not late, f"no further message within {seconds} s"


def shown(event):
    return f"{event['Type']} {event['Obj']['ID']}"


def drain(loop):
    """Closes the connections of all clients of a loop."""
    for task in asyncio.all_tasks(loop):
        task.cancel()
    for transport in list(getattr(loop, "_transports", {}).values()):
        transport.abort()
    loop.run_until_complete(asyncio.sleep(0.05))


def test_nodes_and_edges_are_published(daemon):
    messages = [message("NodeAdded", node("a")), message("NodeAdded", node("b")),
                message("EdgeAdded", edge("e", "a", "b")), message("NodeAdded", node("c")),
                message("NodeDeleted", node("c"))]
    _, seen = publish(daemon, messages)
    assert sorted(n["ID"] for n in seen["Nodes"]) == ["a", "b"]
    assert [(e["ID"], e["Parent"], e["Child"]) for e in seen["Edges"]] == [("e", "a", "b")]
    assert {n["Origin"] for n in seen["Nodes"]} == {"skydive-python-client.py"}
    assert daemon.query("G.V('a').Out('Name', 'b').Values('Type')") == ["device"]


def test_updates_need_a_higher_revision(daemon):
    first = {"ID": "a", "Metadata": {"Name": "a", "Type": "device"}, "Revision": 1}
    stale = {**first, "Metadata": {**first["Metadata"], "State": "stale"}}
    newer = {**first, "Metadata": {**first["Metadata"], "State": "newer"}, "Revision": 2}
    publish(daemon, [message("NodeAdded", first), message("NodeUpdated", stale),
                     message("NodeUpdated", newer), message("NodeUpdated", stale)])
    assert daemon.query("G.V('a').Values('State')") == ["newer"]


@pytest.mark.parametrize("persistent", [True, False])
def test_elements_of_a_publisher_remain_only_if_persistent(daemon, loop, persistent):
    publish(daemon, [message("NodeAdded", node("a"))], persistent=persistent)
    assert daemon.query("G.V().Count()") == 1
    drain(loop)
    if persistent:
        # The publisher is disconnected, and its node remains.
        daemon.wait(lambda: not json.loads(daemon.request("GET", "/api/status")[1])["Publishers"],
                    "the publisher to disconnect")
        assert daemon.query("G.V().Count()") == 1
    else:
        daemon.wait(lambda: daemon.query("G.V().Count()") == 0, "its node to be deleted")


def test_a_subscriber_receives_changes_in_order(daemon):
    client, got = listen(daemon, "subscriber", lambda got: len(got) == 4)
    publish(daemon, [message("NodeAdded", node("a")), message("NodeAdded", node("b")),
                     message("EdgeAdded", edge("e", "a", "b")), message("EdgeDeleted", edge("e", "a", "b"))])
    if len(got) < 4:
        run(client)
    assert [shown(event) for event in got] == ["NodeAdded a", "NodeAdded b", "EdgeAdded e", "EdgeDeleted e"]
    assert {event["Namespace"] for event in got} == {"Graph"}


def test_a_sync_request_with_a_filter_returns_and_follows_a_part_of_the_graph(daemon):
    publish(daemon, [message("NodeAdded", node("a")), message("NodeAdded", node("h", "host"))])
    client, got = listen(daemon, "subscriber", lambda got: got[-1]["Type"] == "SyncReply", sync=True,
                         filter="G.V().Has('Type', 'device').SubGraph()")
    run(client)
    assert [n["ID"] for n in got[-1]["Obj"]["Nodes"]] == ["a"]
    got.clear()
    publish(daemon, [message("NodeAdded", node("h2", "host")), message("NodeAdded", node("b"))], name="py2")
    if not got:
        client.loop.call_later(0.5, client.stop)
        client.start()
    assert [shown(event) for event in got] == ["NodeAdded b"]


def test_a_pubsub_client_publishes_and_subscribes_without_echo(daemon):
    client, got = listen(daemon, "pubsub", lambda got: shown(got[-1]) == "NodeAdded b")
    publish(daemon, [message("NodeAdded", node("a"))], path="pubsub", name="other")
    publish(daemon, [message("NodeAdded", node("b"))])
    if not got or shown(got[-1]) != "NodeAdded b":
        run(client)
    assert [shown(event) for event in got] == ["NodeAdded a", "NodeAdded b"]


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def text(tag, value):
    data = value if isinstance(value, bytes) else value.encode()
    return varint(tag << 3 | 2) + varint(len(data)) + data


def test_flows_of_an_agent_are_streamed(daemon):
    def flows(got):
        return [flow["UUID"] for one in got for flow in one["Obj"]]

    client, got = listen(daemon, "subscriber/flow", lambda got: len(flows(got)) == 100)

    def feed():
        here = 'skyd_websocket_clients{endpoint="subscriber/flow"} 1'
        daemon.wait(lambda: here in daemon.request("GET", "/metrics")[1], "the subscriber")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
            for i in range(100):
                flow = text(1, f"f{i}") + text(2, "Ethernet/ARP") + text(34, "cap-1")
                agent.sendto(text(1, flow), ("127.0.0.1", daemon.port))

    # The handshake needs the event loop, so the agent waits for it in another thread.
    client.loop.run_in_executor(None, feed)
    run(client)
    assert {(one["Namespace"], one["Type"]) for one in got} == {("flow", "store")}
    assert flows(got) == [f"f{i}" for i in range(100)]
    assert daemon.query("G.Flows().Has('CaptureID', 'cap-1').Count()") == 100
