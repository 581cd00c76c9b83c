//! Tests of `/metrics`: the format, the help texts, and values that follow the activity.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::{WebSocket, get, request};
use crate::daemon::{Daemon, until};
use crate::http::fill;

/// Returns all samples by name and labels; panics if a line is invalid.
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
            check_help(help);
            assert!(families.insert(name.to_owned()), "{name} occurs twice");
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

/// Checks that a help text is understandable alone, because Prometheus shows each help text without
/// the others.
fn check_help(help: &str) {
    assert!(help.ends_with('.'), "{help}");
    let words: Vec<&str> = help
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    assert!(words.len() >= 5, "{help}");
    for vague in ["it", "its", "they", "them", "their", "these", "those"] {
        let is_vague = |word: &&str| word.eq_ignore_ascii_case(vague);
        assert!(!words.iter().any(is_vague), "{help}");
    }
}

#[test]
fn values_follow_the_activity() {
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
fn stores_that_are_off_have_no_metrics() {
    let settings = [
        "analyzer.flow.backend=memory",
        "analyzer.topology.backend=memory",
    ];
    let samples = scrape(&Daemon::with(&settings));
    let is_of_store =
        |name: &&String| name.starts_with("skyd_history") || name.starts_with("skyd_flow_store");
    assert_eq!(samples.keys().find(is_of_store), None);
}

#[test]
fn recordings_have_metrics() {
    let daemon = Daemon::with(&[
        "spp.listen=127.0.0.1:0",
        "spp.ports={phy: [lo]}",
        "spp.pcaps=[{client_id: 3, port: 'phy:0', out_dir: /nowhere}]",
    ]);
    let samples = scrape(&daemon);
    assert_eq!(samples["skyd_spp_running{client_id=\"3\"}"], 0.0);
    assert_eq!(samples["skyd_spp_files_total{client_id=\"3\"}"], 0.0);
}

#[test]
fn collectors_of_flow_exports_have_metrics_and_a_status() {
    use std::net::UdpSocket;

    let daemon = Daemon::with(&["pipes.in=127.0.0.1:0"]);
    let status = || -> serde_json::Value {
        serde_json::from_str(&get(&daemon, "/api/status").text()).unwrap()
    };
    let listen = || {
        status()["Collectors"][0]["Listen"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    until("the collector listens", || !listen().ends_with(":0"));
    // NetFlow 5 with a header that claims a record more than there are.
    let mut datagram = vec![0, 5, 0, 2, 0, 0, 0, 0, 0x65, 0x53, 0xf1, 0];
    datagram.resize(24 + 48, 1);
    let exporter = UdpSocket::bind("127.0.0.1:0").unwrap();
    exporter.send_to(&datagram, listen()).unwrap();
    until("the record is read", || {
        status()["Collectors"][0]["FlowRecords"] == 1
    });
    assert_eq!(status()["Collectors"][0]["Malformed"], 1);
    let samples = scrape(&daemon);
    let labels = format!("listener=\"{}\"", listen());
    let records = format!("skyd_pipes_in_records_total{{{labels},kind=\"flow\"}}");
    assert_eq!(samples[&records], 1.0);
    let malformed = format!("skyd_pipes_in_refused_total{{{labels},reason=\"malformed\"}}");
    assert_eq!(samples[&malformed], 1.0);
}
