//! Live queries on `/ws/subscriber` and `/ws/pubsub`: the namespace `Live`.

use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::{Value, json};

use crate::client::{WebSocket, get, query};
use crate::daemon::{Daemon, until};
use crate::http::node;

/// Client that receives only messages of its live queries.
fn client(daemon: &Daemon) -> WebSocket {
    let headers = [("X-Client-Type", "test"), ("X-Websocket-Namespace", "Live")];
    WebSocket::open(daemon, "/ws/subscriber", &headers)
}

fn publisher(daemon: &Daemon) -> WebSocket {
    WebSocket::open(daemon, "/ws/publisher", &[("X-Client-Type", "test")])
}

fn send_live(socket: &mut WebSocket, kind: &str, name: &str, object: Value) {
    let message = json!({"Namespace": "Live", "Type": kind, "UUID": name, "Obj": object});
    socket.send(message.to_string());
}

fn follow(socket: &mut WebSocket, name: &str, text: &str) {
    send_live(socket, "Query", name, json!({"GremlinQuery": text}));
}

fn typed(id: &str, kind: &str) -> Value {
    let mut node = node(id);
    node["Metadata"]["Type"] = json!(kind);
    node
}

/// Returns type, name, status and object of the next message.
fn next_live(socket: &mut WebSocket) -> (String, String, i64, Value) {
    let message = socket.message();
    assert_eq!(message["Namespace"], "Live", "{message}");
    let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
    let status = message["Status"].as_i64().unwrap_or_default();
    (text("Type"), text("UUID"), status, message["Obj"].clone())
}

/// Applies the changes of a message to a list.
fn apply(list: &mut Vec<Value>, changes: &Value) {
    for change in changes.as_array().unwrap() {
        let index = |key: &str| change[key].as_u64().unwrap() as usize;
        match change["Change"].as_str().unwrap() {
            "Entered" => list.insert(index("At"), change["Item"].clone()),
            "Changed" => {
                list.remove(index("From"));
                list.insert(index("At"), change["Item"].clone());
            }
            "Left" => drop(list.remove(index("At"))),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn changes_follow_an_answer_until_the_query_is_cancelled() {
    let daemon = Daemon::start();
    let mut publisher = publisher(&daemon);
    publisher.send_graph("NodeAdded", typed("a", "bridge"));
    until("the node is in the graph", || {
        query(&daemon, "G.V().Has('@ID', 'a').Count()") == json!(1)
    });
    let mut socket = client(&daemon);
    follow(
        &mut socket,
        "bridges",
        "G.V().Has('Type','bridge').Sort('Name').Values('Name')",
    );
    let (kind, name, status, object) = next_live(&mut socket);
    assert_eq!(
        (kind.as_str(), name.as_str(), status),
        ("Answer", "bridges", 200)
    );
    assert_eq!(
        (&object["Kind"], &object["Answer"]),
        (&json!("values"), &json!(["a"]))
    );
    let first = object["Sequence"].as_u64().unwrap();

    publisher.send_graph("NodeAdded", typed("other", "device"));
    publisher.send_graph("NodeAdded", typed("b", "bridge"));
    let (kind, _, _, object) = next_live(&mut socket);
    let entered = json!([{"Change": "Entered", "At": 1, "Key": "\"b\"", "Item": "b"}]);
    assert_eq!((kind.as_str(), &object["Changes"]), ("Changes", &entered));
    assert!(object["Sequence"].as_u64().unwrap() > first);
    publisher.send_graph("NodeDeleted", typed("a", "bridge"));
    let left = json!([{"Change": "Left", "At": 0, "Key": "\"a\""}]);
    assert_eq!(next_live(&mut socket).3["Changes"], left);

    send_live(&mut socket, "Cancel", "bridges", Value::Null);
    let cancelled = (
        "Cancelled".to_owned(),
        "bridges".to_owned(),
        200,
        Value::Null,
    );
    assert_eq!(next_live(&mut socket), cancelled);
    publisher.send_graph("NodeAdded", typed("c", "bridge"));
    until("the node is in the graph", || {
        query(&daemon, "G.V().Has('@ID', 'c').Count()") == json!(1)
    });
    // The next message answers the next request; the name can be used again.
    follow(&mut socket, "bridges", "G.V().Has('Type','bridge').Count()");
    let (kind, _, _, object) = next_live(&mut socket);
    assert_eq!((kind.as_str(), &object["Answer"]), ("Answer", &json!(2)));
    publisher.send_graph("NodeAdded", typed("d", "bridge"));
    let changed = json!([{"Change": "Changed", "From": 0, "At": 0, "Key": "", "Item": 3}]);
    assert_eq!(next_live(&mut socket).3["Changes"], changed);
    let status = || get(&daemon, "/api/status").json()["Live"].clone();
    until("only the second query remains", || status()["Queries"] == 1);
    until("its answer has one item", || status()["Items"] == 1);
    drop(socket);
    until("no query remains", || status()["Queries"] == 0);
}

#[test]
fn errors_are_reported_with_their_position() {
    let daemon = Daemon::with(&["http.limits.live_queries=2", "live.max_items=3"]);
    let mut publisher = publisher(&daemon);
    let mut socket = client(&daemon);
    let mut wrong = |kind: &str, name: &str, object: Value| {
        send_live(&mut socket, kind, name, object);
        let (kind, _, status, object) = next_live(&mut socket);
        assert_eq!(kind, "Error");
        (status, object)
    };
    let query_object = |text: &str| json!({"GremlinQuery": text});
    let (status, object) = wrong("Query", "q", query_object("G.V().Hass('Type')"));
    assert_eq!((status, &object["Offset"]), (400, &json!(6)));
    let text = object["Error"].as_str().unwrap();
    assert!(
        text.starts_with("Expected step function, got: Hass\n"),
        "{text}"
    );
    let (status, object) = wrong("Query", "q", query_object("G.V('nobody')"));
    assert_eq!((status, &object["Offset"]), (400, &json!(2)));
    for object in [
        Value::Null,
        json!([]),
        json!({"GremlinQuery": 5}),
        json!("G.V()"),
        query_object(""),
    ] {
        assert_eq!(wrong("Query", "q", object).0, 400);
    }
    assert_eq!(wrong("Query", "", query_object("G")).0, 400);
    assert_eq!(wrong("Query", &"x".repeat(200), query_object("G")).0, 400);
    assert_eq!(wrong("Watch", "q", query_object("G")).0, 400);

    follow(&mut socket, "one", "G.V()");
    follow(&mut socket, "two", "G.E()");
    for _ in 0..2 {
        assert_eq!(next_live(&mut socket).0, "Answer");
    }
    let mut refused = |name: &str| {
        follow(&mut socket, name, "G");
        next_live(&mut socket).2
    };
    assert_eq!((refused("one"), refused("three")), (409, 429));
    send_live(&mut socket, "Cancel", "three", Value::Null);
    let (kind, _, status, object) = next_live(&mut socket);
    assert_eq!((kind.as_str(), status), ("Cancelled", 404));
    assert_eq!(object["Error"], "no live query is named \"three\"");
    // Not even a valid envelope: ignored as usual.
    socket.send("{\"Namespace\":\"Live\"");

    // One result exceeds its limit; the other query continues.
    for id in ["a", "b", "c", "d"] {
        publisher.send_graph("NodeAdded", node(id));
    }
    let error = loop {
        match next_live(&mut socket) {
            (kind, name, _, object) if kind == "Error" => {
                assert_eq!(name, "one");
                break object["Error"].as_str().unwrap().to_owned();
            }
            (kind, ..) => assert_eq!(kind, "Changes"),
        }
    };
    assert!(error.contains("3"), "{error}");
    let edge =
        json!({"ID": "e", "Parent": "a", "Child": "b", "Metadata": {"RelationType": "layer2"}});
    publisher.send_graph("EdgeAdded", edge);
    let (kind, name, _, object) = next_live(&mut socket);
    assert_eq!((kind.as_str(), name.as_str()), ("Changes", "two"));
    assert_eq!(object["Changes"][0]["Key"], "e");
}

#[test]
fn a_query_that_fails_temporarily_sends_its_answer_again() {
    let daemon = Daemon::start();
    let mut publisher = publisher(&daemon);
    publisher.send_graph("NodeAdded", node("a"));
    until("the node is in the graph", || {
        query(&daemon, "G.V().Has('@ID', 'a').Count()") == json!(1)
    });
    let mut socket = client(&daemon);
    follow(&mut socket, "q", "G.V('a').Values('Name')");
    assert_eq!(next_live(&mut socket).0, "Answer");
    publisher.send_graph("NodeDeleted", node("a"));
    let (kind, name, status, object) = next_live(&mut socket);
    assert_eq!((kind.as_str(), name.as_str(), status), ("Failed", "q", 400));
    assert_eq!(object["Offset"], 2);
    publisher.send_graph("NodeAdded", node("a"));
    let (kind, _, _, object) = next_live(&mut socket);
    assert_eq!(
        (kind.as_str(), &object["Answer"]),
        ("Answer", &json!(["a"]))
    );
}

/// One client does not read while the graph changes many times; another receives all updates.
#[test]
fn a_client_that_stops_reading_blocks_no_other_and_receives_the_final_answer() {
    let daemon = Daemon::with(&["live.interval=1ms"]);
    let mut publisher = publisher(&daemon);
    let mut large = node("a");
    large["Metadata"]["Pad"] = json!("x".repeat(20_000));
    publisher.send_graph("NodeAdded", large);
    let mut sockets = [client(&daemon), client(&daemon)];
    set_socket_recv_buffer_size(&sockets[0].connection.stream, 65_536).unwrap();
    let mut lists: [Vec<Value>; 2] = Default::default();
    let mut receive = |sockets: &mut [WebSocket; 2], which: usize| {
        let list = &mut lists[which];
        match next_live(&mut sockets[which]) {
            (kind, _, _, object) if kind == "Answer" => {
                *list = object["Answer"].as_array().unwrap().clone();
            }
            (kind, _, _, object) if kind == "Changes" => apply(list, &object["Changes"]),
            other => panic!("{other:?}"),
        }
        list.first()
            .and_then(|node| node["Metadata"]["V"].as_i64())
            .unwrap_or_default()
    };
    for socket in &mut sockets {
        follow(socket, "q", "G.V()");
    }
    let last = 3_000;
    for version in 1..=last {
        let ops = json!([{"Type": 1, "Key": "V", "Value": version}]);
        publisher.send_graph(
            "NodePartiallyUpdated",
            json!({"ID": "a", "Revision": version + 1, "Ops": ops}),
        );
    }
    while receive(&mut sockets, 1) < last {}
    let mut messages = 0;
    while receive(&mut sockets, 0) < last {
        messages += 1;
    }
    assert!(
        messages < last,
        "changes are merged while the client does not read"
    );
}

#[test]
fn several_queries_and_the_graph_share_one_connection() {
    let daemon = Daemon::start();
    let headers = [("X-Client-Type", "test")];
    for path in ["/ws/subscriber", "/ws/pubsub"] {
        let mut publisher = publisher(&daemon);
        let mut socket = WebSocket::open(&daemon, path, &headers);
        let id = path.replace('/', "-");
        follow(&mut socket, "nodes", &format!("G.V().Has('Name','{id}')"));
        follow(
            &mut socket,
            "count",
            &format!("G.V().Has('Name','{id}').Count()"),
        );
        follow(
            &mut socket,
            "graph",
            &format!("G.V().Has('Name','{id}').SubGraph()"),
        );
        let mut names: Vec<String> = (0..3).map(|_| next_live(&mut socket).1).collect();
        names.sort();
        assert_eq!(names, ["count", "graph", "nodes"]);
        publisher.send_graph("NodeAdded", node(&id));
        let mut received: Vec<String> = (0..4)
            .map(|_| {
                let message = socket.message();
                match message["Namespace"].as_str().unwrap() {
                    "Graph" => message["Type"].as_str().unwrap().to_owned(),
                    _ => message["UUID"].as_str().unwrap().to_owned(),
                }
            })
            .collect();
        received.sort();
        assert_eq!(received, ["NodeAdded", "count", "graph", "nodes"]);
    }
}

/// Protobuf envelopes contain objects as JSON strings.
#[test]
fn the_protobuf_encoding_is_supported() {
    let daemon = Daemon::start();
    let headers = [("X-Client-Type", "test"), ("X-Client-Protocol", "protobuf")];
    let mut socket = WebSocket::open(&daemon, "/ws/subscriber", &headers);
    // Namespace, type, UUID and object by their field numbers.
    let mut message = Vec::new();
    let object = br#"{"GremlinQuery":"G.V().Count()"}"#;
    for (field, bytes) in [(1, &b"Live"[..]), (2, b"Query"), (3, b"q"), (6, object)] {
        message.push(field << 3 | 2);
        message.push(bytes.len() as u8);
        message.extend_from_slice(bytes);
    }
    socket.send_frame(0x82, &message);
    let (opcode, bytes) = socket.next().unwrap();
    assert_eq!(opcode, 2);
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.contains(r#""Kind":"number""#) && text.contains(r#""Answer":0"#),
        "{text}"
    );
}

/// Queries cancelled while they wait for a slot have no further effect, not even an error under a
/// name that another query uses by then.
#[test]
fn repeated_queries_and_cancellations_free_the_name() {
    let daemon = Daemon::with(&["http.limits.queries=1"]);
    let mut socket = client(&daemon);
    let count = 500;
    for _ in 0..count {
        follow(&mut socket, "q", "G.V().Count()");
        send_live(&mut socket, "Cancel", "q", Value::Null);
    }
    follow(&mut socket, "q", "G.V().Values('Name')");
    let mut cancelled = 0;
    while cancelled < count {
        match next_live(&mut socket) {
            (kind, _, 200, _) if kind == "Cancelled" => cancelled += 1,
            (kind, _, 200, object) if kind == "Answer" => assert_eq!(object["Kind"], "number"),
            other => panic!("{other:?}"),
        }
    }
    let (kind, name, _, object) = next_live(&mut socket);
    assert_eq!((kind.as_str(), name.as_str()), ("Answer", "q"));
    assert_eq!(object["Kind"], "values");
    assert_eq!(get(&daemon, "/api/status").json()["Live"]["Queries"], 1);
}
