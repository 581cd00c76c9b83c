//! Malicious and broken WebSocket clients.

use serde_json::json;

use crate::client::{BINARY, PING, TEXT, WebSocket, get, query};
use crate::daemon::{Daemon, until};
use crate::http::node;

const WHO: (&str, &str) = ("X-Client-Type", "test");

const ENDPOINTS: [&str; 4] = [
    "/ws/subscriber",
    "/ws/publisher",
    "/ws/pubsub",
    "/ws/agent/topology",
];

/// JSON of every type, none of which is a valid message.
const WRONG: [&str; 16] = [
    "null",
    "true",
    "-1",
    "1e400",
    "\"text\"",
    "[]",
    "[null]",
    "[[]]",
    "{}",
    r#"{"ID":null,"Nodes":[null],"Edges":null,"Ops":null,"Time":-9223372036854775808}"#,
    r#"{"ID":5,"Nodes":{},"Edges":"x","Ops":{},"Time":1.5,"GremlinFilter":[]}"#,
    r#"{"ID":"x","Parent":"x","Child":"x","Metadata":{"Name":"","Type":null},"Revision":-1}"#,
    r#"{"ID":"x","Metadata":[],"CreatedAt":"now","UpdatedAt":-1,"DeletedAt":{},"Revision":"1"}"#,
    r#"{"ID":"x","Revision":9223372036854775807,"Ops":[{"Type":9,"Key":5,"Value":{}}]}"#,
    r#"{"ID":"x","Revision":2,"Ops":[{"Type":1,"Key":"","Value":{}},{"Type":2,"Key":"..."},null]}"#,
    r#"{"Nodes":[{"ID":"a"},{"ID":"a"},5],"Edges":[{"ID":"e","Parent":"a","Child":"zz"}]}"#,
];

const KINDS: [&str; 14] = [
    "Sync",
    "SyncReply",
    "SyncRequest",
    "NodeAdded",
    "NodeUpdated",
    "NodeDeleted",
    "NodePartiallyUpdated",
    "EdgeAdded",
    "EdgeUpdated",
    "EdgeDeleted",
    "EdgePartiallyUpdated",
    "StartReply",
    "TableResult",
    "",
];

#[test]
fn no_message_type_accepts_invalid_objects() {
    let daemon = Daemon::start();
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let nested = r#"{"a":"#.repeat(10_000) + "1" + &"}".repeat(10_000);
    for path in ENDPOINTS {
        let mut socket = WebSocket::open(&daemon, path, &[WHO]);
        for namespace in ["Graph", "OnDemandCapture", "Flow", "graph"] {
            for kind in KINDS {
                for object in WRONG {
                    socket.send(format!(
                        r#"{{"Namespace":"{namespace}","Type":"{kind}","Obj":{object}}}"#
                    ));
                }
                if namespace != "Graph" {
                    continue;
                }
                for object in [&deep, &nested] {
                    let metadata = format!(r#"{{"ID":"deep","Metadata":{object}}}"#);
                    let ops = format!(
                        r#"{{"ID":"deep","Ops":[{{"Type":1,"Key":"k","Value":{object}}}]}}"#
                    );
                    for object in [object, &metadata, &ops] {
                        socket.send(format!(
                            r#"{{"Namespace":"{namespace}","Type":"{kind}","Obj":{object}}}"#
                        ));
                    }
                }
            }
        }
        assert_eq!(socket.sync(json!({}))["Status"], 200, "{path}");
    }
    // The reply may belong to an earlier request; the memory is checked once all are read.
    until("the added nodes are deleted", || {
        query(&daemon, "G.V().Has('@ID', Within('x', 'deep')).Count()") == json!(0)
    });
}

#[test]
fn invalid_envelopes_are_dropped() {
    let daemon = Daemon::start();
    for path in ENDPOINTS {
        for protocol in ["json", "protobuf"] {
            let headers = [WHO, ("X-Client-Protocol", protocol)];
            let mut socket = WebSocket::open(&daemon, path, &headers);
            for junk in [
                &b""[..],
                b"\0",
                b"{",
                b"{}{}",
                b"[1,2",
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                b"\x0a\xff\xff\xff\xff\x0f",
                b"\x0b\x0b\x0b\x0b",
                b"\x0a\x02\xc3\x28",
                b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x28\xff\xff\xff\xff\x0f\x32\x01{",
                b"{\"Namespace\":\"Graph\",\"Type\":\"SyncRequest\",\"UUID\":{}}",
                b"{\"Namespace\":\"Graph\",\"Namespace\":5}",
                b"{\"Namespace\":\"\\ud800\",\"Type\":\"\xff\"}",
            ] {
                socket.send_frame(0x80 | TEXT, junk);
                socket.send_frame(0x80 | BINARY, junk);
            }
            let request = match protocol {
                "json" => &br#"{"Namespace":"Graph","Type":"SyncRequest"}"#[..],
                _ => b"\x0a\x05Graph\x12\x0bSyncRequest",
            };
            socket.send_frame(0x80 | TEXT, request);
            assert!(socket.next().is_some(), "{path} {protocol}");
        }
    }
}

#[test]
fn many_fragments_are_one_message_or_exceed_the_limit() {
    let daemon = Daemon::with(&["http.limits.ws_message_bytes=100000"]);
    let mut socket = WebSocket::open(&daemon, "/ws/publisher", &[WHO]);
    // Many empty fragments with pings between them, then the message.
    socket.send_frame(TEXT, b"");
    for i in 0..20_000 {
        socket.send_frame(0, b"");
        if i % 5_000 == 0 {
            socket.send_frame(0x80 | PING, b"p");
        }
    }
    socket.send_frame(0x80, br#"{"Namespace":"Graph","Type":"SyncRequest"}"#);
    assert_eq!(socket.message()["Type"], "SyncReply");
    // Too many bytes in total, although no single frame is too long.
    socket.send_frame(TEXT, b"{");
    for _ in 0..200 {
        socket.send_frame(0, &[b' '; 1_000]);
    }
    assert_eq!(socket.closed().0, Some(1009));
    assert_eq!(get(&daemon, "/api").status, 200);
}

#[test]
fn rejected_clients_leave_nothing_behind() {
    let daemon = Daemon::start();
    WebSocket::open(&daemon, "/ws/subscriber", &[WHO]);
    until("its descriptor is closed", || daemon.descriptors() < 40);
    let before = daemon.descriptors();
    let mut held = Vec::new();
    for i in 0..300 {
        let refused = match i % 3 {
            0 => vec![("X-Client-Protocol", "raw")],
            1 => vec![WHO, ("X-Client-Protocol", "xml")],
            _ => vec![WHO, ("X-Gremlin-Filter", "G.V(")],
        };
        let socket = WebSocket::try_open(&daemon, ENDPOINTS[i % 3], &refused);
        // Half of the clients disconnect; the others never read.
        if i % 2 == 0 {
            held.push(socket);
        }
    }
    until("their descriptors are closed", || {
        daemon.descriptors() <= before + 1
    });
    drop(held);
    assert_eq!(get(&daemon, "/api").status, 200);
}

#[test]
fn a_subscriber_of_many_namespaces_receives_each_message_once() {
    let daemon = Daemon::start();
    let names: String = (0..1_500)
        .map(|i| format!("&x-websocket-namespace=n{}", i % 900))
        .collect();
    let path = format!("/ws/subscriber?x-client-type=test{names}&x-websocket-namespace=Graph");
    let mut many: Vec<WebSocket> = (0..20)
        .map(|_| WebSocket::open(&daemon, &path, &[]))
        .collect();
    let mut publisher = WebSocket::open(&daemon, "/ws/publisher", &[WHO]);
    for i in 0..50 {
        publisher.send_graph("NodeAdded", node(&format!("n{i}")));
    }
    for socket in &mut many {
        for i in 0..50 {
            assert_eq!(socket.event(), format!("NodeAdded n{i}"));
        }
    }
}

#[test]
fn endless_requests_do_not_accumulate() {
    let daemon = Daemon::start();
    let mut publisher = WebSocket::open(&daemon, "/ws/publisher", &[WHO]);
    for i in 0..50 {
        publisher.send_graph("NodeAdded", node(&format!("n{i}")));
    }
    publisher.sync(json!({}));
    // The clients send requests and do not read; each has another filter.
    let mut asking: Vec<WebSocket> = (0..20)
        .map(|_| WebSocket::open(&daemon, "/ws/subscriber", &[WHO]))
        .collect();
    for i in 0..100 {
        for socket in &mut asking {
            let filter = format!("G.V().Has('Name', Regex('n{}.*')).SubGraph()", i % 10);
            socket.send_graph("SyncRequest", json!({ "GremlinFilter": filter }));
        }
    }
    // Other clients are answered in the meantime.
    assert_eq!(query(&daemon, "G.V().Count()"), json!(50));
    publisher.send_graph("NodeAdded", node("last"));
    publisher.sync(json!({}));
    for socket in &mut asking {
        let replies = std::iter::from_fn(|| Some(socket.message()))
            .filter(|message| message["Type"] == "SyncReply")
            .take(100);
        assert!(replies.into_iter().all(|reply| reply["Status"] == 200));
    }
}

#[test]
fn extreme_numbers_are_preserved_or_rejected() {
    let daemon = Daemon::start();
    let mut publisher = WebSocket::open(&daemon, "/ws/publisher", &[WHO]);
    for (id, time, revision) in [
        ("least", i64::MIN, i64::MIN),
        ("most", i64::MAX, i64::MAX),
        ("minus", -1, -1),
    ] {
        let mut element = node(id);
        element["CreatedAt"] = json!(time);
        element["UpdatedAt"] = json!(time);
        element["Revision"] = json!(revision);
        publisher.send_graph("NodeAdded", element.clone());
        publisher.send_graph("NodeUpdated", element.clone());
        let patch = json!({"ID": id, "UpdatedAt": time, "Revision": revision.saturating_add(1),
                           "Ops": [{"Type": 1, "Key": "N", "Value": time}]});
        publisher.send_graph("NodePartiallyUpdated", patch);
        element["DeletedAt"] = json!(time);
        publisher.send_graph("NodeDeleted", element);
    }
    for time in [i64::MIN, -1, 1, i64::MAX] {
        let reply = publisher.sync(json!({"Time": time, "GremlinFilter": "G.V().SubGraph()"}));
        assert_eq!(reply["Type"], "SyncReply", "{time}");
    }
    let mut subscriber = WebSocket::open(&daemon, "/ws/subscriber", &[WHO]);
    for time in [i64::MIN, -1, 1, i64::MAX] {
        let reply = subscriber.sync(json!({"Time": time, "GremlinFilter": "G.V().SubGraph()"}));
        assert!(reply["Status"] == 200 || reply["Status"] == 400, "{reply}");
    }
    assert_eq!(query(&daemon, "G.V().Count()"), json!(0));
}
