//! Checks of configuration files.

use skyd::config::Config;

/// Panics if loading a configuration or reading a key panics, or if a password is shown.
pub(crate) fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let config = match Config::parse("file", &text) {
        Ok(config) => config,
        Err(error) => {
            assert!(error.to_string().starts_with("file: "), "{error}");
            return;
        }
    };
    for warning in &config.warnings {
        assert!(!warning.is_empty());
    }
    for key in READ {
        let numbers = (config.count(key), config.bytes(key), config.duration(key));
        drop((
            config.text(key),
            config.address(key),
            config.tree(key),
            numbers,
        ));
    }
    drop(config.backend_type("analyzer.auth.api.backend"));
    for root in ROOTS {
        let Some(shown) = config.redacted(root) else {
            continue;
        };
        let json = shown.to_string();
        serde_json::from_str::<serde_json::Value>(&json).expect("JSON that can be read again");
    }
    for secret in SECRETS {
        let shown = config.redacted(secret);
        let is_hidden = |value: &serde_json::Value| {
            value.is_null() || matches!(value.as_str(), Some("" | "(hidden)"))
        };
        assert!(shown.as_ref().is_none_or(is_hidden), "{secret}: {shown:?}");
    }
}

const READ: &[&str] = &[
    "host_id",
    "analyzer.listen",
    "analyzer.topology.backend",
    "auth.basic.type",
    "storage.local.max_bytes",
    "storage.mine.driver",
    "flow.update",
    "flow.application_ports.tcp",
    "http.ws.queue_size",
    "http.limits.body_bytes",
    "tls",
    "no.such.key",
    "",
];
const ROOTS: &[&str] = &[
    "agent",
    "analyzer",
    "analyzers",
    "auth",
    "etcd",
    "flow",
    "http",
    "logging",
    "storage",
    "tls",
    "ui",
];
const SECRETS: &[&str] = &[
    "analyzer.auth.cluster.password",
    "agent.auth.cluster.password",
];
