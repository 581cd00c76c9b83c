//! `/api/capture`: resources that survive a restart.

use serde_json::json;

use crate::client::{get, post, request};
use crate::daemon::{Daemon, Folder, until};
use rustix::process::Signal;

const BODY: &str = r#"{"GremlinQuery":"G.V().Has('Name','nothing')"}"#;

#[test]
fn captures_survive_a_restart_even_after_a_kill() {
    let folder = Folder::new();
    let mut ids = Vec::new();
    for signal in [Signal::KILL, Signal::TERM] {
        let mut daemon = Daemon::in_folder(&folder.0, &[]);
        let body = format!(r#"{{"GremlinQuery":"G.V().Has('Name','c{}')"}}"#, ids.len());
        let created = post(&daemon, "/api/capture", &body);
        assert_eq!(created.status, 201, "{}", created.text());
        ids.push(created.json()["UUID"].as_str().unwrap().to_owned());
        daemon.stop(signal);
    }
    let daemon = Daemon::in_folder(&folder.0, &[]);
    let all = get(&daemon, "/api/capture").json();
    ids.sort();
    assert_eq!(
        all.as_object().unwrap().keys().collect::<Vec<_>>(),
        ids.iter().collect::<Vec<_>>()
    );
}

#[test]
fn a_capture_beyond_the_limit_is_rejected_with_a_clear_message() {
    let daemon = Daemon::with(&["http.limits.captures=1"]);
    assert_eq!(post(&daemon, "/api/capture", BODY).status, 201);
    let other = r#"{"GremlinQuery":"G.V().Has('Name','other')"}"#;
    let refused = post(&daemon, "/api/capture", other);
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.text(),
        "limit of 1 capture resources reached (http.limits.captures); delete one first\n"
    );
    assert_eq!(
        get(&daemon, "/api/status").json()["Store"]["Captures"],
        json!(1)
    );
}

#[test]
fn a_capture_ends_after_its_time_to_live() {
    let daemon = Daemon::start();
    let create = |ttl: &str| {
        request(
            &daemon,
            "POST",
            "/api/capture",
            &[("X-Resource-TTL", ttl)],
            BODY.as_bytes(),
        )
    };
    for ttl in ["soon", "5", "-3s"] {
        let answer = create(ttl);
        assert_eq!(answer.status, 400);
        assert!(
            answer.text().starts_with("invalid ttl: "),
            "{}",
            answer.text()
        );
    }
    assert_eq!(create("1s").status, 201);
    assert_eq!(
        get(&daemon, "/api/capture")
            .json()
            .as_object()
            .unwrap()
            .len(),
        1
    );
    until("the capture is deleted", || {
        get(&daemon, "/api/capture").json() == json!({})
    });
}

#[test]
fn a_body_may_be_yaml_with_the_matching_content_type() {
    let daemon = Daemon::start();
    let yaml = b"GremlinQuery: G.V().Has('Name','nothing')\nName: mine\n";
    let create = |kind| {
        request(
            &daemon,
            "POST",
            "/api/capture",
            &[("Content-Type", kind)],
            yaml,
        )
    };
    assert_eq!(
        create("application/yaml; charset=utf-8").status,
        400,
        "read as JSON"
    );
    let created = create("application/yaml");
    assert_eq!(
        (created.status, created.json()["Name"].as_str()),
        (201, Some("mine"))
    );
}

#[test]
fn the_default_layer_key_mode_is_configurable() {
    let daemon = Daemon::with(&["flow.default_layer_key_mode=L3"]);
    assert_eq!(
        post(&daemon, "/api/capture", BODY).json()["LayerKeyMode"],
        "L3"
    );
}

#[test]
fn a_json_object_changes_options_of_a_capture() {
    let daemon = Daemon::start();
    let id = post(&daemon, "/api/capture", BODY).json()["UUID"].clone();
    let path = format!("/api/capture/{}", id.as_str().unwrap());
    let patch = |body: &str| request(&daemon, "PATCH", &path, &[], body.as_bytes());
    let changed = patch(r#"{"Name": "dns", "BPFFilter": "udp port 53"}"#);
    assert_eq!(changed.status, 200, "{}", changed.text());
    let shown = get(&daemon, &path).json();
    let fields = (&shown["UUID"], &shown["Name"], &shown["BPFFilter"]);
    assert_eq!(fields, (&id, &json!("dns"), &json!("udp port 53")));
    for (body, part) in [
        (r#"{"BPFilter": "udp"}"#, "BPFFilter"),
        (
            r#"{"BPFFilter": "udp prt 53"}"#,
            "validating patched resource",
        ),
        (r#"{"Ephemeral": true}"#, "resource not updatable"),
        (
            r#"[{"op": "replace", "path": "/Name", "value": "x"}]"#,
            "resource not updatable",
        ),
    ] {
        let refused = patch(body);
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.text().contains(part), "{body}: {}", refused.text());
    }
    assert_eq!(get(&daemon, &path).json()["Name"], "dns");
}
