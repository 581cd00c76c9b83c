"""Clients that try to delete or replace what the probes of the daemon wrote."""

import json

from attacker import Daemon, WebSocket


def element(daemon, gremlin):
    status, text = daemon.query(gremlin)
    return json.loads(text)[0] if status == 200 and json.loads(text) else None


def test_nobody_deletes_or_replaces_what_the_probes_wrote(tmp_path):
    with Daemon(tmp_path, mode="allinone") as daemon:
        lo = daemon.until("the loopback interface", lambda: element(daemon, "G.V().Has('Name', 'lo')"))
        host = daemon.until("the host", lambda: element(daemon, "G.V().Has('Type', 'host')"))
        edges = json.loads(daemon.query("G.E()")[1])
        far = 10 ** 13
        forged = {**lo, "Metadata": {**lo["Metadata"], "Name": "forged"}, "Revision": 10 ** 6, "UpdatedAt": far}
        partial = {"ID": lo["ID"], "UpdatedAt": far, "Revision": 10 ** 6,
                   "Ops": [{"Type": 1, "Key": "Name", "Value": "forged"}]}
        for path, kind, host_id in (("/ws/publisher", "tool", "x"), ("/ws/pubsub", "tool", "y"),
                                    ("/ws/agent/topology", "agent", "other")):
            client = WebSocket(daemon, path, kind, host_id)
            assert client.status == 101
            client.send(("NodeDeleted", {**lo, "DeletedAt": far}), ("NodeDeleted", {**host, "DeletedAt": far}),
                        *(("EdgeDeleted", edge) for edge in edges), ("NodeAdded", forged), ("NodeUpdated", forged),
                        ("NodePartiallyUpdated", partial), ("Sync", {"Nodes": [forged], "Edges": None}),
                        ("OriginGraphDeleted", "agent.victim"), ("HostGraphDeleted", "victim"))
            client.sync()
            client.close()
            for before in (lo, host):
                now = element(daemon, f"G.V('{before['ID']}')")
                assert now and now["Metadata"]["Name"] == before["Metadata"]["Name"], path
                assert now["Origin"] == "agent.victim"
        for kind, found in (("node", lo), ("node", host), *(("edge", edge) for edge in edges)):
            assert daemon.request("DELETE", f"/api/{kind}/{found['ID']}")[0] == 403


def test_a_publisher_with_the_name_of_an_agent_is_refused(tmp_path):
    with Daemon(tmp_path) as daemon:
        agent = WebSocket(daemon, "/ws/agent/topology", "agent", "remote")
        agent.send(("NodeAdded", {"ID": "n", "Metadata": {}, "Origin": "agent.remote"}))
        agent.sync()
        for path in ("/ws/publisher", "/ws/pubsub"):
            publisher = WebSocket(daemon, path, "agent", "remote")
            assert publisher.receive()[0] == 8, "closed"
        assert element(daemon, "G.V('n')")["Origin"] == "agent.remote"
