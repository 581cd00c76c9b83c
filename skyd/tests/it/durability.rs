//! Acknowledged changes survive SIGKILL completely. `DURABILITY_ROUNDS=20` runs more rounds.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::{Connection, WebSocket, get, post, query, request};
use crate::daemon::{Daemon, Folder, until};

const ROUNDS: usize = 2;
const THREADS: usize = 4;
const CREATES: usize = 1_000;

/// Kinds that are created in rotation, with the member of a response that contains the id.
const KINDS: [(&str, &str); 4] = [
    ("node", "ID"),
    ("edge", "ID"),
    ("alert", "UUID"),
    ("workflow", "UUID"),
];

fn body(kind: &str, name: &str) -> Value {
    match kind {
        "node" => json!({"ID": name, "Metadata": {"Name": name, "Type": "device"}}),
        "edge" => json!({
            "ID": name, "Parent": "a", "Child": "b", "Metadata": {"RelationType": name},
        }),
        "alert" => json!({"Expression": "G.V()", "Name": name}),
        _ => json!({"Name": name, "Source": "x".repeat(200)}),
    }
}

/// Sends a POST on a persistent connection; `None` if the daemon has ended.
fn create(connection: &mut Connection, kind: &str, body: &str) -> Option<Value> {
    connection.send(format!(
        "POST /api/{kind} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let answer = connection.answer()?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    Some(answer.json())
}

/// Creates resources until the daemon is killed after a number of acknowledgements. Returns the
/// acknowledged resources by kind and id.
fn create_until_killed(daemon: &mut Daemon, round: usize) -> BTreeMap<(String, String), Value> {
    let kill_after = 100 + round * 389 % (CREATES - 200);
    let (acknowledged, count) = (Mutex::new(BTreeMap::new()), AtomicUsize::new(0));
    let mut connections: Vec<_> = (0..THREADS).map(|_| Connection::open(daemon)).collect();
    std::thread::scope(|scope| {
        for (thread, connection) in connections.iter_mut().enumerate() {
            let (acknowledged, count) = (&acknowledged, &count);
            scope.spawn(move || {
                for n in 0..CREATES / THREADS {
                    let (kind, key) = KINDS[n % KINDS.len()];
                    let name = format!("r{round}t{thread}n{n}");
                    let Some(made) = create(connection, kind, &body(kind, &name).to_string())
                    else {
                        return;
                    };
                    let id = made[key].as_str().unwrap().to_owned();
                    acknowledged
                        .lock()
                        .unwrap()
                        .insert((kind.to_owned(), id), made);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        until("enough resources are acknowledged", || {
            count.load(Ordering::Relaxed) >= kill_after
        });
        daemon.stop(Signal::KILL);
    });
    acknowledged.into_inner().unwrap()
}

#[test]
fn a_kill_during_creates_loses_no_acknowledged_resource() {
    let rounds = std::env::var("DURABILITY_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let folder = Folder::new();
    let limits = ["http.limits.alerts=100000", "http.limits.workflows=100000"];
    let mut acknowledged = BTreeMap::new();
    for round in 0..=rounds {
        let mut daemon = Daemon::in_folder(&folder.0, &limits);
        assert!(!daemon.log().contains("left out"), "{}", daemon.log());
        if round == 0 {
            for id in ["a", "b"] {
                post(&daemon, "/api/node", &body("node", id).to_string());
            }
        }
        for (kind, _) in KINDS {
            let all = get(&daemon, &format!("/api/{kind}")).json();
            let known = |((k, id), made): (&(String, String), &Value)| {
                assert!(k != kind || all[id] == *made, "round {round}: {kind} {id}");
            };
            acknowledged.iter().for_each(known);
            for (id, one) in all.as_object().unwrap() {
                let name = ["Name", "ID"]
                    .iter()
                    .find_map(|key| one[key].as_str())
                    .unwrap();
                if !name.starts_with('r') && kind == "workflow" {
                    continue; // Part of the program.
                }
                let wanted = body(kind, name);
                let is_whole = |(key, value): (&String, &Value)| one[key] == *value;
                assert!(
                    wanted.as_object().unwrap().iter().all(is_whole),
                    "{kind} {id}: {one}"
                );
            }
        }
        if round < rounds {
            acknowledged.extend(create_until_killed(&mut daemon, round));
        }
    }
    assert!(acknowledged.len() >= 100 * rounds);
}

#[test]
fn changes_and_deletions_of_elements_survive_a_kill() {
    let folder = Folder::new();
    let mut daemon = Daemon::in_folder(&folder.0, &[]);
    for id in ["a", "b", "c"] {
        post(&daemon, "/api/node", &body("node", id).to_string());
    }
    for id in ["e", "f"] {
        post(&daemon, "/api/edge", &body("edge", id).to_string());
    }
    let add = br#"[{"op":"add","path":"/Metadata/Speed","value":10}]"#;
    let patched = request(&daemon, "PATCH", "/api/node/a", &[], add).json();
    let edge = request(&daemon, "PATCH", "/api/edge/e", &[], add).json();
    for path in ["/api/node/c", "/api/edge/f"] {
        assert_eq!(request(&daemon, "DELETE", path, &[], b"").status, 200);
    }
    daemon.stop(Signal::KILL);
    let daemon = Daemon::in_folder(&folder.0, &[]);
    let nodes = get(&daemon, "/api/node").json();
    assert_eq!(
        (&nodes["a"], nodes.as_object().unwrap().len()),
        (&patched, 2)
    );
    assert_eq!(get(&daemon, "/api/edge").json(), json!({"e": edge}));
    assert_eq!(
        query(&daemon, "G.V('a').Out().Values('Name')"),
        json!(["b"])
    );
    let store = get(&daemon, "/api/status").json()["Store"].clone();
    assert_eq!((&store["Nodes"], &store["Edges"]), (&json!(2), &json!(1)));
}

#[test]
fn elements_of_publishers_survive_according_to_their_policy() {
    let folder = Folder::new();
    let mut daemon = Daemon::in_folder(&folder.0, &[]);
    let mut publishers = Vec::new();
    for (name, policy) in [("stays", "Persistent"), ("goes", "DeleteOnDisconnect")] {
        let hello = [
            ("X-Client-Type", "test"),
            ("X-Host-ID", name),
            ("X-Persistence-Policy", policy),
        ];
        let mut publisher = WebSocket::open(&daemon, "/ws/publisher", &hello);
        publisher.send_graph("NodeAdded", body("node", name));
        publishers.push(publisher);
    }
    until("both nodes are in the graph", || {
        query(
            &daemon,
            "G.V().Has('Name', Within('stays', 'goes')).Count()",
        ) == json!(2)
    });
    // A request that waits for the disk also waits for all earlier ones.
    post(&daemon, "/api/node", &body("node", "a").to_string());
    daemon.stop(Signal::KILL);
    let daemon = Daemon::in_folder(&folder.0, &[]);
    let nodes = get(&daemon, "/api/node").json();
    assert_eq!(
        nodes.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["a", "stays"]
    );
    assert_eq!(nodes["stays"]["Origin"], "test.stays");
}

#[test]
fn the_memory_backend_does_not_persist_the_graph() {
    let folder = Folder::new();
    let settings = ["analyzer.topology.backend=memory"];
    let mut daemon = Daemon::in_folder(&folder.0, &settings);
    post(&daemon, "/api/node", &body("node", "a").to_string());
    post(&daemon, "/api/alert", &body("alert", "a").to_string());
    daemon.stop(Signal::TERM);
    let daemon = Daemon::in_folder(&folder.0, &settings);
    assert_eq!(get(&daemon, "/api/node").json(), json!({}));
    assert_eq!(
        get(&daemon, "/api/alert").json().as_object().unwrap().len(),
        1
    );
}
