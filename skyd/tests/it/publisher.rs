//! `/ws/publisher` and `/ws/pubsub`: clients that write to the graph.

use serde_json::json;

use crate::client::{CLOSE, WebSocket, query, request};
use crate::daemon::{Daemon, until};
use crate::http::node;

fn client(daemon: &Daemon, path: &str, id: &str, more: &[(&str, &str)]) -> WebSocket {
    let mut headers = vec![("X-Client-Type", "test"), ("X-Host-ID", id)];
    headers.extend(more);
    WebSocket::open(daemon, path, &headers)
}

#[test]
fn published_elements_have_the_origin_of_their_publisher() {
    let daemon = Daemon::start();
    let mut publisher = client(&daemon, "/ws/publisher", "p", &[]);
    let mut claims = node("a");
    claims["Origin"] = json!("agent.other");
    publisher.send_graph("NodeAdded", claims.clone());
    claims["ID"] = json!("b");
    publisher.send_graph("Sync", json!({"Nodes": [node("a"), claims]}));
    publisher.sync(json!({}));
    let origins = query(&daemon, "G.V().Values('@Origin')");
    assert_eq!(origins, json!(["test.p", "test.p"]));
}

#[test]
fn invalid_messages_have_no_effect() {
    let daemon = Daemon::start();
    let mut publisher = client(&daemon, "/ws/publisher", "p", &[]);
    for (kind, object) in [
        ("NodeAdded", json!({"ID": "x"})),
        (
            "NodeAdded",
            json!({"ID": "", "Metadata": {"Name": "x", "Type": "device"}}),
        ),
        ("NodeAdded", json!([])),
        ("NodeAdded", json!(null)),
        ("Sync", json!(null)),
        ("Sync", json!({"Nodes": [null]})),
        ("SyncReply", json!({})),
        (
            "EdgeAdded",
            json!({"ID": "e", "Parent": "a", "Child": "b", "Metadata": {"RelationType": "x"}}),
        ),
        ("NodeDeleted", node("absent")),
        (
            "NodePartiallyUpdated",
            json!({"ID": "absent", "Revision": 3, "Ops": []}),
        ),
        ("Nonsense", json!({})),
    ] {
        publisher.send_graph(kind, object);
    }
    publisher.send_graph("NodeAdded", node("good"));
    let reply = publisher.sync(json!({}));
    assert_eq!(reply["Obj"]["Nodes"].as_array().unwrap().len(), 1);
    assert_eq!(reply["Obj"]["Nodes"][0]["ID"], "good");
    let log = daemon.log();
    assert!(
        log.contains("dropped a message of a client") && log.contains("Name is required"),
        "{log}"
    );
    // A Go program whose lists are empty sends `null` for them.
    publisher.send_graph("Sync", json!({"Nodes": null, "Edges": null}));
    let reply = publisher.sync(json!({}));
    assert_eq!(reply["Obj"]["Nodes"], json!([]));
}

#[test]
fn elements_of_a_publisher_may_be_deleted_with_it() {
    let daemon = Daemon::start();
    let mut subscriber = client(&daemon, "/ws/subscriber", "s", &[]);
    let policy = [("X-Persistence-Policy", "DeleteOnDisconnect")];
    let mut leaving = client(&daemon, "/ws/publisher", "leaving", &policy);
    let mut staying = client(&daemon, "/ws/publisher", "staying", &[]);
    leaving.send_graph("NodeAdded", node("a"));
    leaving.sync(json!({}));
    staying.send_graph("NodeAdded", node("b"));
    staying.sync(json!({}));
    drop(staying);
    drop(leaving);
    let events: Vec<String> = (0..3).map(|_| subscriber.event()).collect();
    assert_eq!(events, ["NodeAdded a", "NodeAdded b", "NodeDeleted a"]);
    assert_eq!(query(&daemon, "G.V().Values('Name')"), json!(["b"]));
}

#[test]
fn a_pubsub_client_receives_all_changes_but_its_own() {
    let daemon = Daemon::start();
    for filter in [
        "",
        "G.V().Has('Type', 'device').SubGraph()",
        "G.V().Limit(9).SubGraph()",
    ] {
        let filter = [("X-Gremlin-Filter", filter)];
        let mut one = client(&daemon, "/ws/pubsub", "one", &filter);
        let mut two = client(&daemon, "/ws/pubsub", "two", &filter);
        one.send_graph("NodeAdded", node("of-one"));
        assert_eq!(two.event(), "NodeAdded of-one");
        two.send_graph("NodeAdded", node("of-two"));
        assert_eq!(one.event(), "NodeAdded of-two", "{filter:?}");
        two.send_graph("NodeDeleted", node("of-one"));
        assert_eq!(one.event(), "NodeDeleted of-one", "{filter:?}");
        one.send_graph("NodeDeleted", node("of-two"));
        assert_eq!(two.event(), "NodeDeleted of-two", "{filter:?}");
        // The reply is the next message: no other was sent.
        one.send_graph("SyncRequest", json!({}));
        assert_eq!(one.message()["Type"], "SyncReply");
        drop((one, two));
        until("all clients are disconnected", || {
            client_count(&daemon) == 0
        });
    }
}

#[test]
fn no_client_may_publish_under_the_name_of_the_probes() {
    let daemon = Daemon::with(&["host_id=here"]);
    for path in ["/ws/publisher", "/ws/pubsub"] {
        let headers = [("X-Client-Type", "agent"), ("X-Host-ID", "here")];
        let mut socket = WebSocket::try_open(&daemon, path, &headers).unwrap();
        // An accepted client receives a ping first.
        assert_eq!(socket.frame().unwrap().opcode, CLOSE, "{path}");
    }
    client(&daemon, "/ws/publisher", "elsewhere", &[]);
}

/// Metadata that captures rely on can only be changed by the probes, here those of an agent.
#[test]
fn only_probes_may_change_the_metadata_that_captures_use() {
    let daemon = Daemon::with(&["host_id=here"]);
    let mut agent = WebSocket::open(
        &daemon,
        "/ws/agent/topology",
        &[("X-Client-Type", "agent"), ("X-Host-ID", "here")],
    );
    let mut probed = node("ns");
    probed["Origin"] = json!("agent.here");
    probed["Metadata"] = json!({"Type": "netns", "Name": "blue", "Path": "/run/netns/blue"});
    agent.send_graph("NodeAdded", probed.clone());
    agent.sync(json!({}));
    let paths = || query(&daemon, "G.V('ns').Values('Path')");
    let mut elsewhere = WebSocket::open(
        &daemon,
        "/ws/agent/topology",
        &[("X-Client-Type", "agent"), ("X-Host-ID", "elsewhere")],
    );
    let mut publisher = client(&daemon, "/ws/publisher", "p", &[]);
    for socket in [&mut publisher, &mut elsewhere] {
        let mut moved = node("ns");
        moved["Metadata"] = json!({"Type": "netns", "Name": "blue", "Path": "/tmp/pipe"});
        moved["Revision"] = json!(100);
        socket.send_graph("NodeUpdated", moved);
        let op = json!({"Type": 1, "Key": "Path", "Value": "/tmp/pipe"});
        let update = json!({"ID": "ns", "Revision": 100, "Ops": [op]});
        socket.send_graph("NodePartiallyUpdated", update);
        socket.sync(json!({}));
        assert_eq!(paths(), json!(["/run/netns/blue"]));
    }
    // Other clients may add keys, and the agent itself may change its own.
    let op = json!({"Type": 1, "Key": "Ext", "Value": 1});
    let update = json!({"ID": "ns", "Revision": 100, "Ops": [op]});
    publisher.send_graph("NodePartiallyUpdated", update);
    publisher.sync(json!({}));
    assert_eq!(query(&daemon, "G.V('ns').Values('Ext')"), json!([1]));
    let patch = br#"[{"op": "add", "path": "/Metadata/Path", "value": "/tmp/pipe"}]"#;
    let ignored = request(&daemon, "PATCH", "/api/node/ns", &[], patch);
    assert_eq!(ignored.status, 304, "{}", ignored.text());
    let op = json!({"Type": 1, "Key": "Path", "Value": "/run/netns/red"});
    let update = json!({"ID": "ns", "Revision": 101, "Ops": [op]});
    agent.send_graph("NodePartiallyUpdated", update);
    agent.sync(json!({}));
    assert_eq!(paths(), json!(["/run/netns/red"]));
}

/// The probes would not write deleted elements again, and another client could take their ids.
#[test]
fn only_probes_may_delete_what_they_wrote() {
    let daemon = Daemon::with(&["host_id=here"]);
    let open_agent = |id: &str| {
        let headers = [("X-Client-Type", "agent"), ("X-Host-ID", id)];
        WebSocket::open(&daemon, "/ws/agent/topology", &headers)
    };
    let (mut here, mut remote) = (open_agent("here"), open_agent("remote"));
    let mut publisher = client(&daemon, "/ws/publisher", "p", &[]);
    for (agent, origin) in [(&mut here, "agent.here"), (&mut remote, "agent.remote")] {
        for id in ["a", "b"] {
            let mut probed = node(&format!("{origin}-{id}"));
            probed["Origin"] = json!(origin);
            agent.send_graph("NodeAdded", probed);
        }
        let edge = json!({"ID": format!("{origin}-e"), "Parent": format!("{origin}-a"),
                          "Child": format!("{origin}-b"), "Origin": origin,
                          "Metadata": {"RelationType": "layer2"}});
        agent.send_graph("EdgeAdded", edge.clone());
        agent.sync(json!({}));
        publisher.send_graph("EdgeDeleted", edge);
    }
    let counts = || {
        (
            query(&daemon, "G.V().Count()"),
            query(&daemon, "G.E().Count()"),
        )
    };
    for (socket, origin) in [
        (&mut publisher, "agent.here"),
        (&mut remote, "agent.here"),
        (&mut here, "agent.remote"),
    ] {
        let mut forged = node(&format!("{origin}-a"));
        forged["DeletedAt"] = json!(1);
        forged["Origin"] = json!(origin);
        socket.send_graph("NodeDeleted", forged);
        socket.sync(json!({}));
        assert_eq!(counts(), (json!(4), json!(2)));
    }
    let path = "/api/node/agent.here-a";
    let refused = request(&daemon, "DELETE", path, &[], b"");
    assert_eq!(refused.status, 403);
    let text = "elements of agent.here can only be deleted by its probes\n";
    assert_eq!(refused.text(), text);
    assert_eq!(
        request(&daemon, "DELETE", "/api/edge/agent.here-e", &[], b"").status,
        403
    );
    // The publisher's own element, and the probes themselves.
    publisher.send_graph("NodeAdded", node("mine"));
    publisher.send_graph("NodeDeleted", node("mine"));
    here.send_graph("NodeDeleted", node("agent.here-a"));
    here.sync(json!({}));
    publisher.sync(json!({}));
    assert_eq!(counts(), (json!(3), json!(1)));
}

/// Returns the connections other than the requesting one; the status does not list `/ws/pubsub`.
fn client_count(daemon: &Daemon) -> u64 {
    let status = crate::client::get(daemon, "/api/status").json();
    status["Queues"]["Connections"].as_u64().unwrap() - 1
}

#[test]
fn a_large_load_arrives_completely_and_in_order() {
    let daemon = Daemon::start();
    let mut publisher = client(&daemon, "/ws/publisher", "p", &[]);
    for i in 0..3_000 {
        publisher.send_graph("NodeAdded", node(&format!("n{i}")));
        if i > 0 {
            let (parent, child) = (format!("n{}", i - 1), format!("n{i}"));
            let edge = json!({"ID": format!("e{i}"), "Parent": parent, "Child": child,
                              "Metadata": {"RelationType": "layer2"}});
            publisher.send_graph("EdgeAdded", edge);
        }
    }
    let reply = publisher.sync(json!({}));
    assert_eq!(reply["Obj"]["Nodes"].as_array().unwrap().len(), 3_000);
    assert_eq!(reply["Obj"]["Edges"].as_array().unwrap().len(), 2_999);
    assert!(
        publisher.most_fragments > 5,
        "a large graph is sent in several fragments"
    );
}
