//! `/metrics`: the format, and that figures follow what happens.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::{WebSocket, get, request};
use crate::daemon::Daemon;
use crate::http::fill;

/// All samples by their names with labels; every line must be one the format has.
fn scrape(daemon: &Daemon) -> BTreeMap<String, f64> {
    let answer = get(daemon, "/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let mut family = String::new();
    for line in answer.text().lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.ends_with('.'), "{line}");
            assert!(families.insert(name.to_owned()), "{name} comes twice");
            family = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, family);
            assert!(matches!(kind, "gauge" | "counter"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(name.split('{').next(), Some(family.as_str()), "{line}");
            assert!(
                samples
                    .insert(name.to_owned(), value.parse().unwrap())
                    .is_none(),
                "{line}"
            );
        }
    }
    samples
}

#[test]
fn figures_follow_what_happens() {
    let daemon = Daemon::start();
    let before = scrape(&daemon);
    assert_eq!(before["skyd_graph_nodes"], 0.0);
    assert!(before["process_resident_memory_bytes"] > 1e6);
    assert!(before["process_open_fds"] < before["process_max_fds"]);
    fill(&daemon, 20);
    let _client = WebSocket::open(&daemon, "/ws/subscriber", &[("X-Client-Type", "test")]);
    for _ in 0..3 {
        assert_eq!(request(&daemon, "BREW", "/api", &[], b"").status, 405);
    }
    assert_eq!(get(&daemon, "/nothing").status, 404);
    let after = scrape(&daemon);
    assert_eq!(after["skyd_graph_nodes"], 20.0);
    assert_eq!(after["skyd_graph_edges"], 0.0);
    assert_eq!(
        after["skyd_websocket_clients{endpoint=\"subscriber\"}"],
        1.0
    );
    assert_eq!(
        after["skyd_http_requests_total{method=\"other\",code=\"405\"}"],
        3.0
    );
    assert_eq!(
        after["skyd_http_requests_total{method=\"GET\",code=\"404\"}"],
        1.0
    );
    assert_eq!(after["skyd_captures{state=\"active\"}"], 0.0);
    for (name, value) in &before {
        if name.split('{').next().unwrap().ends_with("_total") {
            assert!(after[name] >= *value, "{name} went down");
        }
    }
}

#[test]
fn what_is_not_kept_has_no_figures() {
    let settings = [
        "analyzer.flow.backend=memory",
        "analyzer.topology.backend=memory",
    ];
    let samples = scrape(&Daemon::with(&settings));
    let kept =
        |name: &&String| name.starts_with("skyd_history") || name.starts_with("skyd_flow_store");
    assert_eq!(samples.keys().find(kept), None);
}
