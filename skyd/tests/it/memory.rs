//! Tests of `http.limits.memory` and of the limits on elements: memory used on behalf of clients is
//! charged, and a rejected client does not affect others.

use serde_json::json;

use crate::client::{BINARY, Connection, WebSocket, get, post, query, request};
use crate::daemon::{Daemon, until};
use crate::http::node;

/// Adds nodes whose metadata contains a string of `bytes` bytes.
fn publish(daemon: &Daemon, count: usize, bytes: usize) -> WebSocket {
    let headers = [("X-Client-Type", "test"), ("X-Host-ID", "publisher")];
    let mut socket = WebSocket::open(daemon, "/ws/publisher", &headers);
    for i in 0..count {
        send_blob(&mut socket, "NodeAdded", i, 1, bytes);
    }
    until("the nodes are added", || {
        query(daemon, "G.V().Count()") == count
    });
    socket
}

fn send_blob(socket: &mut WebSocket, kind: &str, i: usize, revision: i64, bytes: usize) {
    let blob = format!("{revision}{}", "b".repeat(bytes));
    let metadata = json!({"Name": format!("n{i}"), "Type": "t", "Blob": blob});
    socket.send_graph(
        kind,
        json!({"ID": format!("n{i}"), "Metadata": metadata, "Revision": revision}),
    );
}

/// Sends a query and does not read the response.
fn ask(daemon: &Daemon, gremlin: &str, accept: &str) -> Connection {
    let body = json!({ "GremlinQuery": gremlin }).to_string();
    let length = body.len();
    let mut connection = Connection::open(daemon);
    connection.send(format!(
        "POST /api/topology HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    ));
    connection
}

/// Returns the memory of the process, in bytes.
fn resident(daemon: &Daemon) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: usize = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib << 10
}

fn used(daemon: &Daemon, purpose: &str) -> u64 {
    let memory = &get(daemon, "/api/status").json()["Memory"];
    memory["Uses"][purpose].as_u64().unwrap()
}

/// Answers are written while they are sent: slow readers need no memory for the serialized answer.
#[test]
fn answers_that_wait_for_their_readers_are_not_rendered() {
    let daemon = Daemon::with(&["http.limits.memory=64MiB"]);
    let _publisher = publish(&daemon, 1_000, 20_000);
    let before = resident(&daemon);
    let formats = [
        ("G.V().Values('Blob')", "*/*"),
        ("G.V()", "*/*"),
        ("G", "text/vnd.graphviz"),
        ("G.V().ValueMap('Blob','Name')", "*/*"),
    ];
    let mut waiting: Vec<Connection> = (0..60)
        .map(|i| formats[i % formats.len()])
        .map(|(gremlin, accept)| ask(&daemon, gremlin, accept))
        .collect();
    until("the answers wait", || {
        used(&daemon, "responses") >= 45 * (512 << 10)
    });
    let more = resident(&daemon).saturating_sub(before);
    assert!(more < 60 << 20, "{more} bytes for 60 answers of 20 MB");
    assert_eq!(query(&daemon, "G.V().Count()"), 1_000);
    let first = waiting[0].answer().unwrap();
    assert_eq!(first.json().as_array().unwrap().len(), 1_000);
    drop(waiting);
    until("the memory is released", || used(&daemon, "responses") == 0);
}

#[test]
fn an_answer_that_does_not_fit_is_refused_and_named() {
    // A stream in progress is charged 512 KiB.
    let daemon = Daemon::with(&["http.limits.memory=2900KiB"]);
    let _publisher = publish(&daemon, 500, 20_000);
    let waiting: Vec<Connection> = (0..5).map(|_| ask(&daemon, "G.V()", "*/*")).collect();
    until("the answers wait", || {
        used(&daemon, "responses") >= 5 * (512 << 10)
    });
    let refused = post(&daemon, "/api/topology", r#"{"GremlinQuery":"G.V()"}"#);
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(
        refused.text().contains("http.limits.memory"),
        "{}",
        refused.text()
    );
    assert_eq!(query(&daemon, "G.V().Count()"), 500, "a small answer fits");
    let metrics = get(&daemon, "/metrics").text();
    assert!(metrics.contains("skyd_client_memory_refused_total{use=\"responses\"} 1\n"));
    drop(waiting);
    until("an answer fits again", || {
        post(&daemon, "/api/topology", r#"{"GremlinQuery":"G.V()"}"#).status == 200
    });
}

/// The reply to a protobuf client is counted first and then written in pieces.
#[test]
fn the_graph_is_sent_in_pieces_in_both_encodings() {
    let daemon = Daemon::with(&["http.limits.memory=64MiB"]);
    let _publisher = publish(&daemon, 500, 20_000);
    let before = resident(&daemon);
    let request = b"\x0a\x05Graph\x12\x0bSyncRequest\x1a\x01u\x32\x02{}";
    let open = |i: usize| {
        let name = i.to_string();
        let headers = [
            ("X-Client-Type", "test"),
            ("X-Client-Protocol", "protobuf"),
            ("X-Host-ID", name.as_str()),
        ];
        let mut socket = WebSocket::open(&daemon, "/ws/subscriber", &headers);
        socket.send_frame(0x80 | BINARY, request);
        socket
    };
    let mut waiting: Vec<WebSocket> = (0..20).map(open).collect();
    until("the replies wait", || {
        used(&daemon, "responses") > 19 * (256 << 10)
    });
    let more = resident(&daemon).saturating_sub(before);
    assert!(more < 60 << 20, "{more} bytes for 20 replies of 10 MB");
    let (opcode, message) = waiting[7].next().unwrap();
    assert_eq!(opcode, BINARY);
    assert!(waiting[7].most_fragments > 100);
    let marker = b"{\"Nodes\"";
    let begin = message.windows(marker.len()).position(|w| w == marker);
    let begin = begin.unwrap();
    let object: serde_json::Value = serde_json::from_slice(&message[begin..]).unwrap();
    assert_eq!(object["Nodes"].as_array().unwrap().len(), 500);
}

/// Readers hold the revisions that the graph replaces in the meantime; the oldest reader is
/// disconnected.
#[test]
fn slow_readers_do_not_pin_revisions_without_bound() {
    // A quarter of the memory is for old revisions: 10 MiB, less than the graph.
    // Without the history, whose memory has its own limit.
    let daemon = Daemon::with(&[
        "http.limits.memory=40MiB",
        "analyzer.topology.backend=memory",
    ]);
    let mut publisher = publish(&daemon, 200, 100_000);
    let mut readers = Vec::new();
    for round in 0..6 {
        let mut reader = Connection::open(&daemon);
        reader.send("GET /api/topology HTTP/1.1\r\nHost: localhost\r\n\r\n");
        readers.push(reader);
        until("the reader is served", || used(&daemon, "responses") > 0);
        for i in 0..200 {
            send_blob(&mut publisher, "NodeUpdated", i, round + 2, 100_000);
        }
        until("the graph has changed", || {
            let blob = &query(&daemon, "G.V('n199').Values('Blob')")[0];
            blob.as_str().unwrap().starts_with(&(round + 2).to_string())
        });
        until("the readers end", || used(&daemon, "revisions") <= 10 << 20);
    }
    // The memory that they hold is bounded, whatever the number of readers and changes.
    assert!(resident(&daemon) < 200 << 20, "{}", resident(&daemon));
    assert_eq!(query(&daemon, "G.V().Count()"), 200);
    drop(readers);
    until("the revisions are released", || {
        used(&daemon, "revisions") == 0
    });
}

#[test]
fn elements_are_limited_for_every_writer() {
    let daemon = Daemon::with(&[
        "graph.max_element_bytes=100KiB",
        "graph.max_bytes=1MiB",
        "http.limits.nodes=30",
    ]);
    let mut publisher = publish(&daemon, 9, 90_000);
    send_blob(&mut publisher, "NodeAdded", 100, 1, 200_000);
    for i in 10..13 {
        send_blob(&mut publisher, "NodeAdded", i, 1, 90_000);
    }
    for i in 200..260 {
        send_blob(&mut publisher, "NodeAdded", i, 1, 10);
    }
    until("the node limit is reached", || {
        query(&daemon, "G.V().Count()") == 30
    });
    assert_eq!(query(&daemon, "G.V().Has('Name','n100').Count()"), 0);
    assert_eq!(query(&daemon, "G.V().Has('Name','n12').Count()"), 0);
    until("the rejections are counted", || {
        get(&daemon, "/api/status").json()["Queues"]["MessagesDropped"].as_u64() >= Some(30)
    });
    // The same limits for REST, with the configuration key in the message.
    let full = post(&daemon, "/api/node", &node("full").to_string());
    assert_eq!(
        (full.status, full.text().contains("http.limits.nodes")),
        (403, true)
    );
    let mut large = node("large");
    large["Metadata"]["Blob"] = "x".repeat(200_000).into();
    assert_eq!(post(&daemon, "/api/node", &large.to_string()).status, 403);
    let copies: Vec<_> = (0..5)
        .map(|i| json!({"op": "copy", "from": "/Metadata/Blob", "path": format!("/Metadata/B{i}")}))
        .collect();
    let patch = json!(copies).to_string();
    let patched = request(&daemon, "PATCH", "/api/node/n1", &[], patch.as_bytes());
    assert_eq!(patched.status, 403, "{}", patched.text());
    assert!(
        patched.text().contains("graph.max_element_bytes"),
        "{}",
        patched.text()
    );
}

#[test]
fn a_patch_is_charged_by_bytes() {
    let daemon = Daemon::with(&["http.limits.memory=32MiB"]);
    let mut large = node("large");
    large["Metadata"]["Blob"] = "x".repeat(1_000_000).into();
    assert_eq!(post(&daemon, "/api/node", &large.to_string()).status, 201);
    let patch = |count: usize| {
        let copies = (0..count).map(
            |i| json!({"op": "copy", "from": "/Metadata/Blob", "path": format!("/Metadata/B{i}")}),
        );
        let text = json!(copies.collect::<Vec<_>>()).to_string();
        request(&daemon, "PATCH", "/api/node/large", &[], text.as_bytes())
    };
    let refused = patch(1_000);
    assert_eq!(refused.status, 400);
    assert!(
        refused.text().contains("more than 16777216 bytes"),
        "{}",
        refused.text()
    );
    assert_eq!(patch(2).status, 200);
    assert_eq!(used(&daemon, "patches"), 0);
    let small = Daemon::with(&["http.limits.memory=4MiB"]);
    assert_eq!(post(&small, "/api/node", &large.to_string()).status, 503);
}

#[test]
fn long_identities_are_refused() {
    let daemon = Daemon::start();
    let long = "x".repeat(257);
    for header in ["X-Host-ID", "X-Client-Type", "X-Client-Protocol"] {
        let headers = [("X-Client-Type", "test"), (header, long.as_str())];
        let headers = &headers[usize::from(header == "X-Client-Type")..];
        let Err(refused) = WebSocket::try_open(&daemon, "/ws/subscriber", headers) else {
            panic!("{header} was accepted");
        };
        assert_eq!(refused.status, 400, "{header}");
    }
    let longest = "x".repeat(256);
    let headers = [("X-Client-Type", "test"), ("X-Host-ID", longest.as_str())];
    WebSocket::open(&daemon, "/ws/subscriber", &headers);
}

/// libpcap cannot be interrupted, so an expensive filter is rejected before it is compiled.
#[test]
fn packet_filters_are_limited_by_their_cost() {
    let daemon = Daemon::start();
    let ports = |count: usize| {
        let all: Vec<String> = (0..count).map(|i| format!("port {i}")).collect();
        all.join(" or ")
    };
    let capture = |filter: &str| {
        let capture = json!({"GremlinQuery": "G.V().Has('Name','none')", "BPFFilter": filter});
        post(&daemon, "/api/capture", &capture.to_string())
    };
    let refused = capture(&ports(300));
    assert_eq!(refused.status, 400);
    assert!(
        refused.text().contains("too expensive"),
        "{}",
        refused.text()
    );
    assert_eq!(capture(&ports(20)).status, 201);
    let gremlin = format!("G.Flows().RawPackets().BPF('{}')", ports(300));
    let body = json!({ "GremlinQuery": gremlin }).to_string();
    let refused = post(&daemon, "/api/topology", &body);
    assert_eq!(refused.status, 400, "{}", refused.text());
}
