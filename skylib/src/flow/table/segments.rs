//! TCP segments: passed to the stream state of their flow, within a byte budget of the whole table.

use super::FlowTable;
use super::control::Control;
use super::entry::{Entry, Rare};
use super::pending::Pending;
use crate::decode::{Encapsulation, Encapsulations, TcpFlags, TransportHeader, TransportProtocol};
use crate::flow::options::FlowTableOptions;
use crate::flow::recorded_streams::RecordedSegment;
use crate::flow::stream_counters::StreamSegment;
use crate::flow::tcp_metric::TcpMetric;

impl FlowTable {
    /// Returns the sequence number and payload length (in bytes) of the innermost TCP segment, as
    /// in Skydive; `None` if the segment has neither payload nor SYN, FIN, or RST.
    pub(super) fn segment_of(&self, encapsulations: &Encapsulations) -> Option<(u32, u32)> {
        let is_tcp = |header: &&TransportHeader| header.protocol == TransportProtocol::Tcp;
        let header = encapsulations
            .last()
            .and_then(|part: &Encapsulation| part.transport.as_ref());
        let header = header.filter(is_tcp).filter(|header| header.has_ports)?;
        // COMPAT: recorded values of Skydive, which does not track TCP inside UDP and ignores
        // payload beyond the snap length.
        encapsulations.key_transport(0).filter(is_tcp)?;
        let len = header.payload_len;
        let ends = TcpFlags::SYN.0 | TcpFlags::FIN.0 | TcpFlags::RST.0;
        (len > 0 || header.flags.0 & ends != 0).then_some((header.sequence, len))
    }

    /// Adds the segment of a packet to the streams of its flow.
    pub(super) fn track_segment(&mut self, record: u32, pending: &Pending, control: &Control) {
        if self.options.recorded {
            self.track_recorded_segment(record, pending, control);
            return;
        }
        let entry = self.arena.get(record);
        let side = usize::from(!entry.is_a_to_b(pending.flags));
        let Some(rare) = self.rare.get_mut(entry.cold.rare) else {
            return;
        };
        let mut round_trip = 0;
        if let Some(round_trips) = &mut rare.round_trips {
            round_trips.add_segment(side, &control.segment(pending));
            round_trip = round_trips.of_connection();
        }
        // Without `tcp`, the flow is a tunnel flow, keyed by the TCP header inside the tunnel.
        if !self.options.reassemble_tcp || rare.tcp.is_none() {
            return;
        }
        let streams = rare.stream_counters.get_or_insert_default();
        let others = self.segment_bytes - streams.bytes();
        let segment = StreamSegment {
            flags: pending.tcp,
            sequence: control.sequence,
            acknowledgment: control.acknowledgment,
            len: control.payload_len,
            at: pending.timestamp.as_ns(),
        };
        let mut is_cut = streams.add(side, &segment, round_trip);
        if streams.bytes() > 0 && others + streams.bytes() > segments_limit(&self.options) {
            streams.settle();
            is_cut = true;
        }
        self.stats.streams_cut += u64::from(is_cut);
        self.segment_bytes = others + streams.bytes();
    }

    /// Adds the segment of a packet to the streams of its flow, as Skydive does.
    fn track_recorded_segment(&mut self, record: u32, pending: &Pending, control: &Control) {
        let silent_since = self.streams_silent_since();
        let entry = self.arena.get(record);
        let direction = usize::from(!entry.is_a_to_b(pending.flags));
        let Some(rare) = self.rare.get_mut(entry.cold.rare) else {
            return;
        };
        // Without `tcp`, the flow is a tunnel flow, keyed by the TCP header inside the tunnel.
        if rare.tcp.is_none() {
            return;
        }
        let streams = rare.recorded_streams.get_or_insert_default();
        let others = self.segment_bytes - streams.bytes();
        let budget = segments_limit(&self.options).saturating_sub(others);
        let segment = RecordedSegment {
            flags: pending.tcp,
            sequence: control.sequence,
            len: control.payload_len,
            seen: pending.timestamp.as_ns(),
        };
        self.stats.streams_cut +=
            u64::from(streams.add_segment(direction, &segment, budget, silent_since));
        self.segment_bytes = others + streams.bytes();
    }

    /// Returns the TCP metric of a flow; counters of open streams are included only if the flow is
    /// removed (`leaves`) or has ended.
    pub(super) fn tcp_metric(&self, entry: &Entry, leaves: bool) -> Option<TcpMetric> {
        let rare: &Rare = self.rare.get(entry.cold.rare)?;
        let times = rare.tcp?;
        let shown = |time| match time {
            0 => 0,
            time => self.clock_steps.shown(time),
        };
        let mut metric = TcpMetric {
            ab_syn_start: shown(times.syn[0]),
            ba_syn_start: shown(times.syn[1]),
            ab_syn_ttl: times.ttl[0].into(),
            ba_syn_ttl: times.ttl[1].into(),
            ab_fin_start: shown(times.fin[0]),
            ba_fin_start: shown(times.fin[1]),
            ab_rst_start: shown(times.rst[0]),
            ba_rst_start: shown(times.rst[1]),
            ..TcpMetric::default()
        };
        if let Some(streams) = &rare.recorded_streams {
            let all = leaves || self.has_ended;
            streams.fill(&mut metric, self.streams_silent_since(), all);
        }
        if let Some(streams) = &rare.stream_counters {
            streams.fill(&mut metric);
        }
        Some(metric)
    }

    /// Returns the time, in Unix nanoseconds, of the oldest segment that keeps a recorded stream
    /// open; a stream without a later segment has timed out.
    fn streams_silent_since(&self) -> i64 {
        // Measured from the previous update, not from the packet, so that tables with the same
        // packets and timers have the same counters, regardless of the batches.
        let [updated, _] = self.timers.updated();
        match updated {
            0 => i64::MIN,
            updated => updated
                .saturating_sub(STREAM_TIMEOUT_MS)
                .saturating_mul(NS_PER_MS),
        }
    }
}

/// Returns the byte budget for queued segments: an eighth of [`FlowTableOptions::max_bytes`], at
/// most 16 MiB.
pub(super) fn segments_limit(options: &FlowTableOptions) -> usize {
    match options.max_bytes {
        _ if !options.reassemble_tcp => 0,
        Some(bytes) => (bytes / 8).min(MAX_SEGMENT_BYTES),
        None => MAX_SEGMENT_BYTES,
    }
}

/// Maximum byte budget for queued segments.
const MAX_SEGMENT_BYTES: usize = 16 << 20;
/// Time without segments after which a stream skips missing data, in milliseconds.
const STREAM_TIMEOUT_MS: i64 = 30_000;
const NS_PER_MS: i64 = 1_000_000;
