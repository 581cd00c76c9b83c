//! `/api/node` and `/api/edge`: nodes and edges that clients create.

use serde_json::{Value, json};

use crate::client::{Answer, get, post, query, repeats_a_cause, request};
use crate::daemon::Daemon;

fn node(id: &str) -> Value {
    json!({"ID": id, "Metadata": {"Name": id, "Type": "device"}, "Revision": 1})
}

fn edge(id: &str, parent: &str, child: &str) -> Value {
    json!({"ID": id, "Parent": parent, "Child": child, "Metadata": {"RelationType": "layer2"}})
}

fn create(daemon: &Daemon, kind: &str, element: &Value) -> Answer {
    post(daemon, &format!("/api/{kind}"), &element.to_string())
}

fn patch(daemon: &Daemon, path: &str, patch: &Value) -> Answer {
    request(daemon, "PATCH", path, &[], patch.to_string().as_bytes())
}

#[test]
fn created_elements_are_in_the_graph_until_they_are_deleted() {
    let daemon = Daemon::start();
    for id in ["a", "b"] {
        assert_eq!(create(&daemon, "node", &node(id)).status, 201);
    }
    let made = create(&daemon, "edge", &edge("e", "a", "b"));
    assert_eq!(made.status, 201, "{}", made.text());
    let host = daemon.host();
    assert_eq!(made.json()["Origin"], format!("api.{host}"));
    assert_eq!(made.json()["Host"], "");
    assert_eq!(
        query(&daemon, "G.V('a').Out().Values('Name')"),
        json!(["b"])
    );
    assert_eq!(get(&daemon, "/api/edge").json()["e"], made.json());
    assert_eq!(get(&daemon, "/api/edge/e").json(), made.json());
    let deleted = request(&daemon, "DELETE", "/api/node/a", &[], b"");
    assert_eq!((deleted.status, deleted.text()), (200, String::new()));
    assert_eq!(get(&daemon, "/api/edge/e").text(), "Edge 'e' not found\n");
    assert_eq!(query(&daemon, "G.V().Values('Name')"), json!(["b"]));
    assert_eq!(get(&daemon, "/api/edge").json(), json!({}));
}

#[test]
fn times_and_ids_of_the_client_are_preserved() {
    let daemon = Daemon::start();
    let mut element = node("x/y z");
    element["CreatedAt"] = json!(5);
    element["DeletedAt"] = json!(9);
    element["Origin"] = json!("cli.lab");
    element["Revision"] = json!(7);
    let made = create(&daemon, "node", &element).json();
    let shown = get(&daemon, "/api/node/x%2Fy%20z").json();
    assert_eq!(shown, made);
    assert_eq!(get(&daemon, "/api/node/x/y%20z").json(), made);
    assert_eq!(
        (&made["CreatedAt"], &made["DeletedAt"]),
        (&json!(5), &Value::Null)
    );
    assert_eq!(
        (&made["Origin"], &made["Revision"]),
        (&json!("cli.lab"), &json!(7))
    );
    assert!(made["UpdatedAt"].as_i64() > Some(1_000_000_000_000));
}

#[test]
fn a_patch_changes_metadata_only() {
    let daemon = Daemon::start();
    create(&daemon, "node", &node("a"));
    create(&daemon, "node", &node("b"));
    create(&daemon, "edge", &edge("e", "a", "b"));
    let add = json!([
        {"op": "add", "path": "/Metadata/Speed", "value": 10},
        {"op": "replace", "path": "/ID", "value": "z"},
        {"op": "replace", "path": "/Metadata/Type", "value": "z"},
        {"op": "add", "path": "/Metadata/TID", "value": "t"},
    ]);
    let patched = patch(&daemon, "/api/node/a", &add);
    assert_eq!(patched.status, 200, "{}", patched.text());
    let metadata = json!({"Name": "a", "Type": "device", "Speed": 10, "TID": "t"});
    assert_eq!(patched.json()["Metadata"], metadata);
    assert_eq!(
        (&patched.json()["ID"], &patched.json()["Revision"]),
        (&json!("a"), &json!(2))
    );
    let again = json!([
        {"op": "add", "path": "/Metadata/Speed", "value": 10.0},
        {"op": "remove", "path": "/Metadata/TID", "value": null},
        {"op": "replace", "path": "/Host", "value": "elsewhere"},
    ]);
    let unchanged = patch(&daemon, "/api/node/a", &again);
    assert_eq!((unchanged.status, unchanged.text()), (304, String::new()));
    let relation = json!([{"op": "replace", "path": "/Metadata/RelationType", "value": "x"}]);
    let patched = patch(&daemon, "/api/edge/e", &relation).json();
    // The element was created without a revision.
    assert_eq!(
        (&patched["Metadata"]["RelationType"], &patched["Revision"]),
        (&json!("x"), &json!(1))
    );
    for (body, text) in [
        (
            "[{\"op\": \"remove\"}]",
            "incorrect JSON patch: missing field `path`",
        ),
        (
            r#"[{"op":"test","path":"/ID","value":"b"}]"#,
            "applying JSON patch to resource: operation 0",
        ),
        (
            r#"[{"op":"replace","path":"","value":[]}]"#,
            "creating a new resource from the patched JSON body: ",
        ),
        (
            r#"[{"op":"remove","path":"/Metadata/Name"}]"#,
            "validating patched resource: invalid schema: ",
        ),
    ] {
        let refused = request(&daemon, "PATCH", "/api/node/a", &[], body.as_bytes());
        assert_eq!(refused.status, 400, "{body}");
        let shown = refused.text();
        assert!(shown.starts_with(text), "{shown}");
        assert!(!repeats_a_cause(&shown), "{shown}");
    }
    assert_eq!(get(&daemon, "/api/node/a").json()["Revision"], 2);
    for path in ["/api/node/none", "/api/edge/a"] {
        let missing = patch(&daemon, path, &json!([]));
        assert_eq!((missing.status, missing.text()), (404, String::new()));
    }
}

#[test]
fn the_origin_of_the_probes_is_rejected() {
    let daemon = Daemon::start();
    let mut element = node("a");
    let origin = format!("agent.{}", daemon.host());
    element["Origin"] = json!(origin);
    let refused = create(&daemon, "node", &element);
    assert_eq!(refused.status, 400);
    let text = format!("Origin: {origin} is reserved for the probes of this server\n");
    assert_eq!(refused.text(), text);
}

#[test]
fn an_element_beyond_the_limit_is_rejected_with_a_clear_message() {
    let daemon = Daemon::with(&["http.limits.nodes=2", "http.limits.edges=1"]);
    for id in ["a", "b"] {
        assert_eq!(create(&daemon, "node", &node(id)).status, 201);
    }
    assert_eq!(create(&daemon, "edge", &edge("e", "a", "b")).status, 201);
    for (kind, element, limit) in [("node", node("c"), 2), ("edge", edge("f", "b", "a"), 1)] {
        let refused = create(&daemon, kind, &element);
        assert_eq!(refused.status, 403);
        let text = format!(
            "limit of {limit} {kind} resources reached (http.limits.{kind}s); delete one first\n"
        );
        assert_eq!(refused.text(), text);
    }
}

#[test]
fn concurrent_patches_are_all_applied() {
    let daemon = Daemon::start();
    create(&daemon, "node", &node("a"));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let daemon = &daemon;
            scope.spawn(move || {
                for n in 0..25 {
                    let path = format!("/Metadata/K{thread}-{n}");
                    let add = json!([{"op": "add", "path": path, "value": n}]);
                    assert_eq!(patch(daemon, "/api/node/a", &add).status, 200);
                }
            });
        }
    });
    let node = get(&daemon, "/api/node/a").json();
    assert_eq!(node["Metadata"].as_object().unwrap().len(), 102);
    assert_eq!(node["Revision"], 101);
}
