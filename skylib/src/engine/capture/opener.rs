//! `Opener`: opens a capture on a node: packet ring, flow table, and worker thread.

use std::sync::Arc;

use super::ring_memory::{BLOCK_BYTES, RingClaim, RingMemory};
use super::target::CaptureTarget;
use crate::api::{CaptureSpec, CaptureType};
use crate::capture::{AfPacket, BpfCompiler, Capture, CaptureOptions, link_type_of_encap};
use crate::engine::flow::{FlowHub, HubSink, TableId};
use crate::engine::graph::SharedGraph;
use crate::error_chain::Chain;
use crate::flow::{ExtraLayers, FlowTable, FlowTableOptions, KeyIgnore};
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
}

impl Opener {
    /// Opens a capture on a node and adds its flow table to the tables that queries read. Returns
    /// `None` if the filter of the capture is not compiled yet, and calls `compiled` once it is.
    /// The caller must hold the claim on the memory of the ring for as long as the capture exists.
    ///
    /// # Errors
    /// Returns the reason as a message for the node's `Captures` metadata.
    pub(super) fn open(
        &self,
        spec: &CaptureSpec,
        node: &Node,
        compiled: impl Fn() + Send + 'static,
    ) -> Result<Option<(Capture, TableId, RingClaim)>, String> {
        match spec.capture_type {
            None | Some(CaptureType::AfPacket | CaptureType::Pcap) => {}
            Some(other) => return Err(format!("{} captures are not supported yet", other.name())),
        }
        let mut target = Err(String::new());
        self.graph
            .read(&mut |graph| target = CaptureTarget::of(graph, node, &self.origin));
        let target = target?;
        let table = self.table_of(spec, &target)?;
        let mut options = options_of(spec, &target);
        if !spec.bpf_filter.is_empty() {
            let link_type = options.link_type.unwrap_or(LinkType::ETHERNET);
            let snap_len = options.header_size;
            let program =
                self.filters
                    .program_or_request(&spec.bpf_filter, link_type, snap_len, compiled);
            let Some(program) = program else {
                return Ok(None);
            };
            let program = program.map_err(|error| Chain(&error).to_string())?;
            options = options.with_filter(program);
        }
        let ring = self.rings.claim()?;
        let options = options.with_ring(BLOCK_BYTES, ring.blocks());
        let source = AfPacket::open(&options).map_err(|error| Chain(&error).to_string())?;
        let sink = HubSink::new(&self.flows);
        let capture = Capture::start(
            &target.interface,
            source,
            table,
            sink,
            Arc::clone(&self.clock),
        )
        .map_err(|error| Chain(&error).to_string())?;
        let table = self.flows.add_table(capture.handle().clone());
        Ok(Some((capture, table, ring)))
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
    fn table_of(&self, spec: &CaptureSpec, target: &CaptureTarget) -> Result<FlowTable, String> {
        if !spec.target.is_empty() || !matches!(&*spec.target_type, "" | "local") {
            return Err("the option Target is not supported yet".to_owned());
        }
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
        Ok(FlowTable::new(options))
    }
}

/// Returns the settings of a capture's packet socket, without its filter.
fn options_of(spec: &CaptureSpec, target: &CaptureTarget) -> CaptureOptions {
    let mut options = CaptureOptions::new(&target.interface);
    if let Some(path) = &target.netns {
        options = options.with_netns(path);
    }
    let link_type = link_type_of_encap(&target.encap_type).unwrap_or(LinkType::ETHERNET);
    options = options.with_link_type(link_type);
    if spec.header_size != 0 {
        options = options.with_header_size(u32::try_from(spec.header_size).unwrap_or(0));
    }
    options
}
