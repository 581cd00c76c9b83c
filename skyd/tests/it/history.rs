//! Queries about the past, over HTTP and WebSocket.

use serde_json::{Value, json};

use crate::client::{WebSocket, get, post, query};
use crate::daemon::Daemon;

fn client(daemon: &Daemon, path: &str) -> WebSocket {
    WebSocket::open(daemon, path, &[("X-Client-Type", "test")])
}

/// Returns a revision of a node, as a publisher with another clock sends it.
fn node(id: &str, revision: i64, seconds: i64) -> Value {
    json!({
        "ID": id,
        "Metadata": {"Name": id, "Type": "device", "Round": revision},
        "Host": "h",
        "Origin": "test.h",
        "CreatedAt": 1_700_000_000_000_i64,
        "UpdatedAt": 1_700_000_000_000_i64 + seconds * 1000,
        "Revision": revision,
    })
}

fn names(graph: &Value) -> Vec<String> {
    let nodes = graph["Nodes"].as_array().into_iter().flatten();
    let name = |node: &Value| format!("{} {}", node["ID"].as_str().unwrap(), node["Revision"]);
    nodes.map(name).collect()
}

#[test]
fn queries_and_requests_with_a_time_return_the_graph_at_that_time() {
    let daemon = Daemon::start();
    let mut publisher = client(&daemon, "/ws/publisher");
    publisher.send_graph("NodeAdded", node("a", 1, 0));
    publisher.send_graph("NodeUpdated", node("a", 2, 10));
    publisher.send_graph("NodeAdded", node("b", 1, 20));
    publisher.sync(json!({}));
    let count = |text: &str| query(&daemon, text);
    assert_eq!(count("G.At(1699999999).V().Count()"), 0);
    assert_eq!(count("G.At(1700000005).V().Values('Round')"), json!([1]));
    assert_eq!(count("G.At(1700000015).V().Values('Round')"), json!([2]));
    assert_eq!(count("G.At(1700000020, 20).V().Count()"), 3);
    assert_eq!(count("G.At('-1s').V().Count()"), 2);
    assert_eq!(count("G.At(NOW).Flows()"), json!([]));

    let mut subscriber = client(&daemon, "/ws/subscriber");
    let mut sync = |time: i64, filter: Value| {
        let request = json!({"Time": 1_700_000_000_000_i64 + time, "GremlinFilter": filter});
        let reply = subscriber.sync(request);
        assert_eq!(reply["Status"], 200, "{reply}");
        names(&reply["Obj"])
    };
    assert_eq!(sync(5_000, Value::Null), ["a 1"]);
    assert_eq!(sync(15_000, json!("")), ["a 2"]);
    assert_eq!(sync(25_000, json!("")), ["a 2", "b 1"]);
    assert_eq!(
        sync(5_000, json!("G.V().Has('Round', 1).SubGraph()")),
        ["a 1"]
    );
    assert_eq!(
        sync(25_000, json!("G.V().Has('Name', 'b').SubGraph()")),
        ["b 1"]
    );

    let status = get(&daemon, "/api/status").json();
    let topology = &status["History"]["Topology"];
    assert_eq!(topology["Revisions"], 1, "{status}");
    assert!(topology["Bytes"].as_u64() > Some(100) && topology["Oldest"].is_i64());
    assert_eq!(topology["Evicted"], 0);
    assert_eq!(status["History"]["Flows"]["Flows"], 0);
}

#[test]
fn the_memory_backend_has_no_history() {
    let daemon = Daemon::with(&["analyzer.topology.backend=memory"]);
    let body = json!({"GremlinQuery": "G.At(NOW).V()"}).to_string();
    let answer = post(&daemon, "/api/topology", &body);
    assert_eq!(answer.status, 400);
    let text = answer.text();
    assert_eq!(
        text.lines().next(),
        Some("Backend does not support history")
    );
    let reply = client(&daemon, "/ws/subscriber").sync(json!({"Time": 1}));
    assert_eq!(
        (&reply["Status"], &reply["Obj"]),
        (&json!(400), &Value::Null)
    );
    let history = &get(&daemon, "/api/status").json()["History"];
    assert_eq!(history["Topology"], Value::Null);
    assert!(history["Flows"].is_object());
}

#[test]
fn the_configured_limits_apply() {
    let daemon = Daemon::with(&[
        "storage.local.max_bytes=64KiB",
        "analyzer.flow.backend=memory",
    ]);
    let mut publisher = client(&daemon, "/ws/publisher");
    publisher.send_graph("NodeAdded", node("a", 1, 0));
    for revision in 2..1000 {
        publisher.send_graph("NodeUpdated", node("a", revision, revision));
    }
    publisher.sync(json!({}));
    let history = &get(&daemon, "/api/status").json()["History"];
    assert!(history["Topology"]["Bytes"].as_u64() <= Some(64 << 10));
    assert_eq!(
        query(&daemon, "G.At(1700000005).V().Values('Round')"),
        json!([5]),
        "what memory has evicted is on the disk"
    );
    assert_eq!(history["Flows"], Value::Null);
    assert_eq!(
        query(&daemon, "G.At(1700000999).V().Values('Round')"),
        json!([999])
    );
}
