//! Every key of the configuration, with its kind and default.
//!
//! Names are those of the original, so that its files go on working; `*` stands for one part that
//! the user chooses. Keys that only the original's other parts read are known, so that they can be
//! named as being without effect; many are trees of kind [`ValueType::Free`], not looked into.

use super::value_type::ValueType::{
    self, Address, Bytes, Choice, Count, Duration, Flag, Free, Interval, List, Secret, Text,
};

/// One key.
#[derive(Debug)]
pub(crate) struct ConfigKey {
    /// Dotted name in lower case, `*` for a part that the user chooses.
    pub(crate) name: &'static str,
    /// What values it takes.
    pub(crate) value_type: ValueType,
    /// The value where nothing is written, as one would write it; empty for none.
    pub(crate) default: &'static str,
    /// Whether somebody here looks at it; else writing it has no effect, which is a warning.
    pub(crate) is_read: bool,
}

const fn key(name: &'static str, value_type: ValueType, default: &'static str) -> ConfigKey {
    ConfigKey {
        name,
        value_type,
        default,
        is_read: true,
    }
}

/// What only parts of the original read that are not here.
const fn unread(name: &'static str, value_type: ValueType, default: &'static str) -> ConfigKey {
    ConfigKey {
        is_read: false,
        ..key(name, value_type, default)
    }
}

const fn free(name: &'static str) -> ConfigKey {
    unread(name, Free, "")
}

/// Positive numbers.
const SOME: ValueType = Count {
    min: 1,
    max: 1 << 40,
};
const PORT: ValueType = Count { min: 1, max: 65535 };
const LEVELS: ValueType = Choice(&[
    "ERROR", "WARNING", "WARN", "NOTICE", "INFO", "DEBUG", "TRACE",
]);

pub(crate) const KEYS: &[ConfigKey] = &[
    key("host_id", Text, ""),
    unread("analyzers", List, ""),
    // Where clients connect, and who may.
    key("analyzer.listen", Address, "127.0.0.1:8082"),
    key("analyzer.auth.api.backend", Text, "noauth"),
    key("analyzer.auth.cluster.backend", Text, "noauth"),
    unread("analyzer.auth.cluster.username", Text, ""),
    unread("analyzer.auth.cluster.password", Secret, ""),
    unread("agent.listen", Address, "127.0.0.1:8081"),
    unread("agent.auth.api.backend", Text, "noauth"),
    unread("agent.auth.cluster.username", Text, ""),
    unread("agent.auth.cluster.password", Secret, ""),
    key("auth.*.type", Choice(&["noauth", "basic", "keystone"]), ""),
    key("auth.*.file", Text, ""),
    key("auth.*.users", Free, ""),
    key("auth.*.role", Text, "admin"),
    key("auth.*.auth_url", Text, ""),
    key("auth.*.tenant_name", Text, "admin"),
    key("auth.*.domain_name", Text, "Default"),
    // What is kept, and where.
    key("analyzer.topology.backend", Text, "local"),
    key("analyzer.flow.backend", Text, "local"),
    key("analyzer.flow.max_buffer_size", SOME, "100000"),
    key("storage.local.path", Text, ""),
    key("storage.local.max_age", Interval, "24h"),
    key("storage.local.max_bytes", Bytes, "512MiB"),
    key("storage.*.driver", Text, ""),
    free("storage.*"),
    // Captures that are there from the start.
    key("analyzer.startup.capture_gremlin", Text, ""),
    key("analyzer.startup.capture_bpf", Text, ""),
    key("analyzer.startup.capture_type", Text, ""),
    // The live host.
    unread("agent.topology.probes", List, "ovsdb"),
    key("agent.topology.netlink.metrics_update", Interval, "30"),
    key("agent.topology.netns.run_path", Text, "/var/run/netns"),
    unread(
        "agent.topology.docker.url",
        Text,
        "unix:///var/run/docker.sock",
    ),
    unread(
        "agent.topology.docker.netns.run_path",
        Text,
        "/var/run/docker/netns",
    ),
    free("agent.topology"),
    key("agent.metadata", Free, ""),
    free("agent.metadata_config"),
    key("agent.capture.max_active", SOME, "256"),
    key("agent.capture.stats_update", Interval, "1"),
    unread("agent.flow.pcapsocket.bind_address", Text, "127.0.0.1"),
    unread("agent.flow.pcapsocket.min_port", PORT, "8100"),
    unread("agent.flow.pcapsocket.max_port", PORT, "8132"),
    free("agent.flow"),
    free("agent"),
    // Flows.
    key("flow.update", Interval, "60"),
    key("flow.expire", Interval, "600"),
    key("flow.max_entries", SOME, "500000"),
    key("flow.protocol", Choice(&["udp", "websocket"]), "udp"),
    key("flow.default_layer_key_mode", Choice(&["L2", "L3"]), "L2"),
    key("flow.application_ports.tcp", Free, ""),
    key("flow.application_ports.udp", Free, ""),
    key("flow.application_timeout.arp", Duration, "10"),
    key("flow.application_timeout.dns", Duration, "10"),
    free("flow.application_timeout"),
    // HTTP and WebSocket.
    key("http.ws.ping_delay", Interval, "2"),
    key("http.ws.pong_timeout", Interval, "5"),
    key("http.ws.queue_size", SOME, "100000"),
    unread("http.ws.enable_write_compression", Flag, "true"),
    free("http.ws.bulk_maxmsgs"),
    free("http.ws.bulk_maxdelay"),
    key("http.limits.captures", SOME, "1000"),
    key("http.limits.injectpackets", SOME, "1000"),
    key("http.limits.alerts", SOME, "1000"),
    key("http.limits.workflows", SOME, "1000"),
    key("http.limits.noderules", SOME, "1000"),
    key("http.limits.edgerules", SOME, "1000"),
    key("http.limits.resource_bytes", Bytes, "64MiB"),
    key("http.limits.nodes", SOME, "1000000"),
    key("http.limits.edges", SOME, "4000000"),
    key("http.limits.connections", SOME, "10000"),
    key("http.limits.header_bytes", Bytes, "64KiB"),
    key("http.limits.header_timeout", Interval, "30"),
    key("http.limits.body_bytes", Bytes, "16MiB"),
    key("http.limits.body_timeout", Interval, "60"),
    key("http.limits.uploads", SOME, "4"),
    key("http.limits.upload_bytes", Bytes, "16GiB"),
    key("http.limits.write_timeout", Interval, "10"),
    // Long bodies and messages of all clients that arrive at one time.
    key("http.limits.incoming_bytes", Bytes, "512MiB"),
    // A session that nobody uses for so long ends.
    key("http.limits.session_idle", Interval, "168h"),
    key("http.limits.queries", SOME, "64"),
    // Live queries of one connection.
    key("http.limits.live_queries", SOME, "16"),
    key("http.limits.query_timeout", Interval, "60"),
    key("http.limits.ws_queue_bytes", Bytes, "64MiB"),
    key("http.limits.ws_message_bytes", Bytes, "256MiB"),
    unread("http.rest.debug", Flag, "false"),
    free("http.cookie"),
    // Live queries: how often they tell, what they may take.
    key("live.interval", Interval, "100ms"),
    key("live.timed_interval", Interval, "5"),
    key("live.max_time", Interval, "2"),
    key("live.max_queries", SOME, "1000"),
    key("live.max_items", SOME, "100000"),
    key("live.max_bytes", Bytes, "256MiB"),
    // Who may do what.
    key("rbac.policy", Free, ""),
    key("rbac.model.request_definition", Free, ""),
    key("rbac.model.policy_definition", Free, ""),
    key("rbac.model.role_definition", Free, ""),
    key("rbac.model.policy_effect", Free, ""),
    key("rbac.model.matchers", Free, ""),
    // SPP: recording to files.
    key("spp.listen", Address, ""),
    key("spp.ports", Free, ""),
    key("spp.pcaps", Free, ""),
    key("spp.launch.root", Text, ""),
    key("spp.secondaries.listen", Address, ""),
    // The log.
    key("logging.level", LEVELS, "INFO"),
    free("logging"),
    // Read by parts of the original that are not here.
    key("tls.ca_cert", Text, ""),
    key("tls.client_cert", Text, ""),
    key("tls.client_key", Text, ""),
    key("tls.server_cert", Text, ""),
    key("tls.server_key", Text, ""),
    key("tls.require_client_cert", Flag, "false"),
    free("tls"),
    free("rbac"),
    free("etcd"),
    free("ovs"),
    free("ui"),
    free("dpdk"),
    free("cache"),
    free("plugin"),
    free("opencontrail"),
    free("analyzer.topology"),
    free("analyzer.flow"),
    free("analyzer.replication"),
    free("analyzer.cluster"),
    free("analyzer.peers"),
    free("analyzer.ssh_enabled"),
];

/// Old names, and where their value goes unless the new name has one.
pub(crate) const RENAMED: &[(&str, &[&str])] = &[
    (
        "auth.type",
        &[
            "analyzer.auth.api.backend",
            "analyzer.auth.cluster.backend",
            "agent.auth.api.backend",
        ],
    ),
    (
        "auth.analyzer_username",
        &[
            "analyzer.auth.cluster.username",
            "agent.auth.cluster.username",
        ],
    ),
    (
        "auth.analyzer_password",
        &[
            "analyzer.auth.cluster.password",
            "agent.auth.cluster.password",
        ],
    ),
    ("analyzer.storage.backend", &["analyzer.flow.backend"]),
    (
        "analyzer.storage.max_flow_buffer_size",
        &["analyzer.flow.max_buffer_size"],
    ),
    ("graph.backend", &["analyzer.topology.backend"]),
    ("agent.flow.stats_update", &["agent.capture.stats_update"]),
    (
        "agent.flow.pcapsocket.port_min",
        &["agent.flow.pcapsocket.min_port"],
    ),
    (
        "agent.flow.pcapsocket.port_max",
        &["agent.flow.pcapsocket.max_port"],
    ),
    ("docker.url", &["agent.topology.docker.url"]),
    (
        "docker.netns.run_path",
        &["agent.topology.docker.netns.run_path"],
    ),
    ("netns.run_path", &["agent.topology.netns.run_path"]),
    ("sflow.bind_address", &["agent.flow.sflow.bind_address"]),
    ("sflow.port_min", &["agent.flow.sflow.port_min"]),
    ("sflow.port_max", &["agent.flow.sflow.port_max"]),
    ("k8s.config_file", &["analyzer.topology.k8s.config_file"]),
    ("k8s.probes", &["analyzer.topology.k8s.probes"]),
];

/// The key that a path belongs to, and how many parts of the path its name takes.
///
/// More parts beat fewer, and a part that is named beats one that the user chooses.
pub(crate) fn find(path: &[String]) -> Option<(&'static ConfigKey, usize)> {
    let fits = |key: &&ConfigKey| {
        let mut names = key.name.split('.');
        let mut parts = path.iter();
        names.by_ref().all(|name| {
            parts
                .next()
                .is_some_and(|part| name == "*" || name.eq_ignore_ascii_case(part))
        })
    };
    KEYS.iter()
        .filter(fits)
        .map(|key| (key, key.name.split('.').count()))
        .filter(|(key, parts)| *parts == path.len() || key.value_type == Free)
        .max_by_key(|(key, parts)| (*parts, !key.name.contains('*')))
}

/// Whether some key's name begins with this path and goes on.
pub(crate) fn is_branch(path: &[String]) -> bool {
    let leads = |name: &str| {
        let mut names = name.split('.');
        path.iter().all(|part| {
            names
                .next()
                .is_some_and(|name| name == "*" || name.eq_ignore_ascii_case(part))
        }) && names.next().is_some()
    };
    KEYS.iter().any(|key| leads(key.name)) || RENAMED.iter().any(|(name, _)| leads(name))
}
