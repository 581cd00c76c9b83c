//! `/ws/subscriber`: events, synchronization, filters.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::{Value, json};
use skylib::time::{Clock, SystemClock};

use crate::client::{TEXT, WebSocket, get, post, query};
use crate::daemon::{Daemon, until};
use crate::http::node;

fn client(daemon: &Daemon, path: &str, more: &[(&str, &str)]) -> WebSocket {
    let mut headers = vec![("X-Client-Type", "test")];
    headers.extend(more);
    WebSocket::open(daemon, path, &headers)
}

fn patch(id: &str, revision: i64, key: &str, value: Value) -> Value {
    json!({"ID": id, "Revision": revision, "Ops": [{"Type": 1, "Key": key, "Value": value}]})
}

#[test]
fn updates_contain_whole_elements_or_only_the_changes() {
    let daemon = Daemon::start();
    let mut full = client(&daemon, "/ws/subscriber", &[]);
    let mut partial = client(&daemon, "/ws/subscriber?x-update-policy=Partial", &[]);
    let mut publisher = client(&daemon, "/ws/publisher", &[]);
    publisher.send_graph("NodeAdded", node("a"));
    publisher.send_graph(
        "NodePartiallyUpdated",
        patch("a", 5, "Ext.Id", json!("p-1")),
    );
    for socket in [&mut full, &mut partial] {
        assert_eq!(socket.event(), "NodeAdded a");
    }
    let update = full.message();
    assert_eq!(
        (&update["Type"], &update["Obj"]["Revision"]),
        (&json!("NodeUpdated"), &json!(5))
    );
    assert_eq!(update["Obj"]["Metadata"]["Ext"], json!({"Id": "p-1"}));
    let update = partial.message();
    assert_eq!(update["Type"], "NodePartiallyUpdated");
    assert_eq!(
        update["Obj"]["Ops"],
        json!([{"Type": 1, "Key": "Ext.Id", "Value": "p-1"}])
    );
    assert_eq!(update["Obj"].get("Metadata"), None);
}

/// A client that applies the reply and then each event must end with the current graph, however the
/// two race.
#[test]
fn a_reply_and_the_events_after_it_are_complete() {
    let daemon = Daemon::start();
    let mut publisher = client(&daemon, "/ws/publisher", &[]);
    for i in 0..50 {
        publisher.send_graph("NodeAdded", node(&format!("n{i}")));
    }
    publisher.sync(json!({}));
    let writer = std::thread::spawn(move || {
        for round in 1..40 {
            for i in 0..50 {
                let id = format!("n{i}");
                match (round + i) % 7 {
                    0 => publisher.send_graph("NodeDeleted", node(&id)),
                    1 => publisher.send_graph("NodeAdded", node(&id)),
                    _ => publisher
                        .send_graph("NodePartiallyUpdated", patch(&id, round, "R", json!(round))),
                }
            }
        }
        publisher.send_graph("NodeAdded", node("last"));
        publisher.sync(json!({}))
    });
    let mut states: Vec<BTreeMap<String, Value>> = Vec::new();
    for _ in 0..4 {
        let mut socket = client(&daemon, "/ws/subscriber", &[]);
        let reply = socket.sync(json!({}));
        let mut nodes: BTreeMap<String, Value> = BTreeMap::new();
        for node in reply["Obj"]["Nodes"].as_array().unwrap() {
            nodes.insert(
                node["ID"].as_str().unwrap().to_owned(),
                node["Metadata"].clone(),
            );
        }
        while !nodes.contains_key("last") {
            let message = socket.message();
            let id = message["Obj"]["ID"].as_str().unwrap().to_owned();
            match message["Type"].as_str().unwrap() {
                "NodeDeleted" => drop(nodes.remove(&id)),
                _ => drop(nodes.insert(id, message["Obj"]["Metadata"].clone())),
            }
        }
        states.push(nodes);
    }
    let truth = writer.join().unwrap();
    let truth: BTreeMap<String, Value> = truth["Obj"]["Nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            (
                node["ID"].as_str().unwrap().to_owned(),
                node["Metadata"].clone(),
            )
        })
        .collect();
    for state in states {
        assert_eq!(state, truth);
    }
}

/// The graph is requested while the daemon sends many events.
#[test]
fn no_event_after_a_reply_is_older_than_it() {
    let daemon = Daemon::with(&["http.limits.ws_queue_bytes=256MiB"]);
    let filter = [("X-Gremlin-Filter", "G.V().Has('Pad').SubGraph()")];
    let mut sockets = [&[][..], &filter].map(|more| {
        let socket = client(&daemon, "/ws/subscriber", more);
        set_socket_recv_buffer_size(&socket.connection.stream, 65_536).unwrap();
        socket
    });
    let mut publisher = client(&daemon, "/ws/publisher", &[]);
    let mut large = node("a");
    large["Metadata"]["Pad"] = json!("x".repeat(5_000));
    publisher.send_graph("NodeAdded", large);
    let mut update = |version: i64| {
        let change = patch("a", version, "V", json!(version));
        publisher.send_graph("NodePartiallyUpdated", change);
    };
    // More bytes than the buffers of a socket hold.
    (1..=6_000).for_each(&mut update);
    until("all is applied", || {
        query(&daemon, "G.V().Values('V')") == json!([6_000])
    });
    for socket in &mut sockets {
        socket.send_graph("SyncRequest", json!({}));
    }
    for (socket, end) in sockets.iter_mut().zip(6_001..) {
        let mut last = 0;
        while last < end {
            let message = socket.message();
            let mut node = &message["Obj"];
            if message["Type"] == "SyncReply" {
                node = &node["Nodes"][0];
                update(end);
            }
            let version = node["Metadata"]["V"].as_i64().unwrap_or_default();
            assert!(version >= last, "{version} after {last}");
            last = version;
        }
    }
}

#[test]
fn filters_on_single_nodes_and_on_the_whole_graph_follow_changes() {
    let daemon = Daemon::start();
    let mut publisher = client(&daemon, "/ws/publisher", &[]);
    let local = "G.V().Has('Color', 'red').SubGraph()";
    let wide = "G.V().Has('Color', 'red').Dedup().Limit(100).SubGraph()";
    let mut sockets = [local, wide]
        .map(|filter| client(&daemon, "/ws/subscriber", &[("X-Gremlin-Filter", filter)]));
    publisher.send_graph("NodeAdded", node("a"));
    publisher.send_graph("NodeAdded", node("b"));
    let edge = json!({"ID": "e", "Parent": "a", "Child": "b", "Metadata": {"RelationType": "x"}});
    publisher.send_graph("EdgeAdded", edge);
    let mut check_events =
        |publisher: &mut WebSocket, kind: &str, object: Value, wanted: &[&str]| {
            publisher.send_graph(kind, object);
            publisher.sync(json!({}));
            for socket in &mut sockets {
                let events: Vec<String> = wanted.iter().map(|_| socket.event()).collect();
                assert_eq!(events, wanted);
            }
        };
    let color = |id, revision, color: &str| patch(id, revision, "Color", json!(color));
    let update = "NodePartiallyUpdated";
    check_events(
        &mut publisher,
        update,
        color("a", 2, "red"),
        &["NodeAdded a", "NodeUpdated a"],
    );
    check_events(
        &mut publisher,
        update,
        color("b", 2, "red"),
        &["NodeAdded b", "EdgeAdded e", "NodeUpdated b"],
    );
    check_events(
        &mut publisher,
        update,
        color("a", 3, "blue"),
        &["NodeDeleted a", "EdgeDeleted e"],
    );
    check_events(&mut publisher, "NodeDeleted", node("b"), &["NodeDeleted b"]);
}

#[test]
fn a_filter_that_fails_for_the_present_does_not_select_everything() {
    let daemon = Daemon::start();
    let mut publisher = client(&daemon, "/ws/publisher", &[]);
    let red = ("X-Gremlin-Filter", "G.V().Has('Color', 'red').SubGraph()");
    let mut socket = client(&daemon, "/ws/subscriber", &[red]);
    publisher.send_graph("NodeAdded", node("x"));
    publisher.sync(json!({}));
    let past = SystemClock.now().as_ms() + 1;
    while SystemClock.now().as_ms() <= past {
        std::thread::sleep(Duration::from_millis(1));
    }
    publisher.send_graph("NodeDeleted", node("x"));
    publisher.sync(json!({}));
    let request = json!({"GremlinFilter": "G.V('x').SubGraph()", "Time": past});
    assert_eq!(socket.sync(request)["Status"], 400);
    publisher.send_graph("NodeAdded", node("y"));
    publisher.sync(json!({}));
    let reply = socket.sync(json!({}));
    assert_eq!(reply["Obj"]["Nodes"], json!([]), "the filter is as before");
}

#[test]
fn events_wait_while_the_memory_is_exhausted() {
    let daemon = Daemon::with(&["http.limits.memory=12MiB"]);
    let wide = "G.V().Has('Color', 'red').Dedup().Limit(100).SubGraph()";
    let mut socket = client(&daemon, "/ws/subscriber", &[("X-Gremlin-Filter", wide)]);
    let used = || get(&daemon, "/api/status").json()["Memory"]["Uses"]["requests"].as_u64();
    // The first fragments of messages, which exhaust the memory until the connections end.
    let holders: Vec<WebSocket> = (10..=22)
        .rev()
        .map(|bits| {
            let name = format!("holder-{bits}");
            let mut holder = client(&daemon, "/ws/publisher", &[("X-Host-ID", &name)]);
            holder.send_frame(TEXT, &vec![b' '; 1 << bits]);
            holder
        })
        .collect();
    until("the fragments are counted", || used() >= Some(11 << 20));
    let metadata = json!({"Name": "n", "Type": "device", "Color": "red"});
    let red = json!({"ID": "n", "Metadata": metadata}).to_string();
    assert_eq!(post(&daemon, "/api/node", &red).status, 201);
    std::thread::sleep(Duration::from_millis(300));
    drop(holders);
    assert_eq!(socket.event(), "NodeAdded n");
}

#[test]
fn an_invalid_filter_is_answered_with_the_text_of_the_original() {
    let daemon = Daemon::start();
    let mut socket = client(&daemon, "/ws/subscriber", &[("X-Host-ID", "me")]);
    for (filter, text) in [
        ("G.V(", "Invalid Gremlin filter 'G.V(' for client me"),
        ("G.V()", "Gremlin query 'G.V()' did not return a graph"),
    ] {
        let reply = socket.sync(json!({ "GremlinFilter": filter }));
        assert_eq!(
            (&reply["Status"], &reply["Obj"]),
            (&json!(400), &json!(text))
        );
    }
    let failing = "G.V('absent').SubGraph()";
    assert_eq!(
        socket.sync(json!({ "GremlinFilter": failing }))["Status"],
        400
    );
    assert_eq!(
        socket.sync(json!({}))["Status"],
        200,
        "the view is as before"
    );
    // COMPAT: a client that names its type is a client of Skydive, which closes with 1000.
    let bad = ("X-Gremlin-Filter", "G.V(");
    for (headers, wanted) in [
        (&[("X-Client-Type", "test"), bad][..], 1000),
        (&[bad], 1008),
    ] {
        let mut refused = WebSocket::try_open(&daemon, "/ws/subscriber", headers).expect("101");
        let (code, reason, ends) = refused.closed_because();
        assert_eq!((code, ends), (Some(wanted), true));
        assert!(reason.starts_with("X-Gremlin-Filter: "), "{reason}");
    }
}

#[test]
fn namespaces_select_messages_including_replies() {
    let daemon = Daemon::start();
    let notes = [("X-Websocket-Namespace", "OnDemandCaptureNotification")];
    let mut socket = client(&daemon, "/ws/subscriber", &notes);
    socket.send_graph("SyncRequest", json!({}));
    crate::http::fill(&daemon, 3);
    let created = post(
        &daemon,
        "/api/capture",
        r#"{"GremlinQuery":"G.V().Has('Name','x')"}"#,
    );
    let message = socket.message();
    assert_eq!(message["Namespace"], "OnDemandCaptureNotification");
    assert_eq!(
        (&message["Type"], &message["Obj"]["UUID"]),
        (&json!("Added"), &created.json()["UUID"])
    );
}

#[test]
fn a_client_that_never_reads_blocks_no_other_and_is_disconnected() {
    let daemon = Daemon::with(&["http.ws.queue_size=10", "http.limits.write_timeout=1"]);
    let mut alive = client(&daemon, "/ws/subscriber", &[]);
    let frozen = client(&daemon, "/ws/subscriber", &[("X-Host-ID", "frozen")]);
    let mut publisher = client(&daemon, "/ws/publisher", &[]);
    let reader = std::thread::spawn(move || {
        for i in 0..400 {
            assert_eq!(alive.event(), format!("NodeAdded n{i}"));
        }
        alive
    });
    for i in 0..400 {
        let mut big = node(&format!("n{i}"));
        big["Metadata"]["Blob"] = json!("y".repeat(100_000));
        publisher.send_graph("NodeAdded", big);
    }
    reader.join().unwrap();
    assert_eq!(query(&daemon, "G.V().Count()"), 400);
    until("the frozen client is disconnected", || {
        let status = get(&daemon, "/api/status").json();
        status["Queues"]["GraphSubscribersCutOff"] == 1 && status["Subscribers"]["frozen"].is_null()
    });
    drop(frozen);
}
