//! Builds the options of the engine from the configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use skylib::api::address::ServiceAddress;
use skylib::api::{CaptureSpec, CaptureType};
use skylib::engine::{
    AnalyzerProbeOptions, EngineOptions, OptionalProbe, ProbeOptions, ResourceLimits, Role,
};
use skylib::flow::{FlowProtocol, FlowTableOptions, LayerKeyMode};
use skylib::memory::MemoryBudget;
use skylib::store::{DocStore, RedbStore, StoreError};
use skylib::topology::k8s::{Kinds, KubernetesOptions};
use skylib::topology::metadata_files::MetadataFile;
use skylib::topology::openflow::OpenFlowOptions;
use skylib::topology::{Fabric, ServerAddress, TlsFiles};
use skylib::value::Map;

use crate::collectors::collectors;
use crate::config::{self, Config};
use crate::machine_memory;
use crate::metadata_format;
use crate::past_stores::{FLOW_BACKEND, HistoryFiles, PastStores, TOPOLOGY_BACKEND, driver};

/// Builds the options of the engine, opens the resource store and the history, and returns the
/// options and the files of the history.
///
/// # Errors
/// Returns an error if a setting is invalid, or a store cannot be opened.
pub(crate) fn engine_options(
    role: Role,
    config: &Config,
) -> anyhow::Result<(EngineOptions, HistoryFiles)> {
    let mut options = EngineOptions::new(host_id(config));
    let mut history_files = HistoryFiles::Disabled;
    options.role = role;
    options.table = flow_table(config)?;
    // An agent stores nothing: its analyzers do, and several agents may share a machine.
    if role != Role::Agent {
        let folder = data_folder(config);
        options.documents = Arc::new(open_store(&folder, "meta.redb")?);
        options.elements = elements(config, &folder)?;
        let history = PastStores::open(config, &folder, &options);
        options.history = history.topology;
        options.flow_store = history.flows;
        history_files = history.files;
        options.startup_capture = startup_capture(config)?;
    }
    let ping = config.duration("http.ws.ping_delay") + config.duration("http.ws.pong_timeout");
    options.ghost_timeout = ping * GHOST_PINGS;
    options.control_services = control_services(role, config);
    options.local_captures = role != Role::Analyzer;
    options.collectors = collectors(config)?;
    options.resources = resource_limits(config);
    set_topology(&mut options, config)?;
    for warning in unknown_probes(config) {
        tracing::warn!("{warning}");
    }
    set_captures(&mut options, config)?;
    set_memory(&mut options, config);
    set_live_queries(&mut options, config);
    set_scripts(&mut options, config);
    Ok((options, history_files))
}

/// Returns the errors that only the parser of a setting's value finds, such as invalid addresses.
/// Opens no files or sockets.
pub(crate) fn check(config: &Config) -> Vec<anyhow::Error> {
    let mut options = EngineOptions::new(host_id(config));
    let checks = [
        flow_table(config).err(),
        startup_capture(config).err(),
        collectors(config).err(),
        set_topology(&mut options, config).err(),
        set_captures(&mut options, config).err(),
    ];
    checks.into_iter().flatten().collect()
}

/// Sets the options of probes and of the metadata that they write.
fn set_topology(options: &mut EngineOptions, config: &Config) -> anyhow::Result<()> {
    options.metrics_interval = config.duration("agent.topology.netlink.metrics_update");
    let netns = config.text("agent.topology.netns.run_path");
    options.netns_path = (!netns.is_empty()).then(|| PathBuf::from(netns));
    options.probes = probes(config)?;
    options.analyzer_probes = analyzer_probes(config);
    let fabric = config.list("analyzer.topology.fabric");
    options.fabric =
        Fabric::parse(fabric.iter().map(String::as_str)).context("analyzer.topology.fabric")?;
    options.host_metadata = host_metadata(config)?;
    Ok(())
}

/// Sets the options of captures and of the flows that they send.
fn set_captures(options: &mut EngineOptions, config: &Config) -> anyhow::Result<()> {
    options.layer_key_mode = layer_key_mode(config);
    options.max_uplink_bytes = config.bytes("agent.flow.queue_bytes");
    options.flows.max_buffered = config.count("analyzer.flow.max_buffer_size");
    options.flows.remote_max_age = options.table.expiry_interval + options.table.update_interval;
    options.capture_stats_interval = config.duration("agent.capture.stats_update");
    options.max_active_captures = config.count("agent.capture.max_active");
    options.capture_shards = config.count("agent.capture.shards");
    options.ring_bytes = config.bytes("agent.capture.ring_bytes") as u64;
    options.ring_bytes_total = config.bytes("agent.capture.ring_bytes_total") as u64;
    (options.pcap_socket_address, options.pcap_socket_ports) =
        listen_range(config, "pcapsocket", ["min_port", "max_port"])?;
    (options.sflow_address, options.sflow_ports) =
        listen_range(config, "sflow", ["port_min", "port_max"])?;
    (options.netflow_address, options.netflow_ports) =
        listen_range(config, "netflow", ["port_min", "port_max"])?;
    Ok(())
}

/// Returns the address and the ports on which captures of a type (`agent.flow.<kind>`) listen;
/// `ends` are the names of the keys of the first and the last port.
fn listen_range(
    config: &Config,
    kind: &str,
    ends: [&str; 2],
) -> anyhow::Result<(IpAddr, RangeInclusive<u16>)> {
    let key = format!("agent.flow.{kind}.bind_address");
    let address = config.text(&key).parse::<IpAddr>();
    let address = address.with_context(|| format!("{key}: expected an IP address"))?;
    let [first, last] = ends.map(|name| {
        let port = config.count(&format!("agent.flow.{kind}.{name}"));
        u16::try_from(port).unwrap_or(0)
    });
    Ok((address, first..=last))
}

/// Sets the limits of the memory of the graph, of clients, and of queries.
fn set_memory(options: &mut EngineOptions, config: &Config) {
    options.memory = MemoryBudget::new(share_of_machine(config, "http.limits.memory"));
    options.max_graph_bytes = share_of_machine(config, "graph.max_bytes");
    options.max_element_bytes = config.bytes("graph.max_element_bytes");
    let share = options.memory.limit() / QUERY_SHARE;
    options.limits.max_bytes = options.limits.max_bytes.min(share);
}

/// Sets the options of live queries.
fn set_live_queries(options: &mut EngineOptions, config: &Config) {
    let live = &mut options.live;
    live.interval = config.duration("live.interval");
    live.timed_interval = config.duration("live.timed_interval");
    live.max_time = config.duration("live.max_time");
    live.max_queries = config.count("live.max_queries");
    live.max_items = config.count("live.max_items");
    live.max_bytes = config.bytes("live.max_bytes");
}

/// Sets the options of the scripts of alerts and of workflows.
fn set_scripts(options: &mut EngineOptions, config: &Config) {
    options.alert_scripts = config.flag("analyzer.alert.scripts");
    options.scripts.max_time = config.duration("workflow.max_time");
    options.scripts.max_memory = config.bytes("workflow.max_memory");
    options.scripts.max_running = config.count("workflow.max_running");
    options.scripts.can_write = config.flag("workflow.can_write");
}

/// Returns the addresses on which this daemon listens, except for its collectors.
fn listeners(role: Role, config: &Config) -> impl Iterator<Item = ServiceAddress> {
    let keys: &[&str] = match role {
        Role::Agent => &["agent.listen"],
        _ => &["analyzer.listen", "agent.listen", "spp.listen"],
    };
    keys.iter().filter_map(|key| config.address(key))
}

/// Returns the ports on which this daemon listens.
pub(crate) fn listen_ports(role: Role, config: &Config) -> Vec<u16> {
    listeners(role, config)
        .map(|address| address.port)
        .chain(collector_sockets(config).map(|socket| socket.port()))
        .collect()
}

/// Returns the sockets of the configured collectors. An error in their configuration is reported when
/// they are started.
fn collector_sockets(config: &Config) -> impl Iterator<Item = SocketAddr> {
    let collectors = collectors(config).unwrap_or_default();
    collectors.into_iter().map(|collector| collector.listen)
}

/// Returns the services whose packets captures exclude: the sockets on which this daemon listens, and
/// the analyzers to which it connects.
fn control_services(role: Role, config: &Config) -> Vec<SocketAddr> {
    let analyzers = config.list("analyzers");
    let analyzers = analyzers.iter().filter_map(|text| text.parse().ok());
    let mut found: Vec<SocketAddr> = collector_sockets(config).collect();
    for ServiceAddress { host, port } in listeners(role, config).chain(analyzers) {
        match (host.as_str(), port).to_socket_addrs() {
            Ok(addresses) => found.extend(addresses),
            Err(error) => {
                tracing::warn!(host, %error, "cannot resolve the host name; captures do not exclude the packets of this service");
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Number of unanswered pings after which the elements of a lost analyzer's agents are deleted.
///
/// COMPAT: as in Skydive.
const GHOST_PINGS: u32 = 5;

/// Opens a store in the data folder.
fn open_store(folder: &Path, file: &str) -> anyhow::Result<RedbStore> {
    let store = RedbStore::open(&folder.join(file)).map_err(|error| match error {
        StoreError::InUse { .. } => anyhow!(
            "storage.local.path: {error}: stop the other daemon that uses the folder, or set \
             storage.local.path to another folder"
        ),
        error => anyhow::Error::from(error).context(cannot_open(folder)),
    })?;
    if let Some(aside) = store.set_aside() {
        tracing::error!(file = %aside.display(), "the store was damaged; moved it to this file and started with an empty store");
    }
    Ok(store)
}

/// Returns the store of nodes and edges that clients publish; `None` with the backend `memory`.
///
/// COMPAT: as in Skydive.
fn elements(config: &Config, folder: &Path) -> anyhow::Result<Option<Arc<dyn DocStore>>> {
    if driver(config, TOPOLOGY_BACKEND) == "memory" {
        return Ok(None);
    }
    Ok(Some(Arc::new(open_store(folder, "graph.redb")?)))
}

/// Returns the limits of stored resources.
fn resource_limits(config: &Config) -> ResourceLimits {
    let mut limits = ResourceLimits::default();
    limits.captures = config.count("http.limits.captures");
    limits.injections = config.count("http.limits.injectpackets");
    limits.alerts = config.count("http.limits.alerts");
    limits.workflows = config.count("http.limits.workflows");
    limits.node_rules = config.count("http.limits.noderules");
    limits.edge_rules = config.count("http.limits.edgerules");
    limits.nodes = config.count("http.limits.nodes");
    limits.edges = config.count("http.limits.edges");
    limits.bytes = config.bytes("http.limits.resource_bytes");
    limits
}

/// Returns the layer key mode of captures that do not specify one.
fn layer_key_mode(config: &Config) -> LayerKeyMode {
    let name = config.text("flow.default_layer_key_mode");
    name.to_ascii_uppercase().parse().unwrap_or_default()
}

/// Configured store backend that this daemon does not support.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplacedBackend {
    /// Key of the setting.
    pub(crate) key: &'static str,
    /// Configured backend.
    pub(crate) wanted: String,
    /// Driver of the backend.
    driver: String,
}

impl fmt::Display for ReplacedBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, driver, .. } = self;
        write!(
            f,
            "{key}: the backend {driver} is not supported yet; using local instead"
        )
    }
}

/// Returns the configured store backends that Skydive supports and this daemon does not. The daemon
/// uses `local` instead of each, and lists them in the status.
///
/// # Errors
/// Returns an error if a backend is unknown.
pub(crate) fn replaced_backends(config: &Config) -> anyhow::Result<Vec<ReplacedBackend>> {
    let mut replaced = Vec::new();
    for key in [TOPOLOGY_BACKEND, FLOW_BACKEND] {
        let name = config.text(key);
        let driver = driver(config, key);
        match driver.as_str() {
            "local" | "memory" => {}
            "clickhouse" | "elasticsearch" | "orientdb" => {
                replaced.push(ReplacedBackend {
                    key,
                    wanted: name,
                    driver,
                });
            }
            _ => bail!(
                "{key}: {name:?} is not allowed; expected one of local, memory, clickhouse, \
                 elasticsearch, orientdb, or a storage.<name> with such a driver"
            ),
        }
    }
    Ok(replaced)
}

/// Returns the size configured under a key, in bytes; if the size is 0, a quarter of the memory of
/// the machine, at most [`MAX_DEFAULT_MEMORY`].
fn share_of_machine(config: &Config, key: &str) -> usize {
    match config.bytes(key) {
        0 => {
            let quarter = machine_memory::bytes().map(|bytes| bytes / 4);
            let bytes = quarter.unwrap_or(u64::MAX).min(MAX_DEFAULT_MEMORY);
            usize::try_from(bytes).unwrap_or(usize::MAX)
        }
        bytes => bytes,
    }
}

/// Divisor of `http.limits.memory` that gives the memory limit of one query.
const QUERY_SHARE: usize = 4;
/// Maximum default of `http.limits.memory` and `graph.max_bytes`, in bytes.
const MAX_DEFAULT_MEMORY: u64 = 2 << 30;

/// Returns the options of flow tables.
fn flow_table(config: &Config) -> anyhow::Result<FlowTableOptions> {
    let mut table = FlowTableOptions::default()
        .with_update_interval(config.duration("flow.update"))
        .with_expiry_interval(config.duration("flow.expire"))
        .with_max_entries(config.count("flow.max_entries"))
        .with_recorded(config.flag("flow.recorded"))
        .with_key_ignore(
            config
                .list("flow.key.ignore")
                .join(",")
                .parse()
                .context("flow.key.ignore")?,
        );
    table.application_timeouts = [("ARP", "arp"), ("DNS", "dns")]
        .map(|(name, key)| {
            (
                name.into(),
                config.duration(&format!("flow.application_timeout.{key}")),
            )
        })
        .into();
    for (key, protocol) in [
        ("flow.application_ports.tcp", FlowProtocol::Tcp),
        ("flow.application_ports.udp", FlowProtocol::Udp),
    ] {
        let Some(ports) = config.tree(key) else {
            continue;
        };
        let ports = ports
            .as_object()
            .with_context(|| format!("{key}: expected port: name"))?;
        for (port, name) in ports {
            let (Ok(port), Some(name)) = (port.parse::<u16>(), name.as_str()) else {
                bail!("{key}: {port}: {name} is not allowed; expected a port and a name");
            };
            table.application_ports.set(protocol, port, name);
        }
    }
    Ok(table)
}

/// Returns the configured host id, or the host name if none is configured.
fn host_id(config: &Config) -> String {
    match config.text("host_id") {
        empty if empty.is_empty() => rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        id => id,
    }
}

/// Returns the names by which clients may address this machine: its host name with and without
/// domain, the host id, and the configured address.
pub(crate) fn host_names(config: &Config) -> Vec<String> {
    let system = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let short = system.split('.').next().unwrap_or_default().to_owned();
    let listen = config
        .address("analyzer.listen")
        .map(|address| address.host);
    let all = [Some(system), Some(short), Some(host_id(config)), listen];
    all.into_iter()
        .flatten()
        .filter(|name| !name.is_empty())
        .collect()
}

/// Creates the data folder and its parents if they are missing. Returns whether the folder was.
///
/// Only the user of the daemon can read the folder: it contains packets, flows, and scripts of alerts.
/// Parents are created with the usual permissions, because other programs may use them.
///
/// # Errors
/// Returns an error if a folder cannot be created.
pub(crate) fn create_data_folder(folder: &Path) -> anyhow::Result<bool> {
    if folder.exists() {
        return Ok(false);
    }
    let parents = folder.parent().map_or(Ok(()), fs::create_dir_all);
    let created = parents.and_then(|()| DirBuilder::new().mode(0o700).create(folder));
    created.with_context(|| cannot_open(folder))?;
    Ok(true)
}

fn cannot_open(folder: &Path) -> String {
    let folder = folder.display();
    format!("storage.local.path: cannot open the store in {folder}")
}

/// Returns the configured addresses of analyzers.
pub(crate) fn analyzers(config: &Config) -> anyhow::Result<Vec<ServiceAddress>> {
    let parse = |text: &String| text.parse::<ServiceAddress>().context("analyzers");
    config.list("analyzers").iter().map(parse).collect()
}

/// Returns the configured data folder, or the default folder of the user.
pub(crate) fn data_folder(config: &Config) -> PathBuf {
    let configured = config.text("storage.local.path");
    if !configured.is_empty() {
        return PathBuf::from(configured);
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/skyd");
    }
    let variable = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    variable("XDG_DATA_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/share")))
        .unwrap_or_else(std::env::temp_dir)
        .join("skyd")
}

/// Returns the optional probes and their settings.
fn probes(config: &Config) -> anyhow::Result<ProbeOptions> {
    let key = "agent.topology.probes";
    let parse = |name: String| {
        let expected = || {
            let names: Vec<&str> = OptionalProbe::names().collect();
            format!("{key}: expected names of {}", names.join(", "))
        };
        name.parse::<OptionalProbe>().with_context(expected)
    };
    let names: Vec<OptionalProbe> = config
        .list(key)
        .into_iter()
        .map(parse)
        .collect::<anyhow::Result<_>>()?;
    let address = |key: &str| {
        let address = config.text(key).parse::<ServerAddress>();
        address.with_context(|| key.to_owned())
    };
    let tls = TlsFiles::new(config.text("ovs.ca"))
        .with_client(config.text("ovs.cert"), config.text("ovs.key"));
    Ok(ProbeOptions::default()
        .with_probes(names)
        .with_docker(address("agent.topology.docker.url")?)
        .with_podman(address("agent.topology.podman.url")?)
        .with_libvirt(config.text("agent.topology.libvirt.url"))
        .with_lxd(address("agent.topology.lxd.url")?)
        .with_lldp_interfaces(config.list("agent.topology.lldp.interfaces"))
        .with_sockets_interval(config.duration("agent.topology.socketinfo.host_update"))
        .with_block_devices_interval(config.duration("agent.topology.blockdev.iostat_update"))
        .with_runc_paths(
            config
                .list("agent.topology.runc.run_path")
                .iter()
                .map(PathBuf::from)
                .collect(),
        )
        .with_process_namespaces(config.flag("agent.topology.netns.processes"))
        .with_metadata_files(metadata_files(config)?)
        .with_openflow(openflow(config)?)
        .with_ovsdb(
            address("ovs.ovsdb")?.with_tls(tls),
            config.flag("ovs.enable_stats"),
        )
        .with_optional_ovs(!config.is_set(key) && !config.is_set("ovs.ovsdb")))
}

/// Returns the probes of an analyzer and their settings.
///
/// COMPAT: existing configuration files; unknown names have no effect (see [`unknown_probes`]).
fn analyzer_probes(config: &Config) -> AnalyzerProbeOptions {
    let (mut kubernetes, mut unavailable) = (None, Vec::new());
    for name in config.list("analyzer.topology.probes") {
        let mut known = AnalyzerProbeOptions::NAMES.into_iter();
        match known.find(|known| *known == name) {
            Some("k8s") => kubernetes = Some(kubernetes_options(config)),
            Some(known) => unavailable.push(known),
            None => {}
        }
    }
    AnalyzerProbeOptions::default()
        .with_kubernetes(kubernetes)
        .with_unavailable(unavailable)
}

/// Returns a warning for each name of an analyzer's probe, or of a kind of Kubernetes objects, that
/// does not exist and has no effect.
pub(crate) fn unknown_probes(config: &Config) -> Vec<String> {
    let probes = config.list("analyzer.topology.probes");
    let unknown = probes
        .iter()
        .filter(|name| !AnalyzerProbeOptions::NAMES.contains(&name.as_str()));
    let mut warnings: Vec<String> = unknown
        .map(|name| {
            let names = AnalyzerProbeOptions::NAMES.join(", ");
            format!(
                "analyzer.topology.probes: no probe is named {name:?}; expected names of {names}"
            )
        })
        .collect();
    let kinds = config.list("analyzer.topology.k8s.probes");
    let (_, unknown) = Kinds::from_names(kinds.iter().map(String::as_str));
    warnings.extend(
        unknown.into_iter().map(|name| {
            format!("analyzer.topology.k8s.probes: no kind of objects is named {name:?}")
        }),
    );
    warnings
}

/// Returns the settings of the connection to Kubernetes.
fn kubernetes_options(config: &Config) -> KubernetesOptions {
    let names = config.list("analyzer.topology.k8s.probes");
    let (kinds, _) = Kinds::from_names(names.iter().map(String::as_str));
    let file = config.text("analyzer.topology.k8s.config_file");
    KubernetesOptions::new(file, config::yaml)
        .with_kinds(kinds)
        .with_cluster_name(config.text("analyzer.topology.k8s.cluster_name"))
}

/// Returns the settings of OpenFlow rules; `None` if they are disabled.
fn openflow(config: &Config) -> anyhow::Result<Option<OpenFlowOptions>> {
    let addresses = match config.tree("ovs.oflow.address") {
        None => BTreeMap::new(),
        Some(tree) => serde_json::from_value(tree.clone())
            .context("ovs.oflow.address: expected a mapping from bridge names to addresses")?,
    };
    let options = OpenFlowOptions::default()
        .with_versions(config.list("ovs.oflow.openflow_versions"))
        .with_addresses(addresses);
    Ok(config.flag("ovs.oflow.enable").then_some(options))
}

/// Returns the values of files that the node of the host shows.
fn metadata_files(config: &Config) -> anyhow::Result<Vec<MetadataFile>> {
    #[derive(serde::Deserialize)]
    struct Entry {
        path: PathBuf,
        #[serde(rename = "type")]
        kind: String,
        name: String,
        selector: String,
    }
    let key = "agent.metadata_config.files";
    let tree = config.tree("agent.metadata_config");
    let Some(files) = tree.and_then(|tree| tree.get("files")) else {
        return Ok(Vec::new());
    };
    let files: Vec<Entry> = serde_json::from_value(files.clone())
        .with_context(|| format!("{key}: expected objects with path, type, name, and selector"))?;
    let parsed = files.into_iter().map(|file| {
        let parser = metadata_format::parser(&file.kind).with_context(|| {
            let names = metadata_format::NAMES.join(", ");
            format!(
                "{key}: type {:?} is not allowed; expected one of {names}",
                file.kind
            )
        })?;
        Ok(MetadataFile::new(
            file.path,
            file.name,
            file.selector,
            parser,
        ))
    });
    parsed.collect()
}

/// Returns the configured metadata of the host node.
fn host_metadata(config: &Config) -> anyhow::Result<Map> {
    match config.tree("agent.metadata") {
        None => Ok(Map::new()),
        Some(tree) => {
            serde_json::from_value(tree.clone()).context("agent.metadata: expected keys and values")
        }
    }
}

/// Returns the capture to create at startup, if one is configured.
fn startup_capture(config: &Config) -> anyhow::Result<Option<CaptureSpec>> {
    let query = config.text("analyzer.startup.capture_gremlin");
    if query.is_empty() {
        return Ok(None);
    }
    let capture_type = match config.text("analyzer.startup.capture_type").as_str() {
        "" => None,
        name => Some(name.parse::<CaptureType>().ok().with_context(|| {
            let names = CaptureType::ALL.map(CaptureType::name).join(", ");
            let key = "analyzer.startup.capture_type";
            format!("{key}: {name:?} is not allowed; expected one of {names}")
        })?),
    };
    let spec = CaptureSpec::new(query)
        .with_bpf_filter(config.text("analyzer.startup.capture_bpf"))
        .with_capture_type(capture_type)
        .with_layer_key_mode(layer_key_mode(config));
    Ok(Some(spec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_vswitch_is_required_only_if_it_is_configured() {
        let is_optional = |yaml: &str| {
            let config = Config::parse("skyd.yml", yaml).unwrap();
            probes(&config).unwrap().is_ovs_optional
        };
        assert!(is_optional(""));
        assert!(is_optional(
            "agent: {topology: {lldp: {interfaces: [eth0]}}}"
        ));
        assert!(!is_optional("agent: {topology: {probes: [ovsdb]}}"));
        assert!(!is_optional("ovs: {ovsdb: 'unix:/run/ovs.sock'}"));
    }
}
