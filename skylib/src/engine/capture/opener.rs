//! `Opener`: opens a capture on a node: packet rings, flow tables, and worker threads.

use std::sync::Arc;

use parking_lot::Mutex;

use super::control_traffic::ControlTraffic;
use super::record_source::RecordSource;
use super::ring_memory::{RingClaim, RingMemory};
use super::shards::Shards;
use super::sources::{self, ListenAddresses, OpenedSource};
use super::switch::{SwitchCaptures, SwitchClaim};
use super::target::{CaptureTarget, capture_type_on};
use crate::api::{CaptureSpec, CaptureType};
use crate::capture::{BpfCompiler, BpfProgram, Capture, DEFAULT_HEADER_SIZE, NetFlow5Sink};
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
    /// Messages of this program, which captures on interfaces exclude.
    pub(crate) control: ControlTraffic,
}

/// A capture that has been opened.
pub(super) struct OpenedCapture {
    pub(super) threads: Shards,
    /// Flow tables in the hub; none if its flows are sent to a target.
    pub(super) tables: Vec<TableId>,
    pub(super) rings: Vec<RingClaim>,
    /// Address on which it receives, with the key of the status that shows it.
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
    /// `None` if the filter of the capture is not compiled yet, and calls `compiled` once it is.
    ///
    /// # Errors
    /// Returns the reason as a message for the node's `Captures` metadata.
    pub(super) fn open(
        &self,
        spec: &CaptureSpec,
        node: &Node,
        compiled: impl Fn() + Send + 'static,
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
        let Some(program) = self.program(spec, &target, capture_type, compiled)? else {
            return Ok(None);
        };
        let owner = format!("{}/{}", spec.uuid, node.id);
        let (opened, filter) = match capture_type {
            CaptureType::AfPacket | CaptureType::Pcap => {
                (self.open_interface(spec, &target, program)?, None)
            }
            CaptureType::OvsMirror => (self.open_mirror(spec, &target, program, &owner)?, None),
            CaptureType::OvsNetflow => (
                self.open_netflow(spec, &target, program.as_ref(), &owner)?,
                None,
            ),
            CaptureType::OvsSflow => {
                let opened = self
                    .switch
                    .open_sflow(spec, switch_uuid(&target)?, &owner)?;
                (opened, program)
            }
            CaptureType::PcapSocket => (sources::open_pcap_socket(&self.pcap_sockets)?, program),
            CaptureType::Sflow => (sources::open_sflow(spec, &target)?, program),
            CaptureType::Dpdk | CaptureType::Ebpf => {
                let name = capture_type.name();
                return Err(format!(
                    "Unable to find probe for this capture type: {name}"
                ));
            }
        };
        self.start(spec, &target, filter.as_ref(), opened).map(Some)
    }

    fn open_interface(
        &self,
        spec: &CaptureSpec,
        target: &CaptureTarget,
        program: Option<BpfProgram>,
    ) -> Result<OpenedSource, String> {
        sources::open_interface(spec, target, program, &self.rings, self.shards)
    }

    /// Mirrors a port of the switch, and captures on the mirror interface. The flows belong to the
    /// node of the port.
    fn open_mirror(
        &self,
        spec: &CaptureSpec,
        port: &CaptureTarget,
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
        let mut opened = self.open_interface(spec, &target, program)?;
        (opened.claim, opened.mirror) = (Some(claim), Some(interface));
        Ok(opened)
    }

    fn open_netflow(
        &self,
        spec: &CaptureSpec,
        target: &CaptureTarget,
        program: Option<&BpfProgram>,
        owner: &str,
    ) -> Result<OpenedSource, String> {
        let active_timeout = self.table.update_interval;
        let open = |address| {
            let options = ExportTableOptions {
                expiry: self.table.expiry_interval,
                table: self.table_options(spec, target),
                ..ExportTableOptions::default()
            };
            let mut table = ExportTable::new(options);
            let filter = program.cloned();
            table.set_filter(filter.map(|filter| Box::new(filter) as Box<dyn PacketFilter>));
            RecordSource::open(address, table, &target.tid, &self.flows, &self.clock)
                .map_err(|error| format!("cannot receive NetFlow at {address}: {error}"))
        };
        let bridge = switch_uuid(target)?;
        self.switch
            .open_netflow(spec, bridge, owner, active_timeout, open)
    }

    /// Starts the threads of a capture.
    fn start(
        &self,
        spec: &CaptureSpec,
        target: &CaptureTarget,
        filter: Option<&BpfProgram>,
        opened: OpenedSource,
    ) -> Result<OpenedCapture, String> {
        let name = &target.interface;
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
            let capture = if spec.target_type == sources::NETFLOW {
                // The flows are for the target only: neither subscribers nor queries see them.
                let receiver = sources::resolve(&spec.target)?;
                let sink = NetFlow5Sink::open(receiver, Arc::clone(&clock));
                let sink = sink.map_err(|error| Chain(&error).to_string())?;
                Capture::start(name, source, table, sink, clock)
            } else {
                Capture::start(name, source, table, HubSink::new(&self.flows), clock)
            };
            threads.push(capture.map_err(|error| Chain(&error).to_string())?);
        }
        if spec.target_type != sources::NETFLOW {
            let handles = threads.iter().map(|capture| capture.handle().clone());
            tables.extend(handles.map(|handle| self.flows.add_table(handle)));
        }
        Ok(OpenedCapture {
            threads: Shards(threads),
            tables,
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
        compiled: impl Fn() + Send + 'static,
    ) -> Result<Option<Option<BpfProgram>>, String> {
        let link_type = match capture_type {
            CaptureType::AfPacket | CaptureType::Pcap => sources::link_type_of(target),
            // The records have no link layer.
            CaptureType::OvsNetflow => LinkType::RAW,
            _ => LinkType::ETHERNET,
        };
        // Packets that others have sampled or stored are not those of this program.
        let sees_own = !matches!(capture_type, CaptureType::PcapSocket | CaptureType::Sflow);
        let has_addresses = [LinkType::ETHERNET, LinkType::RAW].contains(&link_type);
        let control = if sees_own && has_addresses {
            let now = self.clock.now();
            self.control.expression(&self.graph, &self.origin, now)
        } else {
            String::new()
        };
        let text = filter_of(spec, sees_own, &control)?;
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
        let program = program.map_err(|error| Chain(&error).to_string())?;
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

/// Returns the filter of a capture. A capture that sees the packets of this program (`sees_own`)
/// excludes those that the expression `control` matches, and those to its target: each such packet
/// could cause another one.
fn filter_of(spec: &CaptureSpec, sees_own: bool, control: &str) -> Result<String, String> {
    let mut parts = Vec::new();
    if sees_own && !spec.target.is_empty() {
        let target = sources::resolve(&spec.target)?;
        let (host, port) = (target.ip(), target.port());
        parts.push(if port == 0 || spec.target_type == sources::ERSPAN {
            format!("not host {host}")
        } else {
            format!("not (host {host} and port {port})")
        });
    }
    if sees_own && !control.is_empty() {
        parts.push(format!("not ({control})"));
    }
    let wanted = &spec.bpf_filter;
    if parts.is_empty() {
        return Ok(wanted.clone());
    }
    if !wanted.is_empty() {
        parts.insert(0, format!("({wanted})"));
    }
    Ok(parts.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_messages_to_the_target_are_not_captured() {
        let filter = |bpf: &str, target: &str, kind: &str| {
            let spec = CaptureSpec::new("G")
                .with_bpf_filter(bpf)
                .with_target(target)
                .with_target_type(kind);
            filter_of(&spec, true, "").unwrap()
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
        assert_eq!(
            filter("", "2055", "netflowv5"),
            "not (host 127.0.0.1 and port 2055)"
        );
        let control = |sees_own| {
            let spec = CaptureSpec::new("G").with_bpf_filter("tcp or udp");
            filter_of(&spec, sees_own, "port 8082 and (host 10.0.0.1)").unwrap()
        };
        let wanted = "(tcp or udp) and not (port 8082 and (host 10.0.0.1))";
        assert_eq!(control(true), wanted);
        assert_eq!(control(false), "tcp or udp");
    }
}
