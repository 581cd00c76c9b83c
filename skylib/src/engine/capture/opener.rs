//! `Opener`: opens a capture on a node: packet rings, flow tables, and worker threads.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::control_traffic::ControlTraffic;
use super::node_capture::TargetSenders;
use super::record_source::RecordSource;
use super::ring_memory::{RingClaim, RingMemory};
use super::shards::Shards;
use super::sources::{self, ListenAddresses, OpenedSource};
use super::switch::{SwitchCaptures, SwitchClaim, netflow_export, sflow_export};
use super::target::{CaptureTarget, capture_type_on};
use super::target_addresses::TargetAddresses;
use crate::api::{CaptureSpec, CaptureType};
use crate::capture::{
    BpfCompiler, BpfProgram, Capture, CaptureError, DEFAULT_HEADER_SIZE, NetFlow5Sink,
};
use crate::engine::collector::SflowMetric;
use crate::engine::flow::{FlowHub, HubSink, TableId};
use crate::engine::graph::SharedGraph;
use crate::error_chain::Chain;
use crate::flow::{
    ExportTable, ExportTableOptions, ExtraLayers, FlowTable, FlowTableOptions, KeyIgnore,
    PacketFilter,
};
use crate::graph::{GraphAccess, Node};
use crate::packet::LinkType;
use crate::time::Clock;

/// Parts and settings of an engine that opening captures requires.
pub(crate) struct Opener {
    pub(crate) graph: Arc<SharedGraph>,
    pub(crate) flows: Arc<FlowHub>,
    /// Settings of each capture's flow table that the capture does not set.
    pub(crate) table: FlowTableOptions,
    pub(crate) clock: Arc<dyn Clock>,
    /// Origin of the elements that this engine's probes create.
    pub(crate) origin: String,
    /// Memory limit of the packet rings.
    pub(crate) rings: RingMemory,
    /// Number of threads that share the packets of an interface.
    pub(crate) shards: usize,
    pub(crate) filters: BpfCompiler,
    /// Addresses on which PCAP sockets listen.
    pub(crate) pcap_sockets: ListenAddresses,
    pub(crate) switch: SwitchCaptures,
    /// Addresses of the targets of captures.
    pub(crate) targets: TargetAddresses,
    /// Messages of this program, which captures on interfaces exclude.
    pub(crate) control: ControlTraffic,
}

/// A capture that has been opened.
pub(super) struct OpenedCapture {
    pub(super) threads: Shards,
    /// Flow tables in the hub; none if its flows are sent to a target.
    pub(super) tables: Vec<TableId>,
    /// Senders to its target; none without a target for flows.
    pub(super) target: TargetSenders,
    pub(super) rings: Vec<RingClaim>,
    /// Address on which the capture receives, and the key under which its status shows the address.
    pub(super) socket: Option<(&'static str, String)>,
    /// Counters that sFlow agents have sent.
    pub(super) sflow: Option<Arc<Mutex<SflowMetric>>>,
    /// Settings of the switch that belong to the capture; removed with the capture.
    pub(super) claim: Option<SwitchClaim>,
    /// Interface to which the switch mirrors the packets.
    pub(super) mirror: Option<String>,
}

impl Opener {
    /// Opens a capture on a node and adds its flow tables to the tables that queries read. Returns
    /// `None` if the address of its target is not known, or its filter is not compiled yet, and
    /// calls `is_ready` once this has changed.
    ///
    /// # Errors
    /// Returns the reason as a message for the node's `Captures` metadata.
    pub(super) fn open(
        &self,
        spec: &CaptureSpec,
        node: &Node,
        is_ready: impl Fn() + Clone + Send + 'static,
    ) -> Result<Option<OpenedCapture>, String> {
        let capture_type = capture_type_on(spec.capture_type, node)?;
        let is_interface = matches!(capture_type, CaptureType::AfPacket | CaptureType::Pcap);
        if !is_interface && !matches!(&*spec.target_type, "" | "local") {
            return Err(format!(
                "{} captures have no target type",
                capture_type.name()
            ));
        }
        let mut target = Err(String::new());
        self.graph.read(&mut |graph| {
            target = if is_interface {
                CaptureTarget::of(graph, node, &self.origin)
            } else {
                Ok(CaptureTarget::of_socket(graph, node, &self.origin))
            };
        });
        let target = target?;
        let Some(receiver) = self.receiver(spec, capture_type, is_ready.clone())? else {
            return Ok(None);
        };
        let Some(program) = self.program(spec, &target, capture_type, receiver, is_ready)? else {
            return Ok(None);
        };
        let owner = format!("{}/{}", spec.uuid, node.id);
        let (opened, filter) =
            self.open_source(spec, &target, capture_type, receiver, program, &owner)?;
        self.start(spec, &target, receiver, filter.as_ref(), opened)
            .map(Some)
    }

    /// Opens the source of the packets of a capture. Returns it with the filter that its flow table
    /// must apply: the program, if the source does not apply it.
    fn open_source(
        &self,
        spec: &CaptureSpec,
        target: &CaptureTarget,
        capture_type: CaptureType,
        receiver: Option<SocketAddr>,
        program: Option<BpfProgram>,
        owner: &str,
    ) -> Result<(OpenedSource, Option<BpfProgram>), String> {
        Ok(match capture_type {
            CaptureType::AfPacket | CaptureType::Pcap => {
                (self.open_interface(spec, target, receiver, program)?, None)
            }
            CaptureType::OvsMirror => {
                let opened = self.open_mirror(spec, target, receiver, program, owner)?;
                (opened, None)
            }
            CaptureType::OvsNetflow => {
                let program = program.as_ref();
                let opened = self.open_netflow(spec, target, receiver, program, owner)?;
                (opened, None)
            }
            CaptureType::OvsSflow => {
                let bridge = switch_uuid(target)?;
                let (export, open) = (sflow_export(spec), |at| sources::open_sflow_at(at, None));
                let opened = self
                    .switch
                    .open_export(bridge, owner, receiver, export, open)?;
                (opened, program)
            }
            CaptureType::PcapSocket => (sources::open_pcap_socket(&self.pcap_sockets)?, program),
            CaptureType::Sflow => (sources::open_sflow(spec, target)?, program),
            CaptureType::Dpdk | CaptureType::Ebpf => {
                let name = capture_type.name();
                return Err(format!(
                    "Unable to find probe for this capture type: {name}"
                ));
            }
        })
    }

    /// Returns the address of the target of a capture; the inner value is `None` if the capture has
    /// no target, or ignores it. Returns `None` if the address is being looked up.
    fn receiver(
        &self,
        spec: &CaptureSpec,
        capture_type: CaptureType,
        found: impl FnOnce() + Send + 'static,
    ) -> Result<Option<Option<SocketAddr>>, String> {
        if spec.target.is_empty() || !sees_own(capture_type) {
            return Ok(Some(None));
        }
        let now = self.clock.now();
        let address = self.targets.address(&spec.uuid, &spec.target, now, found);
        address.map(|address| address.map(Some)).transpose()
    }

    fn open_interface(
        &self,
        spec: &CaptureSpec,
        target: &CaptureTarget,
        receiver: Option<SocketAddr>,
        program: Option<BpfProgram>,
    ) -> Result<OpenedSource, String> {
        let receiver = match &*spec.target_type {
            sources::ERSPAN => Some(sources::erspan_receiver(spec, receiver)?),
            _ => None,
        };
        sources::open_interface(spec, target, receiver, program, &self.rings, self.shards)
    }

    /// Mirrors a port of the switch, and captures on the mirror interface. The flows belong to the
    /// node of the port.
    fn open_mirror(
        &self,
        spec: &CaptureSpec,
        port: &CaptureTarget,
        receiver: Option<SocketAddr>,
        program: Option<BpfProgram>,
        owner: &str,
    ) -> Result<OpenedSource, String> {
        let (claim, interface) = self.switch.start_mirror(switch_uuid(port)?, owner)?;
        let target = CaptureTarget {
            interface: interface.clone(),
            encap_type: "ether".to_owned(),
            netns: None,
            ..port.clone()
        };
        let mut opened = self.open_interface(spec, &target, receiver, program)?;
        (opened.claim, opened.mirror) = (Some(claim), Some(interface));
        Ok(opened)
    }

    fn open_netflow(
        &self,
        spec: &CaptureSpec,
        target: &CaptureTarget,
        receiver: Option<SocketAddr>,
        program: Option<&BpfProgram>,
        owner: &str,
    ) -> Result<OpenedSource, String> {
        let open = |address| {
            let options = ExportTableOptions {
                expiry: self.table.expiry_interval,
                table: self.table_options(spec, target),
                ..ExportTableOptions::default()
            };
            let mut table = ExportTable::new(options);
            let filter = program.cloned();
            table.set_filter(filter.map(|filter| Box::new(filter) as Box<dyn PacketFilter>));
            let source = RecordSource::open(address, table, &target.tid, &self.flows, &self.clock);
            let failed = |error| format!("cannot receive NetFlow at {address}: {error}");
            let source = source.map_err(failed)?;
            let shown = source.address().map_err(failed)?;
            let mut opened = OpenedSource::new(source);
            opened.socket = Some(("NetFlowSocket", shown.to_string()));
            Ok(opened)
        };
        let bridge = switch_uuid(target)?;
        let export = netflow_export(self.table.update_interval);
        self.switch
            .open_export(bridge, owner, receiver, export, open)
    }

    /// Starts the threads of a capture.
    fn start(
        &self,
        spec: &CaptureSpec,
        target: &CaptureTarget,
        receiver: Option<SocketAddr>,
        filter: Option<&BpfProgram>,
        opened: OpenedSource,
    ) -> Result<OpenedCapture, String> {
        let name = &target.interface;
        // The flows are for the target only: neither subscribers nor queries see them.
        let collector = match (&*spec.target_type, receiver) {
            (sources::NETFLOW, None) => return Err("Target: an address is required".to_owned()),
            (sources::NETFLOW, receiver) => receiver,
            _ => None,
        };
        let mut senders = TargetSenders::default();
        let (mut threads, mut tables) = (Vec::new(), Vec::new());
        let mut options = self.table_options(spec, target);
        let shards = opened.sources.len().max(1);
        options.max_entries = (options.max_entries / shards).max(1);
        options.max_bytes = options.max_bytes.map(|bytes| bytes / shards);
        for source in opened.sources {
            let mut table = FlowTable::new(options.clone());
            let filter = filter.cloned();
            table.set_filter(filter.map(|filter| Box::new(filter) as Box<dyn PacketFilter>));
            let clock = Arc::clone(&self.clock);
            let capture = if let Some(collector) = collector {
                let sink = NetFlow5Sink::open(collector, Arc::clone(&clock));
                let sink = sink.map_err(|error| Chain(&error).to_string())?;
                senders.0.push(sink.counters());
                Capture::start(name, source, table, sink, clock)
            } else {
                Capture::start(name, source, table, HubSink::new(&self.flows), clock)
            };
            threads.push(capture.map_err(|error| Chain(&error).to_string())?);
        }
        if collector.is_none() {
            let handles = threads.iter().map(|capture| capture.handle().clone());
            tables.extend(handles.map(|handle| self.flows.add_table(handle)));
        }
        Ok(OpenedCapture {
            threads: Shards(threads),
            tables,
            target: senders,
            rings: opened.rings,
            socket: opened.socket,
            sflow: opened.sflow,
            claim: opened.claim,
            mirror: opened.mirror,
        })
    }

    /// Returns the filter of a capture; the inner value is `None` without a filter. Returns `None` if
    /// the filter is not compiled yet.
    fn program(
        &self,
        spec: &CaptureSpec,
        target: &CaptureTarget,
        capture_type: CaptureType,
        receiver: Option<SocketAddr>,
        compiled: impl Fn() + Send + 'static,
    ) -> Result<Option<Option<BpfProgram>>, String> {
        let link_type = match capture_type {
            CaptureType::AfPacket | CaptureType::Pcap => sources::link_type_of(target),
            // The records have no link layer.
            CaptureType::OvsNetflow => LinkType::RAW,
            _ => LinkType::ETHERNET,
        };
        let has_addresses = [LinkType::ETHERNET, LinkType::RAW].contains(&link_type);
        let control = if sees_own(capture_type) && has_addresses {
            let now = self.clock.now();
            self.control.expression(&self.graph, &self.origin, now)
        } else {
            String::new()
        };
        let text = filter_of(spec, receiver, &control);
        if text.is_empty() {
            return Ok(Some(None));
        }
        let snap_len = match u32::try_from(spec.header_size) {
            Ok(size @ 1..) => size,
            _ => DEFAULT_HEADER_SIZE,
        };
        let program = self
            .filters
            .program_or_request(&text, link_type, snap_len, compiled);
        let Some(program) = program else {
            return Ok(None);
        };
        let program = program.map_err(|error| Chain(&quoting(spec, error)).to_string())?;
        Ok(Some(Some(program)))
    }

    /// Returns whether a capture reproduces the values of Skydive, and which parts of the flow key
    /// it ignores: its own settings, or else those of the engine.
    pub(super) fn identity_of(&self, spec: &CaptureSpec) -> (bool, KeyIgnore) {
        let key_ignore = spec.ignored_key().and_then(Result::ok);
        (
            spec.recorded.unwrap_or(self.table.recorded),
            key_ignore.unwrap_or(self.table.key_ignore),
        )
    }

    /// Returns the settings of the flow tables of a capture.
    fn table_options(&self, spec: &CaptureSpec, target: &CaptureTarget) -> FlowTableOptions {
        let mut options = self.table.clone();
        options.node_tid = target.tid.as_str().into();
        options.capture_id = spec.uuid.as_str().into();
        options.layer_key_mode = spec.layer_key_mode;
        options.raw_packet_limit = u32::try_from(spec.raw_packet_limit).unwrap_or(0);
        options.extra_tcp_metric = spec.extra_tcp_metric;
        options.reassemble_tcp = spec.reassemble_tcp;
        options.ip_defrag = spec.ip_defrag;
        options.extra_rtt_metric = spec.extra_rtt_metric;
        options.extra_layers = ExtraLayers::from_bits(spec.extra_layers);
        let (recorded, key_ignore) = self.identity_of(spec);
        (options.recorded, options.key_ignore) = (recorded, key_ignore);
        options
    }
}

/// Returns the UUID of a bridge or port in the database of the switch.
fn switch_uuid(target: &CaptureTarget) -> Result<&str, String> {
    match target.uuid.as_str() {
        "" => Err(format!("No UUID for node {}", target.interface)),
        uuid => Ok(uuid),
    }
}

/// Returns whether a capture can include packets of this program. Captures of the other types
/// receive packets that another program has stored or sampled.
const fn sees_own(capture_type: CaptureType) -> bool {
    !matches!(capture_type, CaptureType::PcapSocket | CaptureType::Sflow)
}

/// Rewrites the error of a capture's filter so that it quotes only the expression of the client,
/// not the exclusions that were added to it.
fn quoting(spec: &CaptureSpec, error: CaptureError) -> CaptureError {
    match error {
        CaptureError::Filter { message, .. } if !spec.bpf_filter.is_empty() => {
            CaptureError::of_filter(&spec.bpf_filter, message)
        }
        other => other,
    }
}

/// Returns the filter of a capture. It excludes the packets that the expression `control` matches,
/// and those to its target (`receiver`): each such packet could cause another one.
fn filter_of(spec: &CaptureSpec, receiver: Option<SocketAddr>, control: &str) -> String {
    let mut parts = Vec::new();
    if let Some(receiver) = receiver {
        let (host, port) = (receiver.ip(), receiver.port());
        parts.push(if port == 0 || spec.target_type == sources::ERSPAN {
            format!("not host {host}")
        } else {
            format!("not (host {host} and port {port})")
        });
    }
    if !control.is_empty() {
        parts.push(format!("not ({control})"));
    }
    let wanted = &spec.bpf_filter;
    if parts.is_empty() {
        return wanted.clone();
    }
    if !wanted.is_empty() {
        parts.insert(0, format!("({wanted})"));
    }
    parts.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_filter_quotes_what_the_client_wrote() {
        let spec = CaptureSpec::new("G").with_bpf_filter("vlan 5000");
        let text = filter_of(&spec, None, "port 8082");
        let error = BpfProgram::compile(&text, LinkType::ETHERNET, 0).unwrap_err();
        let shown = quoting(&spec, error).to_string();
        assert!(
            shown.starts_with(r#"invalid BPF filter "vlan 5000": "#),
            "{shown}"
        );
        let without = CaptureError::of_filter("not (port x)", "why".to_owned());
        let shown = quoting(&CaptureSpec::new("G"), without).to_string();
        assert_eq!(shown, r#"invalid BPF filter "not (port x)": why"#);
    }

    #[test]
    fn own_messages_to_the_target_are_not_captured() {
        let filter = |bpf: &str, target: &str, kind: &str| {
            let spec = CaptureSpec::new("G")
                .with_bpf_filter(bpf)
                .with_target_type(kind);
            filter_of(&spec, target.parse().ok(), "")
        };
        assert_eq!(filter("tcp", "", ""), "tcp");
        assert_eq!(
            filter("", "192.0.2.1:2055", "netflowv5"),
            "not (host 192.0.2.1 and port 2055)"
        );
        assert_eq!(
            filter("tcp or udp", "192.0.2.1:2055", "netflowv5"),
            "(tcp or udp) and not (host 192.0.2.1 and port 2055)"
        );
        assert_eq!(filter("", "192.0.2.1:0", "erspanv1"), "not host 192.0.2.1");
        let spec = CaptureSpec::new("G").with_bpf_filter("tcp or udp");
        assert_eq!(
            filter_of(&spec, None, "port 8082 and (host 10.0.0.1)"),
            "(tcp or udp) and not (port 8082 and (host 10.0.0.1))"
        );
    }
}
