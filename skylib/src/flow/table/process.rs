//! The per-packet path: decode, key, find, count.
//!
//! [`FlowTable::process_batch`] runs software-pipelined over a batch of up to 32 packets: first all
//! packets are decoded and keyed (their index slots are prefetched), then all keys are looked up
//! (their entries are prefetched), then all are counted. The memory latency of one packet overlaps
//! with the work on others. Each encapsulation of a packet (a [`Pending`]) costs one O(1) lookup in
//! the hash index and a write to one cache line; no list or timer is touched.

use prost::bytes::Bytes;

use super::FlowTable;
use super::entry::{
    END_FIN, Entry, HAS_LINK, HAS_NETWORK, HAS_TCP, HAS_TRANSPORT, HOT_ANSWERED, HOT_FINISHING,
    HOT_LISTED, HOT_PAIRED, HOT_SAMPLED, HOT_USED, IS_ATTEMPT, Interval, NONE,
};
use super::extra_messages::MessageRange;
use super::fragments::{Fragments, JoinedPacket};
use super::handshake::HandshakeSegment;
use super::opener::Evidence;
use super::spans::Choice;
use crate::decode::{
    DecodeError, Encapsulation, Encapsulations, IcmpEcho, NetworkHeader, NetworkProtocol, TcpFlags,
    TransportHeader, TransportProtocol,
};
use crate::flow::key::{FlowKey, PacketKey};
use crate::flow::key_extras::{around, extras};
use crate::flow::memory_hint::{CACHE_LINE, prefetch};
use crate::flow::options::LayerKeyMode;
use crate::flow::record::{FinishType, RawPacket};
use crate::packet::{CapturePoint, PacketBatch, PacketHeader, PacketRef};
use crate::time::Timestamp;

/// Keyed encapsulation of a packet, between decoding and counting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) key: FlowKey,
    pub(super) hash: u64,
    pub(super) timestamp: Timestamp,
    /// Bytes to count: the length on the wire, or the IP length where the flow begins at layer 3.
    pub(super) bytes: u64,
    /// Offset of the encapsulation in the packet, in bytes.
    offset: u32,
    /// Index of the enclosing encapsulation among the pending ones; [`NONE`] for an outermost one.
    parent: u32,
    /// Candidate record after the lookup, then the record it was counted in; [`NONE`] if unknown.
    record: u32,
    /// Index of the packet in the batch, or of the joined packet with the upper bit set.
    packet: u16,
    /// Index of the encapsulation in the packet.
    pub(super) part: u8,
    pub(super) tcp: TcpFlags,
    source_port: u16,
    hop_limit: u8,
    /// `IS_*`.
    pub(super) flags: u8,
    /// Extra message; valid only with [`HAS_EXTRA_MESSAGE`].
    pub(super) message: MessageRange,
    /// Hash of the one-way identifier around the encapsulation; 0 if there is none.
    pub(super) one_way: u64,
    /// Number that acknowledges the TCP segment; valid only with `one_way`.
    pub(super) next_sequence: u32,
    /// Acknowledgment number of the TCP segment; valid only with `one_way`.
    pub(super) acknowledgment: u32,
}

/// Fields of a TCP segment or echo that only some packets need; beside the [`Pending`], to keep that
/// small.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Control {
    /// Sequence number of the TCP segment or echo.
    pub(super) sequence: u32,
    /// Acknowledgment number of the TCP segment.
    pub(super) acknowledgment: u32,
    /// Payload length of the TCP segment, in bytes.
    pub(super) payload_len: u32,
    /// TCP timestamps: value and echo reply (RFC 7323).
    pub(super) stamp: Option<(u32, u32)>,
    /// Maximum segment size that the TCP segment announces, in bytes; 0 if it has none.
    pub(super) segment_size: u16,
}

impl Control {
    /// Returns the fields of an encapsulation.
    fn of(packet: PacketRef<'_>, part: &Encapsulation) -> Self {
        if let Some(icmp) = part.icmp {
            return Self {
                sequence: icmp.number.into(),
                ..Self::default()
            };
        }
        let Some(header) = part.transport else {
            return Self::default();
        };
        let end = header.payload_offset as usize;
        let options = packet
            .data
            .get(end.saturating_sub(header.options_len.into())..end)
            .map_or_else(TcpOptions::default, TcpOptions::new);
        Self {
            sequence: header.sequence,
            acknowledgment: header.acknowledgment,
            payload_len: payload_on_wire(packet, part.network.as_ref(), &header),
            stamp: options.stamp,
            segment_size: options.segment_size,
        }
    }

    /// Returns the segment as the handshake sees it.
    pub(super) const fn segment(&self, pending: &Pending) -> HandshakeSegment {
        HandshakeSegment {
            flags: pending.tcp,
            sequence: self.sequence,
            acknowledgment: self.acknowledgment,
            payload_len: self.payload_len,
            stamp: self.stamp,
            at: pending.timestamp.as_ns(),
        }
    }

    /// Returns the sequence number of an echo.
    pub(super) const fn number(&self) -> u16 {
        self.sequence as u16
    }
}

/// Returns the payload length on the wire, in bytes, also if the snap length cuts the payload: up to
/// the end that the IP header gives, or else to that of the packet.
pub(super) fn payload_on_wire(
    packet: PacketRef<'_>,
    network: Option<&NetworkHeader>,
    header: &TransportHeader,
) -> u32 {
    let is_whole = header.payload_offset + header.payload_len < packet.data.len() as u32;
    if is_whole {
        return header.payload_len;
    }
    let end = network
        .and_then(|network| declared_end(packet.data, network))
        .map_or(packet.wire_len, |end| end.min(packet.wire_len));
    end.saturating_sub(header.payload_offset)
        .max(header.payload_len)
}

/// Returns the end of an IP packet in the bytes on the wire; `None` if its header gives no length, as
/// segmentation offload leaves it.
fn declared_end(data: &[u8], network: &NetworkHeader) -> Option<u32> {
    let (at, base) = match network.protocol {
        NetworkProtocol::Ipv4 => (2, 0),
        NetworkProtocol::Ipv6 => (4, 40),
    };
    let length = data.get(network.offset as usize + at..)?.first_chunk()?;
    match u16::from_be_bytes(*length) {
        0 => None,
        length => Some(network.offset + base + u32::from(length)),
    }
}

/// Options of a TCP segment.
#[derive(Clone, Copy, Debug, Default)]
struct TcpOptions {
    /// Value and echo reply of the timestamp option (RFC 7323, section 3.2).
    stamp: Option<(u32, u32)>,
    /// Maximum segment size (RFC 9293, section 3.2), in bytes; 0 if there is none.
    segment_size: u16,
}

impl TcpOptions {
    fn new(mut options: &[u8]) -> Self {
        let mut found = Self::default();
        while let [kind, rest @ ..] = options {
            match (kind, rest) {
                (0, _) => break,
                (1, _) => {
                    options = rest;
                    continue;
                }
                (2, [4, s0, s1, ..]) => found.segment_size = u16::from_be_bytes([*s0, *s1]),
                (8, [10, v0, v1, v2, v3, e0, e1, e2, e3, ..]) => {
                    let value = u32::from_be_bytes([*v0, *v1, *v2, *v3]);
                    found.stamp = Some((value, u32::from_be_bytes([*e0, *e1, *e2, *e3])));
                }
                _ => {}
            }
            let len = rest.first().map_or(2, |len| usize::from(*len).max(2));
            options = options.get(len..).unwrap_or_default();
        }
        found
    }
}

impl Pending {
    /// Initial value of an unused slot.
    pub(super) const NONE: Self = Self {
        key: FlowKey::NONE,
        hash: 0,
        timestamp: Timestamp::ZERO,
        bytes: 0,
        offset: 0,
        parent: NONE,
        record: NONE,
        packet: 0,
        part: 0,
        tcp: TcpFlags(0),
        source_port: 0,
        hop_limit: 0,
        flags: 0,
        message: MessageRange::NONE,
        one_way: 0,
        next_sequence: 0,
        acknowledgment: 0,
    };

    /// Returns the candidate record, then the record it was counted in.
    pub(super) fn record(&self) -> Option<u32> {
        (self.record != NONE).then_some(self.record)
    }

    /// Returns whether it is an echo request.
    pub(super) const fn is_request(&self) -> bool {
        self.flags & IS_REQUEST != 0
    }

    /// Returns whether it is an echo reply.
    pub(super) const fn is_reply(&self) -> bool {
        self.flags & IS_REPLY != 0
    }
}

/// [`PacketKey::is_swapped`].
pub(super) const IS_SWAPPED: u8 = 0x01;
/// [`PacketKey::is_local`].
const IS_LOCAL: u8 = 0x02;
/// Its packet and bytes are counted.
pub(super) const IS_COUNTED: u8 = 0x04;
/// ICMP echo request.
pub(super) const IS_REQUEST: u8 = 0x08;
/// ICMP echo reply.
pub(super) const IS_REPLY: u8 = 0x10;
/// It has a message of a selected extra layer.
pub(super) const HAS_EXTRA_MESSAGE: u8 = 0x20;
/// Its headers were in every fragment of the joined packet.
pub(super) const IS_FRAGMENTED: u8 = 0x40;
/// It is a TCP segment, and TCP streams are tracked.
const IS_SEGMENT: u8 = 0x80;

impl FlowTable {
    /// Processes up to [`BATCH`](super::BATCH) packets: decodes and keys all, then looks up all,
    /// then counts all, with prefetches between the three passes.
    pub(super) fn process_batch(&mut self, batch: &PacketBatch<'_>) {
        self.stats.packets += batch.headers.len() as u64;
        let mut slots = std::mem::take(&mut self.pending);
        let mut len = 0;
        if let Some(fragments) = &mut self.fragments {
            fragments.begin_batch();
            for (number, header) in (0_u16..).zip(batch.headers) {
                let packet = header.packet(batch.buffer, batch.link_type);
                let origin = PacketOrigin::new(number, header);
                self.decode_reassembling(packet, origin, &mut slots, &mut len);
            }
        } else {
            for at in 0..AHEAD {
                prefetch_packet(batch, at);
            }
            for (number, header) in (0_u16..).zip(batch.headers) {
                prefetch_packet(batch, usize::from(number) + AHEAD);
                let packet = header.packet(batch.buffer, batch.link_type);
                let origin = PacketOrigin::new(number, header);
                self.decode(packet, origin, &mut slots, &mut len);
            }
        }
        // Taken out, because `packets` borrows it while `self` is mutated.
        let fragments = self.fragments.take();
        let packets = BatchPackets {
            batch,
            fragments: fragments.as_deref(),
        };
        let has_extras =
            self.reads_payload || fragments.is_some() || self.options.raw_packet_limit > 0;
        let controls = std::mem::take(&mut self.controls);
        let pending = &mut slots[..len];
        for part in pending.iter_mut() {
            // The first slot with the same 32-bit tag is the flow, but for one lookup in 2³²;
            // `find` compares the whole key.
            part.record = self.index.find(part.hash, |_| true).unwrap_or(NONE);
            if part.record != NONE {
                let entry = self.arena.get(part.record);
                prefetch(&entry.key);
                prefetch(&entry.hot);
            }
        }
        for at in 0..pending.len() {
            let (part, control) = (&pending[at], &controls[at]);
            let found = if part.one_way == 0 {
                self.find(part)
            } else {
                self.find_paired(part, control)
            };
            let choice = match found {
                // The identifiers of a paired flow have chosen among the flows of its key.
                Some(record) if part.one_way != 0 => Choice::Record(record),
                Some(record) if self.needs_choice(record, part) => {
                    self.choose(record, part, control)
                }
                Some(record) => Choice::Record(record),
                None => Choice::New,
            };
            let (record, direction) = if let Choice::Record(record) = choice {
                (record, self.count(record, part, control, false))
            } else {
                let parent = pending
                    .get(part.parent as usize)
                    .map(|parent| parent.record);
                let Some(record) = self.begin_flow(part, parent, packets) else {
                    continue;
                };
                self.mark_new(record, choice, control);
                (record, self.count(record, part, control, true))
            };
            if part.one_way != 0 {
                let parent = pending.get(part.parent as usize);
                self.pair(record, part, parent.map(|parent| parent.record));
            }
            if has_extras {
                let is_first = !matches!(choice, Choice::Record(_));
                self.record_extras(record, part, control, packets, direction, is_first);
            }
            pending[at].record = record;
        }
        self.apply_notes(pending);
        self.fragments = fragments;
        self.controls = controls;
        self.pending = slots;
    }

    /// Marks a new flow that has the key of another one, follows one, or is an attempt.
    #[inline]
    fn mark_new(&mut self, record: u32, choice: Choice, control: &Control) {
        if std::mem::take(&mut self.begins_paired) {
            self.arena.get_mut(record).hot.flags |= HOT_PAIRED;
        }
        if matches!(choice, Choice::Connection | Choice::Attempt) {
            let entry = self.arena.get_mut(record);
            entry.hot.opener = Evidence::NewSyn;
            if choice == Choice::Attempt {
                entry.cold.layers |= IS_ATTEMPT;
            }
            self.note_new_syn(record, control.sequence);
        }
    }

    /// Records what the options select beyond packets and bytes.
    #[inline(never)]
    fn record_extras(
        &mut self,
        record: u32,
        part: &Pending,
        control: &Control,
        packets: BatchPackets<'_>,
        direction: usize,
        is_first: bool,
    ) {
        if let Some(joined) = packets.joined(part) {
            self.count_fragments(record, part, joined, direction, is_first);
        }
        if self.options.raw_packet_limit > 0 {
            self.store_raw_packet(record, packets.of(part), part.offset);
        }
        if part.flags & IS_SEGMENT != 0 {
            self.track_segment(record, part, control);
        }
        if part.flags & HAS_EXTRA_MESSAGE != 0 {
            self.store_extra_message(record, part, packets.of(part), is_first);
        }
    }

    /// Returns the record of the flow with this key.
    #[inline(always)]
    fn find(&self, part: &Pending) -> Option<u32> {
        let mode = self.options.layer_key_mode;
        let is = |record: u32| self.arena.get(record).key.is_same(&part.key, mode);
        if part.record != NONE && is(part.record) {
            return Some(part.record);
        }
        // The candidate is another flow with the same tag, or the flow began in this batch.
        self.index.find(part.hash, is)
    }

    /// Filters, decodes and keys a packet.
    #[inline(always)]
    fn decode(
        &mut self,
        packet: PacketRef<'_>,
        origin: PacketOrigin,
        slots: &mut [Pending],
        len: &mut usize,
    ) {
        if self
            .filter
            .as_ref()
            .is_some_and(|filter| !filter.matches(&packet))
        {
            self.stats.filtered += 1;
            return;
        }
        let stopped = self.decoder.decode(packet, &mut self.encapsulations);
        origin.mark(&mut self.encapsulations);
        self.key_encapsulations(packet, origin.number, stopped, slots, len);
    }

    /// Appends a [`Pending`] for every encapsulation of the decoded packet.
    #[inline(always)]
    pub(super) fn key_encapsulations(
        &mut self,
        packet: PacketRef<'_>,
        number: u16,
        stopped: Result<(), DecodeError>,
        slots: &mut [Pending],
        len: &mut usize,
    ) {
        if let Err(stopped) = stopped {
            self.stats.stopped.count(stopped);
        }
        self.stats.encapsulations_without_flow += self.encapsulations.without_flow() as u64;
        let mode = self.options.layer_key_mode;
        let mut parent = NONE;
        let mut parent_hash = 0;
        let mut enclosing = 0;
        let subject = self.subject_hash();
        let mut one_way = 0;
        let recorded = self.options.recorded;
        let ignore = self.options.key_ignore;
        // COMPAT: recorded values of the original, which keys the first level by headers inside it.
        let is_plain = !recorded || self.encapsulations.is_plain();
        for (index, part) in self.encapsulations.iter().enumerate() {
            let is_plain = is_plain || index > 0;
            let hash_around = parent_hash;
            enclosing = hash_around;
            let mut key = PacketKey::new(
                &self.encapsulations,
                index,
                part,
                is_plain,
                mode,
                parent_hash,
            );
            let vlan_id = part.link.as_ref().map_or(0, |link| link.vlan_id);
            let has_marks = !part.marks.is_empty();
            if (has_marks || vlan_id != 0) && !recorded {
                let extras = extras(part, key.is_swapped, ignore, self.seed);
                key.key.add_extras(extras);
            }
            if subject != 0 && index + 1 == self.encapsulations.len() {
                key.key.add_extras(subject);
            }
            let hash = key.key.hash(self.seed, mode);
            self.index.prefetch(hash);
            let by_link = part.link.is_some() || mode == LayerKeyMode::L3;
            let mut flags = 0;
            // COMPAT: recorded values of the original, which counts nothing without IP in L3 mode.
            if part.network.is_some() || mode == LayerKeyMode::L2 || !self.options.recorded {
                flags |= IS_COUNTED;
            }
            if key.is_swapped {
                flags |= IS_SWAPPED;
            }
            if key.is_local {
                flags |= IS_LOCAL;
            }
            flags |= match part.icmp.and_then(|icmp| icmp.echo) {
                None => 0,
                Some(IcmpEcho::Request) => IS_REQUEST,
                Some(IcmpEcho::Reply) => IS_REPLY,
            };
            let Some(slot) = slots.get_mut(*len) else {
                break;
            };
            slot.key = key.key;
            slot.hash = hash;
            slot.timestamp = self.clock_steps.steady(packet.timestamp);
            slot.bytes = match &part.network {
                Some(network) if !by_link => network.length.into(),
                _ => u64::try_from(part.length).unwrap_or(0),
            };
            slot.offset = part.offset;
            slot.parent = parent;
            slot.packet = number;
            slot.part = index as u8;
            (slot.tcp, slot.source_port) = match &part.transport {
                Some(transport) => (transport.flags, transport.source),
                None => (TcpFlags(0), 0),
            };
            let control = TcpFlags::SYN.0 | TcpFlags::FIN.0 | TcpFlags::RST.0;
            if slot.tcp.0 & control != 0 || flags & (IS_REQUEST | IS_REPLY) != 0 {
                self.controls[*len] = Control::of(packet, part);
            }
            slot.hop_limit = part.network.as_ref().map_or(0, |network| network.hop_limit);
            slot.flags = flags;
            slot.one_way = one_way;
            if let Some(transport) = part.transport.as_ref().filter(|_| one_way != 0) {
                slot.next_sequence = next_sequence(transport);
                slot.acknowledgment = transport.acknowledgment;
            }
            parent = *len as u32;
            (parent_hash, one_way) = (hash, 0);
            if has_marks
                && !recorded
                && let Some(around) = around(part, hash_around, ignore, self.seed)
            {
                (parent_hash, one_way) = (around.hash, around.identifier);
            }
            *len += 1;
        }
        if parent == NONE {
            self.stats.without_flow += 1;
            return;
        }
        self.note_details(packet, slots, parent, enclosing);
        if self.reads_payload
            && let Some(innermost) = slots.get_mut(parent as usize)
        {
            self.read_payload(packet, innermost, parent as usize);
        }
    }

    /// Records the extra message and the TCP segment of the innermost encapsulation.
    #[inline(never)]
    fn read_payload(&mut self, packet: PacketRef<'_>, innermost: &mut Pending, at: usize) {
        if !self.options.extra_layers.is_none()
            && let Some(message) = self.extra_message_of(&self.encapsulations)
        {
            innermost.message = message;
            innermost.flags |= HAS_EXTRA_MESSAGE;
        }
        if self.options.recorded {
            if self.options.reassemble_tcp
                && let Some((sequence, payload_len)) = self.segment_of(&self.encapsulations)
            {
                (self.controls[at].sequence, self.controls[at].payload_len) =
                    (sequence, payload_len);
                innermost.flags |= IS_SEGMENT;
            }
        } else if (self.options.reassemble_tcp || self.options.extra_rtt_metric)
            && let Some(part) = self.encapsulations.last()
            && part
                .transport
                .is_some_and(|header| header.protocol == TransportProtocol::Tcp && header.has_ports)
        {
            self.controls[at] = Control::of(packet, part);
            innermost.flags |= IS_SEGMENT;
        }
    }

    /// Counts an encapsulation in its flow. Returns its direction: 0 from A to B, 1 from B to A.
    #[inline(always)]
    fn count(
        &mut self,
        record: u32,
        pending: &Pending,
        control: &Control,
        is_first: bool,
    ) -> usize {
        let interval = self.timers.interval();
        let recorded = self.options.recorded;
        let mut entry = self.arena.get_mut(record);
        if entry.hot.touched != interval {
            self.begin_interval(record);
            entry = self.arena.get_mut(record);
        }
        let is_a_to_b = entry.is_a_to_b(pending.flags);
        let hot = &mut entry.hot;
        let was_answered = hot.flags & HOT_ANSWERED != 0;
        hot.flags |= if is_first {
            HOT_ANSWERED
        } else {
            HOT_USED | HOT_ANSWERED
        };
        let now = pending.timestamp.as_ms();
        hot.last = if recorded { now } else { hot.last.max(now) };
        let mut direction = usize::from(!is_a_to_b);
        if pending.flags & IS_COUNTED != 0 {
            // COMPAT: recorded values of local traffic, whose ends only ports tell apart; the original
            // compares the ports in the wrong order.
            let is_ab = if recorded
                && pending.flags & IS_LOCAL != 0
                && entry.cold.layers & HAS_TRANSPORT != 0
            {
                entry.cold.ports[0] > pending.source_port
            } else {
                is_a_to_b
            };
            direction = usize::from(!is_ab);
            hot.packets[direction] += 1;
            hot.bytes[direction] += pending.bytes;
        }
        let ends = TcpFlags::SYN.0 | TcpFlags::FIN.0 | TcpFlags::RST.0;
        if pending.tcp.0 & ends != 0 || pending.flags & (IS_REQUEST | IS_REPLY) != 0 {
            if recorded {
                measure_rtt(entry, pending);
            } else {
                self.track_request(record, pending, control, is_a_to_b, was_answered);
            }
            self.track_tcp_flags(record, pending, is_a_to_b, is_first);
        }
        direction
    }

    /// Measures round-trip times, and clears [`HOT_ANSWERED`] again after an attempt to open a
    /// connection.
    fn track_request(
        &mut self,
        record: u32,
        pending: &Pending,
        control: &Control,
        is_a_to_b: bool,
        was_answered: bool,
    ) {
        let side = usize::from(!is_a_to_b);
        if pending.flags & (IS_REQUEST | IS_REPLY) != 0 {
            self.track_echo(record, pending, control, side);
            return;
        }
        let entry = self.arena.get_mut(record);
        // Otherwise it is a flow around the one of the TCP header.
        if entry.cold.layers & HAS_TRANSPORT != HAS_TCP {
            return;
        }
        let has = |flag| pending.tcp.contains(flag);
        let (syn, ack, rst) = (has(TcpFlags::SYN), has(TcpFlags::ACK), has(TcpFlags::RST));
        let answers = (ack && !rst || control.payload_len > 0) && (ack || !syn);
        if !answers && !was_answered {
            entry.hot.flags &= !HOT_ANSWERED;
        }
        if syn {
            self.store_announced(record, control, side);
        }
        if syn || rst {
            let segment = control.segment(pending);
            self.track_handshake(record, &segment, side);
        }
    }

    /// Saves the counters of the previous intervals, at the first packet of a flow in the current
    /// interval.
    #[cold]
    pub(super) fn begin_interval(&mut self, record: u32) {
        let current = self.timers.interval();
        let entry = self.arena.get_mut(record);
        let totals = entry.counters();
        let former = self
            .intervals
            .get(entry.cold.interval)
            .copied()
            .unwrap_or_default();
        // If the flow was silent for the whole interval before, that interval added nothing.
        let was_last = entry.hot.touched == current.wrapping_sub(1);
        let interval = Interval {
            base: totals,
            before: if was_last {
                totals.since(former.base)
            } else {
                Default::default()
            },
            rtt: if was_last {
                entry.latest_sample(self.options.recorded)
            } else {
                0
            },
        };
        entry.hot.flags &= !HOT_SAMPLED;
        match self.intervals.get_mut(entry.cold.interval) {
            Some(slot) => *slot = interval,
            None => entry.cold.interval = self.intervals.insert(interval),
        }
        entry.hot.touched = current;
        self.mark_touched(record);
    }

    /// Adds a flow to the list of the next update, unless only final records are sent.
    pub(super) fn mark_touched(&mut self, record: u32) {
        let hot = &mut self.arena.get_mut(record).hot;
        if hot.flags & HOT_LISTED == 0 && !self.options.final_only {
            hot.flags |= HOT_LISTED;
            self.touched.push(record);
        }
    }

    /// Updates the finish type and the TCP times from SYN, FIN and RST.
    fn track_tcp_flags(&mut self, record: u32, pending: &Pending, is_a_to_b: bool, is_first: bool) {
        let recorded = self.options.recorded;
        let direction = usize::from(!is_a_to_b);
        if self.options.extra_tcp_metric {
            self.record_tcp_times(record, pending, direction);
        }
        let has = |flag| pending.tcp.contains(flag);
        let entry = self.arena.get_mut(record);
        let hot = &mut entry.hot;
        if has(TcpFlags::FIN) {
            hot.ends |= END_FIN[direction];
        }
        let both = END_FIN[0] | END_FIN[1];
        let is_closed = if recorded {
            is_first && has(TcpFlags::FIN)
        } else {
            hot.ends & both == both
        };
        let is_reset = has(TcpFlags::RST) && (is_first || !recorded);
        let ends_now = hot.finish == FinishType::NotFinished && (is_closed || is_reset);
        // Without HAS_TCP it is a tunnel flow, keyed by the TCP header inside the tunnel.
        if ends_now && entry.cold.layers & HAS_TRANSPORT == HAS_TCP {
            hot.finish = if is_reset && !recorded {
                FinishType::TcpRst
            } else if is_closed {
                FinishType::TcpFin
            } else {
                FinishType::TcpRst
            };
            if hot.flags & HOT_FINISHING == 0 {
                hot.flags |= HOT_FINISHING;
                self.finishing.push(record);
            }
        }
    }

    /// Records the times of SYN, FIN and RST and the TTL of SYN.
    fn record_tcp_times(&mut self, record: u32, pending: &Pending, direction: usize) {
        let recorded = self.options.recorded;
        let has = |flag| pending.tcp.contains(flag);
        let rare = self.arena.get(record).cold.rare;
        let Some(times) = self.rare.get_mut(rare).and_then(|rare| rare.tcp.as_mut()) else {
            return;
        };
        let now = pending.timestamp.as_ms();
        // COMPAT: the original compares addresses only, so all is from A if they are equal.
        let from = if recorded && pending.flags & IS_LOCAL != 0 {
            0
        } else {
            direction
        };
        if has(TcpFlags::SYN) {
            // COMPAT: recorded values of the original, which takes A's second SYN for B's.
            let from = if recorded && times.syn[from] != 0 {
                1
            } else {
                from
            };
            if times.syn[from] == 0 {
                times.syn[from] = now;
                times.ttl[from] = pending.hop_limit;
            }
        }
        if has(TcpFlags::FIN) {
            times.fin[from] = now;
        }
        if has(TcpFlags::RST) {
            times.rst[from] = now;
        }
    }

    /// Stores a raw packet with its flow, up to `raw_packet_limit` packets per flow.
    fn store_raw_packet(&mut self, record: u32, packet: PacketRef<'_>, offset: u32) {
        let entry = self.arena.get(record);
        // LINKTYPE_ numbers of libpcap: Ethernet, none, IPV4, IPV6.
        let link_type = match entry.cold.layers {
            layers if layers & HAS_LINK != 0 => 1,
            layers if layers & HAS_NETWORK == 0 => 0,
            _ if entry.key.is_v4() => 228,
            _ => 229,
        };
        let limit = self.options.raw_packet_limit;
        let Some(rare) = self.make_rare(record) else {
            return;
        };
        if rare.captured >= limit {
            return;
        }
        rare.captured += 1;
        rare.raw.push(RawPacket {
            timestamp: packet.timestamp.as_ms(),
            index: rare.captured.into(),
            data: Bytes::copy_from_slice(packet.data.get(offset as usize..).unwrap_or_default()),
            link_type,
        });
    }
}

/// Number of a packet in the batch, and its capture point.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketOrigin {
    pub(super) number: u16,
    pub(super) point: CapturePoint,
}

impl PacketOrigin {
    const fn new(number: u16, header: &PacketHeader) -> Self {
        Self {
            number,
            point: header.point,
        }
    }

    /// Sets the capture point of a decoded packet, if there are several.
    #[inline(always)]
    pub(super) fn mark(self, encapsulations: &mut Encapsulations) {
        if !self.point.is_only() {
            encapsulations.set_point(self.point);
        }
    }
}

/// Packets of a batch, by the number in a [`Pending`].
#[derive(Clone, Copy)]
pub(super) struct BatchPackets<'a> {
    batch: &'a PacketBatch<'a>,
    fragments: Option<&'a Fragments>,
}

impl<'a> BatchPackets<'a> {
    /// Returns the packet of an encapsulation, if it was joined from fragments.
    #[inline(always)]
    pub(super) fn joined(&self, part: &Pending) -> Option<&'a JoinedPacket> {
        self.fragments?.joined(part.packet)
    }

    /// Returns where the packet of an encapsulation is from.
    pub(super) fn origin(&self, part: &Pending) -> PacketOrigin {
        let point = match self.joined(part) {
            Some(joined) => joined.point(),
            None => self.batch.headers[usize::from(part.packet)].point,
        };
        PacketOrigin {
            number: part.packet,
            point,
        }
    }

    /// Returns the packet of an encapsulation.
    pub(super) fn of(&self, part: &Pending) -> PacketRef<'a> {
        match self.joined(part) {
            Some(joined) => joined.packet(),
            None => {
                let header = self.batch.headers[usize::from(part.packet)];
                header.packet(self.batch.buffer, self.batch.link_type)
            }
        }
    }
}

/// Prefetches the first two cache lines of a packet, if the batch has that many packets.
#[inline(always)]
fn prefetch_packet(batch: &PacketBatch<'_>, at: usize) {
    if let Some(header) = batch.headers.get(at) {
        for line in [0, CACHE_LINE] {
            if let Some(byte) = batch.buffer.get(header.offset as usize + line) {
                prefetch(byte);
            }
        }
    }
}

/// Returns the number that acknowledges a TCP segment.
fn next_sequence(header: &TransportHeader) -> u32 {
    let flags = [TcpFlags::SYN, TcpFlags::FIN];
    let bits = flags
        .into_iter()
        .filter(|flag| header.flags.contains(*flag))
        .count() as u32;
    header
        .sequence
        .wrapping_add(header.payload_len)
        .wrapping_add(bits)
}

/// Measures the round-trip time: from a SYN or echo request to its SYN/ACK, RST or echo reply.
///
/// A repeated request does not restart the measurement.
fn measure_rtt(entry: &mut Entry, pending: &Pending) {
    let hot = &mut entry.hot;
    let now = pending.timestamp.as_ns();
    let has = |flag| pending.tcp.contains(flag);
    let syn = has(TcpFlags::SYN);
    let is_request = syn || pending.flags & IS_REQUEST != 0;
    let is_response =
        syn && has(TcpFlags::ACK) || has(TcpFlags::RST) || pending.flags & IS_REPLY != 0;
    if is_request && hot.pending == 0 {
        hot.pending = now;
    } else if is_response && hot.pending != 0 {
        hot.rtt = now.saturating_sub(hot.pending);
        hot.pending = 0;
    }
}

/// Distance, in packets, at which packet headers are prefetched.
const AHEAD: usize = 8;
