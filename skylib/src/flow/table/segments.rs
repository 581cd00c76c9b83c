//! TCP segments on their way to the streams of their flow, within a bound for the whole table.

use super::FlowTable;
use super::entry::{Entry, Rare};
use super::process::Pending;
use crate::decode::{Encapsulation, Encapsulations, TcpFlags, TransportHeader, TransportProtocol};
use crate::flow::options::FlowTableOptions;
use crate::flow::record::FinishType;
use crate::flow::tcp_metric::TcpMetric;
use crate::flow::tcp_stream::{Rules, Segment};
use crate::packet::PacketRef;

impl FlowTable {
    /// Sequence number and payload length of the segment that a packet's innermost flow follows.
    pub(super) fn segment_of(
        &self,
        packet: PacketRef<'_>,
        parts: &Encapsulations,
    ) -> Option<(u32, u32)> {
        let is_tcp = |header: &&TransportHeader| header.protocol == TransportProtocol::Tcp;
        let header = parts
            .last()
            .and_then(|part: &Encapsulation| part.transport.as_ref());
        let header = header.filter(is_tcp).filter(|header| header.has_ports)?;
        let recorded = self.options.recorded;
        // COMPAT: recorded values of the original, which follows no TCP within UDP.
        if recorded && parts.key_transport(0).filter(is_tcp).is_none() {
            return None;
        }
        let captured = packet.data.len() as u32;
        let mut len = header.payload_len;
        // COMPAT: recorded values of the original, for which what was not captured is missing.
        if !recorded && header.payload_offset + len == captured {
            len += packet.wire_len.saturating_sub(captured);
        }
        let ends = TcpFlags::SYN.0 | TcpFlags::FIN.0 | TcpFlags::RST.0;
        (len > 0 || header.flags.0 & ends != 0).then_some((header.sequence, len))
    }

    /// Follows the segment of a packet in the streams of its flow.
    pub(super) fn follow_segment(&mut self, record: u32, pending: &Pending) {
        let rules = self.rules();
        let entry = self.arena.get(record);
        let way = usize::from(!entry.is_same_way(pending.flags));
        let Some(rare) = self.rare.get_mut(entry.cold.rare) else {
            return;
        };
        // Else it began without TCP of its own: a tunnel known by what is in it.
        if rare.tcp.is_none() {
            return;
        }
        let streams = rare.streams.get_or_insert_default();
        let held = streams.held();
        let others = self.segment_bytes - held;
        let room = segments_limit(&self.options).saturating_sub(others);
        let segment = Segment {
            flags: pending.tcp,
            sequence: pending.sequence,
            len: pending.payload_len,
            seen: pending.timestamp.as_ns(),
        };
        self.stats.streams_cut += u64::from(streams.follow(way, &segment, room, rules));
        self.segment_bytes = others + streams.held();
    }

    /// What TCP told of a flow; of one that leaves, streams that go on too.
    pub(super) fn tcp_metric(&self, entry: &Entry, leaves: bool) -> Option<TcpMetric> {
        let rare: &Rare = self.rare.get(entry.cold.rare)?;
        let times = rare.tcp?;
        let mut metric = TcpMetric {
            ab_syn_start: times.syn[0],
            ba_syn_start: times.syn[1],
            ab_syn_ttl: times.ttl[0].into(),
            ba_syn_ttl: times.ttl[1].into(),
            ab_fin_start: times.fin[0],
            ba_fin_start: times.fin[1],
            ab_rst_start: times.rst[0],
            ba_rst_start: times.rst[1],
            ..TcpMetric::default()
        };
        if let Some(streams) = &rare.streams {
            // A flow that ended is not sent again when it leaves.
            let has_ended = entry.hot.finish != FinishType::NotFinished && !self.options.recorded;
            let all = leaves || has_ended || self.has_ended;
            streams.fill(&mut metric, self.rules(), all);
        }
        Some(metric)
    }

    fn rules(&self) -> Rules {
        // Only timers end a silence, so that tables of the same packets tell the same.
        let [updated, _] = self.timers.updated();
        let silent_since = match updated {
            0 => i64::MIN,
            updated => updated.saturating_sub(SILENCE_MS).saturating_mul(NS_PER_MS),
        };
        Rules {
            silent_since,
            recorded: self.options.recorded,
        }
    }
}

/// The most bytes of waiting segments in a table: part of its bound, if it has one.
pub(super) fn segments_limit(options: &FlowTableOptions) -> usize {
    match options.max_bytes {
        _ if !options.reassemble_tcp => 0,
        Some(bytes) => (bytes / 8).min(MAX_SEGMENT_BYTES),
        None => MAX_SEGMENT_BYTES,
    }
}

const MAX_SEGMENT_BYTES: usize = 16 << 20;
/// How long a stream may be silent.
const SILENCE_MS: i64 = 30_000;
const NS_PER_MS: i64 = 1_000_000;
