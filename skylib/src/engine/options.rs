//! `EngineOptions`: settings of an engine.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::alert::WebhookClient;
use super::collector::CollectorOptions;
use super::flow::FlowOptions;
use super::live::LiveOptions;
use super::probe_options::{AnalyzerProbeOptions, ProbeOptions};
use super::resource::ResourceLimits;
#[cfg(feature = "scripting")]
use super::script::ScriptOptions;
use crate::api::CaptureSpec;
use crate::flow::{FlowTableOptions, LayerKeyMode};
use crate::graph::history::History;
use crate::gremlin::Limits;
use crate::memory::MemoryBudget;
use crate::store::{DocStore, FlowStore, MemoryDocStore};
use crate::time::{Clock, SystemClock};
use crate::topology::Fabric;
use crate::value::Map;

/// Role of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Serves a graph that clients and agents fill; runs no probes.
    Analyzer,
    /// An analyzer that also runs the probes of its own host.
    AllInOne,
    /// Runs the probes and captures of its host for analyzers.
    Agent,
}

/// Settings of an engine.
///
/// ```
/// use std::sync::Arc;
/// use skylib::engine::{EngineOptions, Role};
/// use skylib::graph::history::{HistoryLimits, MemoryHistory};
///
/// let history = MemoryHistory::new(HistoryLimits::default());
/// let options = EngineOptions::new("edge-01")
///     .with_role(Role::AllInOne)
///     .with_history(Arc::new(history));
/// assert!(options.flow_store.is_none());
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct EngineOptions {
    /// Role of the engine.
    pub role: Role,
    /// Identity of this host in the graph.
    pub host: String,
    /// Store for API resources.
    pub documents: Arc<dyn DocStore>,
    /// Store for nodes and edges that clients create; with `None`, they do not survive the process.
    pub elements: Option<Arc<dyn DocStore>>,
    /// Store for the past of the graph; with `None`, queries about the past are rejected.
    pub history: Option<Arc<dyn History>>,
    /// Flow store; with `None`, queries about past flows are rejected.
    pub flow_store: Option<Arc<dyn FlowStore>>,
    /// Clock for timestamps and deadlines.
    pub clock: Arc<dyn Clock>,
    /// Time zone of dates and times of day in queries that name none.
    pub time_zone: TimeZone,
    /// Settings of flow tables that a capture does not set itself.
    pub table: FlowTableOptions,
    /// Settings of the flow hub.
    pub flows: FlowOptions,
    /// Maximum size of the flows of an agent that wait for its analyzers, in bytes.
    pub max_uplink_bytes: usize,
    /// Time after which the elements of the agents of a lost analyzer are deleted.
    pub ghost_timeout: Duration,
    /// Interval at which the counters of captures in the graph are refreshed.
    pub capture_stats_interval: Duration,
    /// Interval at which the counters of interfaces in the graph are refreshed.
    pub metrics_interval: Duration,
    /// Folder of the named network namespaces; `None` to ignore them.
    pub netns_path: Option<PathBuf>,
    /// Optional probes and their settings.
    pub probes: ProbeOptions,
    /// Settings of the probes that run in an analyzer.
    pub analyzer_probes: AnalyzerProbeOptions,
    /// Static nodes and links of the network.
    pub fabric: Fabric,
    /// Additional metadata of the host node.
    pub host_metadata: Map,
    /// Limits of one query.
    pub limits: Limits,
    /// Limit on the memory used on behalf of clients.
    pub memory: MemoryBudget,
    /// Maximum size of the nodes and edges that were not added by this host's probes, in bytes,
    /// approximately.
    pub max_graph_bytes: usize,
    /// Maximum size of one node or edge that was not added by this host's probes, in bytes,
    /// approximately.
    pub max_element_bytes: usize,
    /// Intervals and limits of live queries.
    pub live: LiveOptions,
    /// Default mode of the flow keys of captures.
    pub layer_key_mode: LayerKeyMode,
    /// Limits on the number and the size of resources.
    pub resources: ResourceLimits,
    /// Maximum number of captures active on nodes, each with a packet ring and a flow table.
    pub max_active_captures: usize,
    /// Size of the packet ring of one capture, in bytes; smaller while many captures are active.
    pub ring_bytes: u64,
    /// Maximum size of the packet rings of all captures together, in bytes.
    pub ring_bytes_total: u64,
    /// Whether this engine runs captures on the nodes of its host. Otherwise it only stores
    /// captures, for agents.
    pub local_captures: bool,
    /// Capture to create at startup, unless an equal one is stored.
    pub startup_capture: Option<CaptureSpec>,
    /// Address on which PCAP sockets listen.
    pub pcap_socket_address: IpAddr,
    /// Ports of PCAP sockets; each socket uses the first free port.
    pub pcap_socket_ports: RangeInclusive<u16>,
    /// Address to which bridges of this host send sFlow.
    pub sflow_address: IpAddr,
    /// Ports to which bridges of this host send sFlow; each capture uses the first free port.
    pub sflow_ports: RangeInclusive<u16>,
    /// Address to which bridges of this host send NetFlow.
    pub netflow_address: IpAddr,
    /// Ports to which bridges of this host send NetFlow; each capture uses the first free port.
    pub netflow_ports: RangeInclusive<u16>,
    /// Number of threads that share the packets of one interface by flow, each with a packet ring
    /// and a flow table.
    pub capture_shards: usize,
    /// Services of this program, and services to which it connects: captures on interfaces exclude
    /// packets from and to these addresses and ports. An unspecified address stands for all addresses
    /// of this host.
    pub control_services: Vec<SocketAddr>,
    /// Sockets that receive flow exports.
    pub collectors: Vec<CollectorOptions>,
    /// Client that sends the messages of alerts to HTTP servers; with `None`, such actions fail.
    pub webhooks: Option<Arc<dyn WebhookClient>>,
    /// Whether alerts may run programs on this host.
    pub alert_scripts: bool,
    /// Limits of workflows and of JavaScript in alerts.
    #[cfg(feature = "scripting")]
    pub scripts: ScriptOptions,
}

impl EngineOptions {
    /// Returns the options of an analyzer without storage on disk, with Skydive's defaults.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            role: Role::Analyzer,
            host: host.into(),
            documents: Arc::new(MemoryDocStore::default()),
            elements: None,
            history: None,
            flow_store: None,
            clock: Arc::new(SystemClock),
            time_zone: TimeZone::system(),
            table: FlowTableOptions::default(),
            flows: FlowOptions::default(),
            max_uplink_bytes: 64 << 20,
            ghost_timeout: Duration::from_secs(35),
            capture_stats_interval: Duration::from_secs(1),
            metrics_interval: Duration::from_secs(30),
            netns_path: Some(PathBuf::from("/var/run/netns")),
            probes: ProbeOptions::default().with_probes(Vec::new()),
            analyzer_probes: AnalyzerProbeOptions::default(),
            fabric: Fabric::default(),
            host_metadata: Map::new(),
            limits: Limits::default(),
            memory: MemoryBudget::unlimited(),
            max_graph_bytes: usize::MAX,
            max_element_bytes: usize::MAX,
            live: LiveOptions::default(),
            layer_key_mode: LayerKeyMode::default(),
            resources: ResourceLimits::default(),
            max_active_captures: 256,
            ring_bytes: 8 << 20,
            ring_bytes_total: 512 << 20,
            local_captures: true,
            startup_capture: None,
            pcap_socket_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            pcap_socket_ports: 8_100..=8_132,
            sflow_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            sflow_ports: 6_345..=6_355,
            netflow_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            netflow_ports: 6_365..=6_375,
            capture_shards: 1,
            control_services: Vec::new(),
            collectors: Vec::new(),
            webhooks: None,
            alert_scripts: true,
            #[cfg(feature = "scripting")]
            scripts: ScriptOptions::default(),
        }
    }
}

/// Generates a `with_*` setter for each option. `Some` marks options whose type is an `Option`.
macro_rules! setters {
    ($($doc:literal $setter:ident($field:ident: $type:ty $(as $wrap:ident)?);)*) => {
        impl EngineOptions {
            $(
                #[doc = $doc]
                #[must_use]
                pub fn $setter(mut self, $field: $type) -> Self {
                    self.$field = setters!(@value $field $($wrap)?);
                    self
                }
            )*
        }
    };
    (@value $field:ident) => { $field };
    (@value $field:ident Some) => { Some($field) };
}

setters! {
    "Sets the role." with_role(role: Role);
    "Sets the store for API resources." with_documents(documents: Arc<dyn DocStore>);
    "Sets the store for nodes and edges that clients create."
    with_elements(elements: Arc<dyn DocStore> as Some);
    "Sets the store for the graph's past." with_history(history: Arc<dyn History> as Some);
    "Sets the store for flows." with_flow_store(flow_store: Arc<dyn FlowStore> as Some);
    "Sets the clock of timestamps and deadlines." with_clock(clock: Arc<dyn Clock>);
    "Sets the time zone of dates and times of day in queries that do not name one."
    with_time_zone(time_zone: TimeZone);
    "Sets the settings of each capture's flow table that the capture does not set."
    with_table(table: FlowTableOptions);
    "Sets the settings of the flow hub." with_flows(flows: FlowOptions);
    "Sets the maximum size of the flows of an agent that wait for its analyzers, in bytes."
    with_max_uplink_bytes(max_uplink_bytes: usize);
    "Sets the time after which the elements of the agents of a lost analyzer are deleted."
    with_ghost_timeout(ghost_timeout: Duration);
    "Sets the interval at which the counters of captures in the graph are refreshed."
    with_capture_stats_interval(capture_stats_interval: Duration);
    "Sets the interval at which the counters of interfaces in the graph are refreshed."
    with_metrics_interval(metrics_interval: Duration);
    "Sets the folder of the named network namespaces; `None` to ignore them."
    with_netns_path(netns_path: Option<PathBuf>);
    "Sets the optional probes and their settings." with_probes(probes: ProbeOptions);
    "Sets the settings of the probes that run in an analyzer."
    with_analyzer_probes(analyzer_probes: AnalyzerProbeOptions);
    "Sets the static nodes and links of the network." with_fabric(fabric: Fabric);
    "Sets additional metadata of the host node." with_host_metadata(host_metadata: Map);
    "Sets the limits of one query." with_limits(limits: Limits);
    "Sets the limit on the memory used on behalf of clients."
    with_memory(memory: MemoryBudget);
    "Sets the maximum size of the nodes and edges not added by this host's probes, in bytes."
    with_max_graph_bytes(max_graph_bytes: usize);
    "Sets the maximum size of one node or edge not added by this host's probes, in bytes."
    with_max_element_bytes(max_element_bytes: usize);
    "Sets the intervals and limits of live queries." with_live(live: LiveOptions);
    "Sets the mode of the flow keys of captures that do not set one."
    with_layer_key_mode(layer_key_mode: LayerKeyMode);
    "Sets the limits on the number and the size of resources."
    with_resources(resources: ResourceLimits);
    "Sets the maximum number of captures active on nodes."
    with_max_active_captures(max_active_captures: usize);
    "Sets the size of the packet ring of one capture, in bytes." with_ring_bytes(ring_bytes: u64);
    "Sets the maximum size of all packet rings together, in bytes."
    with_ring_bytes_total(ring_bytes_total: u64);
    "Sets whether this engine opens captures on the nodes of its host."
    with_local_captures(local_captures: bool);
    "Sets a capture to create at the start, unless an equal one is stored."
    with_startup_capture(startup_capture: CaptureSpec as Some);
    "Sets the address on which PCAP sockets listen."
    with_pcap_socket_address(pcap_socket_address: IpAddr);
    "Sets the ports of PCAP sockets; each socket uses the first free port."
    with_pcap_socket_ports(pcap_socket_ports: RangeInclusive<u16>);
    "Sets the address to which bridges of this host send sFlow."
    with_sflow_address(sflow_address: IpAddr);
    "Sets the ports to which bridges of this host send sFlow."
    with_sflow_ports(sflow_ports: RangeInclusive<u16>);
    "Sets the address to which bridges of this host send NetFlow."
    with_netflow_address(netflow_address: IpAddr);
    "Sets the ports to which bridges of this host send NetFlow."
    with_netflow_ports(netflow_ports: RangeInclusive<u16>);
    "Sets the number of threads that share the packets of one interface."
    with_capture_shards(capture_shards: usize);
    "Sets the services whose packets captures on interfaces exclude."
    with_control_services(control_services: Vec<SocketAddr>);
    "Sets the sockets that receive flow exports."
    with_collectors(collectors: Vec<CollectorOptions>);
    "Sets the client that sends the messages of alerts to HTTP servers."
    with_webhooks(webhooks: Arc<dyn WebhookClient> as Some);
    "Sets whether alerts may run programs on this host."
    with_alert_scripts(alert_scripts: bool);
}

#[cfg(feature = "scripting")]
impl EngineOptions {
    /// Sets the limits of workflows and of JavaScript in alerts.
    #[must_use]
    pub fn with_scripts(mut self, scripts: ScriptOptions) -> Self {
        self.scripts = scripts;
        self
    }
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineOptions")
            .field("role", &self.role)
            .field("host", &self.host)
            .field("has_elements", &self.elements.is_some())
            .field("has_history", &self.history.is_some())
            .field("has_flow_store", &self.flow_store.is_some())
            .field("flows", &self.flows)
            .field("live", &self.live)
            .field("resources", &self.resources)
            .field("max_active_captures", &self.max_active_captures)
            .field("local_captures", &self.local_captures)
            .finish_non_exhaustive()
    }
}
