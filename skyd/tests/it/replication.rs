//! Replication between two analyzers.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::client::{WebSocket, get, query, request};
use crate::daemon::{Daemon, Folder, until};
use crate::http::node;

/// Connection to a daemon that has opened it: the other end is an analyzer of this test.
type Accepted = tokio_tungstenite::tungstenite::WebSocket<TcpStream>;

/// Accepts a connection for replication as the analyzer `fake`.
#[expect(clippy::result_large_err, reason = "signature required by tungstenite")]
fn accept(listener: &TcpListener) -> Accepted {
    let (stream, _) = listener.accept().unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let introduce = |request: &Request, mut response: Response| {
        assert_eq!(request.uri().path(), "/ws/replication");
        for (name, value) in [("X-Host-ID", "fake"), ("X-Service-Type", "analyzer")] {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        Ok(response)
    };
    tokio_tungstenite::tungstenite::accept_hdr(stream, introduce).unwrap()
}

/// Returns the next message of a type.
fn next_of(socket: &mut Accepted, kind: &str) -> Value {
    loop {
        let message = socket.read().unwrap();
        if !(message.is_text() || message.is_binary()) {
            continue;
        }
        let message: Value = serde_json::from_slice(&message.into_data()).unwrap();
        if message["Type"] == kind {
            return message;
        }
    }
}

fn graph_message(kind: &str, object: &Value) -> String {
    json!({"Namespace": "Graph", "Type": kind, "UUID": "u", "Status": 200, "Obj": object})
        .to_string()
}

/// Starts an analyzer that connects to another one.
fn peer_of(other: &Daemon, name: &str) -> Daemon {
    let addresses = format!("analyzers={}", other.address);
    Daemon::with(&[&format!("host_id={name}"), &addresses])
}

fn publisher(daemon: &Daemon, name: &str) -> WebSocket {
    let headers = [
        ("X-Client-Type", "pub"),
        ("X-Host-ID", name),
        ("X-Persistence-Policy", "DeleteOnDisconnect"),
    ];
    WebSocket::open(daemon, "/ws/publisher", &headers)
}

fn count(daemon: &Daemon, id: &str) -> usize {
    let found = query(daemon, &format!("G.V().Has('Name', '{id}')"));
    found.as_array().unwrap().len()
}

#[test]
fn both_analyzers_have_the_elements_of_both() {
    let first = Daemon::with(&["host_id=an"]);
    let mut early = publisher(&first, "early");
    early.send_graph("NodeAdded", node("e1"));
    early.sync(json!({}));
    let second = peer_of(&first, "bn");
    until("the first Sync", || count(&second, "e1") == 1);
    let status = get(&second, "/api/status").json();
    let outgoer = &status["Peers"]["Outgoers"]["an"];
    assert_eq!(
        (&outgoer["IsConnected"], &outgoer["RemoteServiceType"]),
        (&json!(true), &json!("analyzer"))
    );
    let status = get(&first, "/api/status").json();
    assert_eq!(status["Peers"]["Incomers"]["bn"]["ServiceType"], "analyzer");
    assert_eq!(status["Peers"]["Outgoers"], json!({}));
    let mut late = publisher(&second, "late");
    late.send_graph("NodeAdded", node("l1"));
    until("the other direction", || count(&first, "l1") == 1);
    // A change of the whole metadata, by REST on the analyzer that has a copy.
    let patch = br#"[{"op":"add","path":"/Metadata/K","value":1}]"#;
    let patched = request(&second, "PATCH", "/api/node/e1", &[], patch);
    assert_eq!(patched.status, 200);
    until("the patch", || {
        query(&first, "G.V('e1').Values('K')") == json!([1])
    });
    drop(early);
    until("the deletion", || count(&second, "e1") == 0);
    assert_eq!(count(&first, "l1"), 1);
}

#[test]
fn peers_receive_the_effects_of_rules() {
    let first = Daemon::with(&["host_id=an"]);
    let second = peer_of(&first, "bn");
    let mut writer = publisher(&first, "w");
    writer.send_graph("NodeAdded", node("w1"));
    until("the copy", || count(&second, "w1") == 1);
    for (kind, rule) in [
        (
            "noderule",
            json!({"Action": "create", "Metadata": {"Name": "r1", "Type": "x"}}),
        ),
        (
            "noderule",
            json!({"Action": "update", "Query": "G.V('w1')", "Metadata": {"K": 1}}),
        ),
        (
            "edgerule",
            json!({"Src": "G.V('w1')", "Dst": "G.V().Has('Name', 'r1')",
                   "Metadata": {"RelationType": "wire"}}),
        ),
    ] {
        let path = format!("/api/{kind}");
        let made = request(&first, "POST", &path, &[], rule.to_string().as_bytes());
        assert_eq!(made.status, 201, "{}", made.text());
    }
    until("the created node", || count(&second, "r1") == 1);
    until("the edge", || {
        query(&second, "G.V('w1').Out().Count()") == json!(1)
    });
    until("the key", || {
        query(&second, "G.V('w1').Values('K')") == json!([1])
    });
    let mut changed = node("w1");
    changed["Revision"] = json!(2);
    changed["Metadata"]["L"] = json!(2);
    writer.send_graph("NodeUpdated", changed);
    until("the update of the publisher, with the key", || {
        query(&second, "G.V().Has('L', 2).Values('K')") == json!([1])
    });
}

/// Skydive before v0.27 ignores partial updates, and no release announces what it accepts.
#[test]
fn a_peer_without_an_update_policy_receives_whole_elements() {
    let analyzer = Daemon::with(&["host_id=an"]);
    let mut writer = publisher(&analyzer, "w");
    let open = |name: &str, policy: Option<&str>| {
        let mut headers = vec![("X-Client-Type", "analyzer"), ("X-Host-ID", name)];
        headers.extend(policy.map(|policy| ("X-Update-Policy", policy)));
        let mut peer = WebSocket::open(&analyzer, "/ws/replication", &headers);
        assert_eq!(peer.message()["Type"], "Sync");
        peer
    };
    let peers = [
        (open("skydive", None), "NodeUpdated"),
        (open("skyd", Some("partial")), "NodePartiallyUpdated"),
    ];
    let mut changed = node("n1");
    writer.send_graph("NodeAdded", changed.clone());
    changed["Revision"] = json!(5);
    changed["Metadata"]["Changed"] = json!(true);
    writer.send_graph("NodeUpdated", changed);
    for (mut peer, update) in peers {
        assert_eq!(peer.message()["Type"], "NodeAdded");
        assert_eq!(peer.message()["Type"], update);
    }
}

#[test]
fn what_was_deleted_during_an_outage_does_not_return() {
    let folder = Folder::new();
    let first = Daemon::with(&["host_id=an"]);
    let address = format!("analyzers={}", first.address);
    let mut second = Daemon::in_folder(&folder.0, &["host_id=bn", &address]);
    let listen = format!("analyzer.listen={}", second.address);
    let mut of_first = publisher(&first, "f");
    let mut of_second = publisher(&second, "s");
    of_first.send_graph("NodeAdded", node("f1"));
    of_first.send_graph("NodeAdded", node("f2"));
    of_second.send_graph("NodeAdded", node("s1"));
    until("the copies", || {
        count(&second, "f2") == 1 && count(&first, "s1") == 1
    });
    second.stop(Signal::KILL);
    of_first.send_graph("NodeDeleted", node("f1"));
    of_first.sync(json!({}));
    let second = Daemon::in_folder(&folder.0, &["host_id=bn", &address, &listen]);
    until("the Sync", || count(&second, "f2") == 1);
    assert_eq!((count(&second, "f1"), count(&first, "f1")), (0, 0));
    until("the end of the copy", || count(&first, "s1") == 0);
}

#[test]
fn an_analyzer_that_was_connected_to_sends_its_graph_on_request_and_requests_the_other() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("analyzers={}", listener.local_addr().unwrap());
    let analyzer = Daemon::with(&["host_id=an", &address]);
    let mut writer = publisher(&analyzer, "w");
    let mut fake = accept(&listener);
    next_of(&mut fake, "Sync");
    writer.send_graph("NodeAdded", node("n1"));
    next_of(&mut fake, "NodeAdded");
    fake.send(graph_message("SyncRequest", &json!({})).into())
        .unwrap();
    assert_eq!(next_of(&mut fake, "Sync")["Obj"]["Nodes"][0]["ID"], "n1");
    let mut foreign = node("f1");
    foreign["Revision"] = json!(1);
    fake.send(graph_message("NodeAdded", &foreign).into())
        .unwrap();
    let update = json!({"ID": "f1", "Revision": 2, "Ops": null});
    let update = graph_message("NodePartiallyUpdated", &update);
    fake.send(update.into()).unwrap();
    next_of(&mut fake, "SyncRequest");
    foreign["Revision"] = json!(2);
    foreign["Metadata"]["K"] = json!("new");
    let sync = graph_message("Sync", &json!({"Nodes": [foreign]}));
    fake.send(sync.into()).unwrap();
    until("the content of the update", || {
        query(&analyzer, "G.V('f1').Values('K')") == json!(["new"])
    });
}

#[test]
fn an_analyzer_that_has_connected_is_asked_for_the_content_of_an_update() {
    let analyzer = Daemon::with(&["host_id=an"]);
    let headers = [("X-Client-Type", "analyzer"), ("X-Host-ID", "fake")];
    let mut fake = WebSocket::open(&analyzer, "/ws/replication", &headers);
    assert_eq!(fake.message()["Type"], "Sync");
    fake.send_graph("NodeAdded", node("f1"));
    let update = json!({"ID": "f1", "Revision": 2, "Ops": null});
    fake.send_graph("NodePartiallyUpdated", update);
    assert_eq!(fake.message()["Type"], "SyncRequest");
}

#[test]
fn three_analyzers_in_a_circle_do_not_repeat_changes() {
    let first = Daemon::with(&["host_id=a"]);
    let second = peer_of(&first, "b");
    let addresses = format!("analyzers={} {}", first.address, second.address);
    let third = Daemon::with(&["host_id=c", &addresses]);
    let is_complete = |daemon: &Daemon| {
        get(daemon, "/api/status").json()["Peers"]["Outgoers"]
            .as_object()
            .is_some_and(|peers| {
                peers.len() == 2 && peers.values().all(|peer| peer["IsConnected"] == true)
            })
    };
    until("all connections", || is_complete(&third));
    let mut writer = publisher(&first, "w");
    for i in 0..50 {
        writer.send_graph("NodeAdded", node(&format!("n{i}")));
    }
    let all = json!(50);
    until("all copies", || {
        [&second, &third]
            .iter()
            .all(|an| query(an, "G.V().Count()") == all)
    });
    drop(writer);
    for analyzer in [&first, &second, &third] {
        until("the end", || query(analyzer, "G.V().Count()") == json!(0));
    }
}

#[test]
fn an_analyzer_that_lists_itself_does_not_connect_to_itself() {
    let mut analyzer = Daemon::with(&["host_id=me"]);
    let listen = format!("analyzer.listen={}", analyzer.address);
    let address = format!("analyzers={}", analyzer.address);
    analyzer.stop(Signal::TERM);
    let analyzer = Daemon::with(&["host_id=me", &listen, &address]);
    let own = analyzer.address.to_string();
    until("the attempt", || {
        let status = get(&analyzer, "/api/status").json();
        status["Peers"]["Outgoers"][&own]["Error"] == "this analyzer"
    });
    assert_eq!(
        get(&analyzer, "/api/status").json()["Peers"]["Incomers"],
        json!({})
    );
}

#[test]
fn clusters_exchange_the_selected_part() {
    let east = Daemon::with(&["host_id=east-1"]);
    let mut of_east = publisher(&east, "e");
    of_east.send_graph("NodeAdded", node("e1"));
    of_east.sync(json!({}));
    let peer = |key: &str, value: &str| format!("analyzer.peers.east.{key}={value}");
    let settings = [
        "host_id=west-1".to_owned(),
        "analyzer.cluster=west".to_owned(),
        peer("endpoints", &east.address.to_string()),
        peer("subscribe_filter", "*"),
        peer("publish_filter", "Name=w1"),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let west = Daemon::with(&settings);
    until("the part of the other cluster", || count(&west, "e1") == 1);
    let mut of_west = publisher(&west, "w");
    of_west.send_graph("NodeAdded", node("w0"));
    of_west.send_graph("NodeAdded", node("w1"));
    until("the published node", || count(&east, "w1") == 1);
    assert_eq!(count(&east, "w0"), 0, "not selected");
    assert_eq!(
        query(&east, "G.V().Has('Name', 'w1')")[0]["Origin"],
        "analyzer.west-1"
    );
    // Updates make a node part of the selection, and end that.
    let name = |revision: u32, name: &str| {
        let op = json!({"Type": 1, "Key": "Name", "Value": name});
        json!({"ID": "w0", "Revision": revision, "Ops": [op]})
    };
    let related = json!({"RelationType": "layer2"});
    of_west.send_graph(
        "EdgeAdded",
        json!({"ID": "we", "Parent": "w0", "Child": "w1", "Metadata": related}),
    );
    of_west.send_graph("NodePartiallyUpdated", name(2, "w1"));
    until("the node that is selected now", || count(&east, "w1") == 2);
    until("its edge", || query(&east, "G.E().Count()") == json!(1));
    of_west.send_graph("NodePartiallyUpdated", name(3, "other"));
    until("the end of its selection", || {
        query(&east, "G.V().Count()") == json!(2)
    });
    of_east.send_graph("NodeDeleted", node("e1"));
    of_west.send_graph("NodeDeleted", node("w1"));
    until("the deletions", || {
        count(&west, "e1") == 0 && count(&east, "w1") == 0
    });
}
