//! Queries about the past, over HTTP and WebSocket.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::client::{WebSocket, get, post, query, request};
use crate::daemon::{Daemon, Folder, until};

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
fn a_folder_that_cannot_be_opened_does_not_stop_the_daemon() {
    let folder = Folder::new();
    let store = folder.0.join("store");
    std::fs::create_dir(&store).unwrap();
    std::fs::write(store.join("history"), "a file where the folder should be").unwrap();
    let daemon = Daemon::in_folder(&folder.0, &[]);
    let mut publisher = client(&daemon, "/ws/publisher");
    publisher.send_graph("NodeAdded", node("a", 1, 0));
    publisher.sync(json!({}));
    assert_eq!(query(&daemon, "G.At(1700000005).V().Count()"), 1);
    let status = get(&daemon, "/api/status").json();
    let error = status["History"]["Error"].as_str().unwrap();
    assert!(error.contains("/history"), "{error}");
    assert!(status["History"]["Disk"].is_null(), "{status}");
    let log = daemon.log();
    let logged = "storage.local.path: cannot open the history in ";
    assert!(log.contains(logged), "{log}");
    assert_eq!(get(&daemon, "/api/history").status, 503);
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

#[test]
fn the_files_of_the_history_are_listed_sealed_and_counted() {
    let daemon = Daemon::start();
    let mut publisher = client(&daemon, "/ws/publisher");
    publisher.send_graph("NodeAdded", node("a", 1, 0));
    publisher.sync(json!({}));
    let list = get(&daemon, "/api/history").json();
    assert_eq!(list["Files"], json!([]));
    let sealed = post(&daemon, "/api/history/seal", "");
    assert_eq!(sealed.status, 200);
    let sealed = sealed.json();
    let file = &sealed["Files"][0];
    assert!(
        file["Path"].as_str().unwrap().starts_with("graph/seg-"),
        "{sealed}"
    );
    let folder = std::path::Path::new(sealed["Folder"].as_str().unwrap());
    let stored = std::fs::metadata(folder.join(file["Path"].as_str().unwrap())).unwrap();
    assert_eq!(file["Bytes"], stored.len());
    assert!(file["Rows"].as_u64() >= Some(1) && file["From"].as_i64() <= file["To"].as_i64());
    assert_eq!(get(&daemon, "/api/history").json(), sealed);

    let disk = get(&daemon, "/api/status").json()["History"]["Disk"].clone();
    assert_eq!(disk["Graph"]["Segments"], 1, "{disk}");
    assert_eq!(disk["Graph"]["Seals"], 1);
    assert_eq!(disk["Graph"]["Dropped"]["size"], 0);
    assert_eq!(disk["Flow"]["Rows"], 0);
    let metrics = get(&daemon, "/metrics").text();
    for line in [
        "skyd_history_operations_total{table=\"graph\",kind=\"seal\"} 1",
        "skyd_history_rows_dropped_total{table=\"flow\",reason=\"age\"} 0",
        "skyd_history_damaged_files 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let memory = Daemon::with(&[
        "analyzer.topology.backend=memory",
        "analyzer.flow.backend=memory",
    ]);
    assert_eq!(get(&memory, "/api/history").status, 404);
    assert_eq!(post(&memory, "/api/history/seal", "").status, 404);
}

#[test]
fn explanations_name_the_files_and_the_reasons() {
    let daemon = Daemon::start();
    let mut publisher = client(&daemon, "/ws/publisher");
    publisher.send_graph("NodeAdded", node("a", 1, 0));
    publisher.send_graph("NodeAdded", node("b", 1, 20));
    publisher.sync(json!({}));
    post(&daemon, "/api/history/seal", "");
    let explain = |query: &str| {
        let body = json!({"GremlinQuery": query, "Explain": true}).to_string();
        let answer = post(&daemon, "/api/topology", &body).json();
        let steps = answer["Steps"].as_array().unwrap().clone();
        let operations = steps
            .iter()
            .flat_map(|step| step["Operations"].as_array().unwrap());
        let files = operations.filter_map(|operation| operation["Files"].as_array());
        files.flatten().cloned().collect::<Vec<Value>>()
    };
    let reasons = |files: &[Value]| -> Vec<String> {
        let reasons = files.iter().map(|file| file["Reason"].as_str().unwrap());
        reasons.map(str::to_owned).collect()
    };
    let by_id = explain("G.At(1700000005).V('a')");
    assert!(
        reasons(&by_id).contains(&"rows of single elements, by their ids".to_owned()),
        "{by_id:?}"
    );
    let by_name = explain("G.At(1700000005).V().Has('Name', 'a')");
    assert!(
        reasons(&by_name).contains(&"all rows of the columns Name, Alias, AltNames".to_owned()),
        "{by_name:?}"
    );
    let all = explain("G.At(1700000005).V()");
    assert!(
        reasons(&all).contains(&"all rows: the whole time is restored".to_owned()),
        "{all:?}"
    );
    assert!(explain("G.V()").is_empty());
    let flows = explain("G.At(1700000005).Flows()");
    assert_eq!(reasons(&flows), ["flows that are not in a segment"]);
}

#[test]
fn answers_about_a_time_before_the_history_state_when_it_begins() {
    let daemon = Daemon::start();
    let body = json!({"GremlinQuery": "G.At('-1h').V()"}).to_string();
    let empty = post(&daemon, "/api/topology", &body);
    assert!(
        empty.header("X-History-Begins").is_some(),
        "nothing was ever recorded"
    );
    let mut publisher = client(&daemon, "/ws/publisher");
    publisher.send_graph("NodeAdded", node("a", 1, 0));
    publisher.sync(json!({}));
    let answer = |query: &str, is_explained: bool| {
        let body = json!({"GremlinQuery": query, "Explain": is_explained}).to_string();
        post(&daemon, "/api/topology", &body)
    };
    let begins = |query: &str| {
        let begins = answer(query, false)
            .header("X-History-Begins")
            .map(str::to_owned);
        let explained = answer(query, true).json()["HistoryBegins"].clone();
        assert_eq!(explained, json!(begins), "{query}");
        begins
    };
    let of_graph = begins("G.At('-1h').V()");
    let of_graph = of_graph.expect("the daemon has just been started");
    // No flow was ever stored: flows are complete since the daemon began to record the graph.
    assert_eq!(begins("G.At('-1h').Flows()"), Some(of_graph.clone()));
    assert_eq!(begins("G.At(NOW, 3600).Flows().Count()"), Some(of_graph));
    for query in ["G.V()", "G.At(NOW).V()", "G.At(NOW).Flows()"] {
        assert_eq!(begins(query), None, "{query}");
    }
}

#[test]
fn changes_include_the_events_of_resources_also_after_a_restart() {
    let folder = Folder::new();
    let daemon = Daemon::in_folder(&folder.0, &[]);
    let body = json!({"GremlinQuery": "G.V().Has('Name', 'none')", "Name": "cap"}).to_string();
    let capture = post(&daemon, "/api/capture", &body).json();
    let id = capture["UUID"].as_str().unwrap();
    let alert = json!({"Expression": "G.V().Has('Name', 'a')", "Name": "there"}).to_string();
    post(&daemon, "/api/alert", &alert);
    let mut publisher = client(&daemon, "/ws/publisher");
    publisher.send_graph("NodeAdded", node("a", 1, 0));
    publisher.sync(json!({}));
    let path = format!("/api/capture/{id}");
    assert_eq!(request(&daemon, "DELETE", &path, &[], b"").status, 200);
    let changes = |daemon: &Daemon| {
        let changes = query(daemon, "G.At('now', '1h').Changes()");
        let changes = changes.as_array().unwrap().clone();
        let of_resource = |change: &&Value| change["Kind"] != "node" && change["Kind"] != "edge";
        let text = |change: &Value, key: &str| change[key].as_str().unwrap().to_owned();
        let events = changes.iter().filter(of_resource);
        events
            .map(|change| {
                ["Kind", "Change", "Name"]
                    .map(|key| text(change, key))
                    .join(" ")
            })
            .collect::<BTreeSet<String>>()
    };
    let wanted = [
        "alert added there",
        "alert fired there",
        "capture added cap",
        "capture removed cap",
    ];
    let wanted = BTreeSet::from(wanted.map(str::to_owned));
    until("the alert fires", || changes(&daemon) == wanted);
    drop(publisher);
    let mut daemon = daemon;
    daemon.stop(rustix::process::Signal::TERM);
    let daemon = Daemon::in_folder(&folder.0, &[]);
    assert!(changes(&daemon).is_superset(&wanted));
}

#[test]
fn an_export_names_the_times_whose_files_are_damaged() {
    let folder = Folder::new();
    let mut daemon = Daemon::in_folder(&folder.0, &[]);
    let mut publisher = client(&daemon, "/ws/publisher");
    publisher.send_graph("NodeAdded", node("a", 1, 0));
    publisher.sync(json!({}));
    let sealed = post(&daemon, "/api/history/seal", "").json();
    let history = std::path::PathBuf::from(sealed["Folder"].as_str().unwrap());
    drop(publisher);
    daemon.stop(rustix::process::Signal::TERM);
    let export = || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_skyd"))
            .args(["export", "--data"])
            .arg(&history)
            .arg(folder.0.join("out"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(export(), "");
    let event = sealed["Files"][0]["Path"].as_str().unwrap();
    assert!(event.ends_with("event.parquet"), "{event}");
    std::fs::write(history.join(event), "PAR1").unwrap();
    let warning = export();
    assert!(
        warning.starts_with("skyd: warning: history: ") && warning.contains(" is damaged; "),
        "{warning}"
    );
}
