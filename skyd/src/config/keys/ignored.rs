//! Keys of Skydive that have no effect here, and old names of keys.

use super::ValueType::{Flag, Free, Text};
use super::{ConfigKey, ValueType, key};

const fn unread(
    name: &'static str,
    value_type: ValueType,
    default: &'static str,
    help: &'static str,
) -> ConfigKey {
    ConfigKey {
        is_read: false,
        ..key(name, value_type, default, help)
    }
}

const fn free(name: &'static str, help: &'static str) -> ConfigKey {
    unread(name, Free, "", help)
}

/// Keys that are read only by parts of Skydive that do not exist here. A key of type [`Free`] also
/// covers the keys below it.
pub(super) const IGNORED: &[ConfigKey] = &[
    free("storage.*", "Settings of other storage drivers."),
    unread(
        "agent.topology.docker.netns.run_path",
        Text,
        "/var/run/docker/netns",
        "Folder of the network namespaces of Docker.",
    ),
    free("agent.topology", "Settings of other topology probes."),
    free(
        "agent.flow",
        "Other settings of the flow probes of an agent.",
    ),
    free("agent", "Other settings of an agent."),
    free(
        "flow.application_timeout",
        "Flow timeouts of other applications.",
    ),
    unread(
        "http.ws.enable_write_compression",
        Flag,
        "true",
        "Whether WebSocket messages are compressed.",
    ),
    free(
        "http.ws.bulk_maxmsgs",
        "Maximum number of messages in one bulk message.",
    ),
    free("http.ws.bulk_maxdelay", "Maximum delay of a bulk message."),
    unread(
        "http.rest.debug",
        Flag,
        "false",
        "Whether REST requests are logged.",
    ),
    free(
        "logging",
        "Other settings of the log, such as files and formats.",
    ),
    free("tls", "Other settings of TLS."),
    free("rbac", "Other settings of the permission model."),
    free("etcd", "Settings of etcd."),
    free("ovs", "Settings of Open vSwitch."),
    free("dpdk", "Settings of DPDK captures."),
    free("cache", "Settings of the caches."),
    free("plugin", "Settings of plugins."),
    free("opencontrail", "Settings of OpenContrail."),
    free(
        "analyzer.topology",
        "Other settings of the topology store and probes of an analyzer.",
    ),
    free(
        "analyzer.flow",
        "Other settings of the flow store of an analyzer.",
    ),
    free(
        "analyzer.replication",
        "Settings of the replication between analyzers.",
    ),
    free(
        "analyzer.ssh_enabled",
        "Whether SSH shells to agents are offered.",
    ),
];

/// Old names, each with the new names that receive its value unless they have values of their own.
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
