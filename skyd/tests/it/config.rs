//! Configuration: a complete file of Skydive, errors, and redaction.

use std::path::{Path, PathBuf};

use serde_json::json;
use skyd::config::{Config, Sources};

use crate::client::{get, request};
use crate::daemon::{Daemon, Folder, command, until};

#[path = "../../../fuzz/checks/config.rs"]
mod check;

fn site() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/skydive.yml")
}

#[test]
fn every_path_given_as_a_file_is_read_or_rejected() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/config");
    let mut files = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        check::check(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files > 20, "{files}");
}

#[test]
fn every_key_of_the_original_is_known() {
    let config = Config::load(&Sources {
        files: vec![site()],
        ..Sources::default()
    })
    .unwrap();
    for warning in &config.warnings {
        assert!(!warning.contains("unknown key"), "{warning}");
    }
    assert_eq!(config.text("host_id"), "analyzer-paris-1");
    assert_eq!(config.text("flow.default_layer_key_mode"), "L3");
    assert_eq!(
        config.text("storage.myelasticsearch.driver"),
        "elasticsearch"
    );
    assert_eq!(config.count("http.ws.queue_size"), 10_000);
}

#[test]
fn the_example_file_has_no_errors_and_no_warnings() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/skyd.yml");
    let sources = Sources {
        files: vec![example],
        ..Sources::default()
    };
    let (config, errors) = Config::check(&sources);
    assert!(errors.is_empty(), "{errors:?}");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn a_daemon_starts_with_the_file_of_the_original() {
    let folder = Folder::new();
    let mut command = command("analyzer", &folder.0, &[]);
    command.arg("-c").arg(site());
    let daemon = Daemon::spawn(command);
    assert_eq!(get(&daemon, "/api").json()["Host"], "analyzer-paris-1");
    let log = daemon.log();
    assert_eq!(log.matches("etcd has no effect: ").count(), 1, "{log}");
    assert!(!log.contains("unknown key"), "{log}");
    assert!(!log.contains("-password"), "{log}");
    let shown = |key: &str| get(&daemon, &format!("/api/config/{key}")).json();
    assert_eq!(shown("ui.topology.default_filter"), json!("namespaces"));
    assert_eq!(shown("analyzer.topology.probes"), json!(["k8s", "istio"]));
    let probes = || get(&daemon, "/api/status").json()["Probes"].clone();
    until("the reason why Kubernetes is not shown", || {
        let error = probes()["k8s"]["Error"].as_str().map(str::to_owned);
        error.is_some_and(|error| error.contains("analyzer.topology.k8s.config_file"))
    });
    assert_eq!(probes()["istio"]["Status"], "stopped");
    for key in ["auth", "storage", "analyzer", "agent", "http"] {
        let text = shown(key).to_string();
        assert!(
            !text.contains("-password") && !text.contains("7d1f0c"),
            "{key}: {text}"
        );
    }
}

#[test]
fn an_invalid_value_prevents_the_start_and_names_allowed_values() {
    for (setting, wanted) in [
        (
            "flow.update=soon",
            "--set: flow.update: \"soon\" is not allowed; expected a duration greater than zero",
        ),
        (
            "logging.level=LOUD",
            "logging.level: \"LOUD\" is not allowed; expected one of ERROR, WARNING",
        ),
        (
            "analyzer.flow.backend=nowhere",
            "analyzer.flow.backend: \"nowhere\"",
        ),
    ] {
        let folder = Folder::new();
        let mut command = command("analyzer", &folder.0, &[setting]);
        let ended = command.output().unwrap();
        let text = String::from_utf8_lossy(&ended.stderr);
        assert!(
            !ended.status.success() && text.contains(wanted),
            "{setting}: {text}"
        );
    }
}

#[test]
fn the_environment_is_read_under_both_names_and_below_the_command_line() {
    let folder = Folder::new();
    let mut command = command("analyzer", &folder.0, &["flow.expire=90"]);
    command
        .env("SKYDIVE_HOST_ID", "from-skydive")
        .env("SKYD_FLOW_UPDATE", "7")
        .env("SKYDIVE_FLOW_EXPIRE", "80");
    let daemon = Daemon::spawn(command);
    assert_eq!(get(&daemon, "/api").json()["Host"], "from-skydive");
    assert_eq!(get(&daemon, "/api/config/flow.update").json(), 7);
    assert_eq!(get(&daemon, "/api/config/flow.expire").json(), 90);
}

#[test]
fn an_unset_key_is_shown_as_an_empty_string() {
    let daemon = Daemon::start();
    for key in [
        "no.such",
        "ui.topology",
        "analyzer.startup.capture_gremlin",
        "%00",
        "a%20b",
        "...",
    ] {
        let answer = get(&daemon, &format!("/api/config/{key}"));
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "\"\"\n"),
            "{key}"
        );
    }
    assert_eq!(
        get(&daemon, "/api/config/ANALYZER.Flow.Backend").json(),
        "local"
    );
    for (method, path, status) in [
        ("GET", "/api/config", 404),
        ("GET", "/api/config/", 404),
        ("GET", "/api/config/a/b", 404),
        ("POST", "/api/config/ui", 405),
        ("HEAD", "/api/config/ui", 405),
    ] {
        assert_eq!(
            request(&daemon, method, path, &[], b"").status,
            status,
            "{method} {path}"
        );
    }
}
