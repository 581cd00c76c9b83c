//! `Opener`: opens a capture on a node: packet ring, flow table, and worker thread.

use std::sync::Arc;

use parking_lot::Mutex;

use super::ring_memory::{RingClaim, RingMemory};
use super::sources::{self, OpenedSource, PcapSocketAddresses};
use super::target::CaptureTarget;
use crate::api::{CaptureSpec, CaptureType};
use crate::capture::{BpfCompiler, BpfProgram, Capture, DEFAULT_HEADER_SIZE, NetFlow5Sink};
use crate::engine::collector::SflowMetric;
use crate::engine::flow::{FlowHub, HubSink, TableId};
use crate::engine::graph::SharedGraph;
use crate::error_chain::Chain;
use crate::flow::{ExtraLayers, FlowTable, FlowTableOptions, KeyIgnore, PacketFilter};
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
    pub(crate) filters: BpfCompiler,
    /// Addresses on which PCAP sockets listen.
    pub(crate) pcap_sockets: PcapSocketAddresses,
}

/// A capture that has been opened.
pub(super) struct OpenedCapture {
    pub(super) capture: Capture,
    /// Its flow table in the hub; `None` if its flows are sent to a target.
    pub(super) table: Option<TableId>,
    pub(super) ring: Option<RingClaim>,
    /// Address on which it receives, with the key of the status that shows it.
    pub(super) socket: Option<(&'static str, String)>,
    /// Counters that sFlow agents have sent.
    pub(super) sflow: Option<Arc<Mutex<SflowMetric>>>,
}

impl Opener {
    /// Opens a capture on a node and adds its flow table to the tables that queries read. Returns
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
        let capture_type = spec.capture_type.unwrap_or(CaptureType::AfPacket);
        let is_interface = matches!(capture_type, CaptureType::AfPacket | CaptureType::Pcap);
        let mut target = Err(String::new());
        self.graph.read(&mut |graph| {
            target = if is_interface {
                CaptureTarget::of(graph, node, &self.origin)
            } else {
                Ok(CaptureTarget::of_socket(graph, node, &self.origin))
            };
        });
        let target = target?;
        let Some(program) = self.program(spec, &target, is_interface, compiled)? else {
            return Ok(None);
        };
        let mut table = self.table_of(spec, &target);
        let opened = match capture_type {
            CaptureType::AfPacket | CaptureType::Pcap => {
                sources::open_interface(spec, &target, program, &self.rings)?
            }
            other => {
                let filter = program.map(|program| Box::new(program) as Box<dyn PacketFilter>);
                table.set_filter(filter);
                match other {
                    CaptureType::PcapSocket => sources::open_pcap_socket(&self.pcap_sockets)?,
                    CaptureType::Sflow => sources::open_sflow(spec, &target)?,
                    _ => {
                        let name = other.name();
                        return Err(format!(
                            "Unable to find probe for this capture type: {name}"
                        ));
                    }
                }
            }
        };
        self.start(spec, &target, table, opened).map(Some)
    }

    /// Starts the thread of a capture.
    fn start(
        &self,
        spec: &CaptureSpec,
        target: &CaptureTarget,
        table: FlowTable,
        opened: OpenedSource,
    ) -> Result<OpenedCapture, String> {
        let OpenedSource {
            source,
            ring,
            socket,
            sflow,
        } = opened;
        let (name, clock) = (&target.interface, Arc::clone(&self.clock));
        let (capture, table) = if spec.target_type == sources::NETFLOW {
            // The flows are for the target only: neither subscribers nor queries see them.
            let sink = NetFlow5Sink::open(sources::resolve(&spec.target)?, Arc::clone(&clock));
            let sink = sink.map_err(|error| Chain(&error).to_string())?;
            (Capture::start(name, source, table, sink, clock), None)
        } else {
            let sink = HubSink::new(&self.flows);
            let capture = Capture::start(name, source, table, sink, clock);
            let handle = capture
                .as_ref()
                .ok()
                .map(|capture| capture.handle().clone());
            (capture, handle.map(|handle| self.flows.add_table(handle)))
        };
        Ok(OpenedCapture {
            capture: capture.map_err(|error| Chain(&error).to_string())?,
            table,
            ring,
            socket,
            sflow,
        })
    }

    /// Returns the filter of a capture; the inner value is `None` without a filter. Returns `None` if
    /// the filter is not compiled yet.
    fn program(
        &self,
        spec: &CaptureSpec,
        target: &CaptureTarget,
        is_interface: bool,
        compiled: impl Fn() + Send + 'static,
    ) -> Result<Option<Option<BpfProgram>>, String> {
        let text = filter_of(spec, is_interface)?;
        if text.is_empty() {
            return Ok(Some(None));
        }
        let link_type = if is_interface {
            sources::link_type_of(target)
        } else {
            LinkType::ETHERNET
        };
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

    /// Returns the flow table of a capture.
    fn table_of(&self, spec: &CaptureSpec, target: &CaptureTarget) -> FlowTable {
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
        FlowTable::new(options)
    }
}

/// Returns the filter of a capture. A capture on an interface never captures what it sends to its
/// target itself: each packet would cause another one.
fn filter_of(spec: &CaptureSpec, is_interface: bool) -> Result<String, String> {
    let wanted = &spec.bpf_filter;
    if spec.target.is_empty() || !is_interface {
        return Ok(wanted.clone());
    }
    let target = sources::resolve(&spec.target)?;
    let (host, port) = (target.ip(), target.port());
    let own = if port == 0 || spec.target_type == sources::ERSPAN {
        format!("not host {host}")
    } else {
        format!("not (host {host} and port {port})")
    };
    Ok(if wanted.is_empty() {
        own
    } else {
        format!("({wanted}) and {own}")
    })
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
            filter_of(&spec, true).unwrap()
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
    }
}
