//! The per-packet path: decode, key, find, count.
//!
//! [`FlowTable::process_batch`] runs software-pipelined over a batch of up to 32 packets: first all
//! packets are decoded and keyed (their index slots are prefetched), then all keys are looked up
//! (their entries are prefetched), then all are counted. The memory latency of one packet overlaps
//! with the work on others. Each encapsulation of a packet (a [`Pending`]) costs one O(1) lookup in
//! the hash index and a write to one cache line; no list or timer is touched.

use std::ops::Range;

use super::FlowTable;
use super::batch_packets::{BatchPackets, PacketOrigin, prefetch_packet};
use super::control::Control;
use super::count::has_control;
use super::entry::{HOT_PAIRED, IS_ATTEMPT, NONE};
use super::opener::Evidence;
use super::pending::{
    HAS_EXTRA_MESSAGE, IS_COUNTED, IS_LOCAL, IS_REPLY, IS_REQUEST, IS_SEGMENT, IS_SWAPPED, Pending,
};
use super::spans::{Choice, needs_choice};
use crate::decode::{DecodeError, Encapsulation, IcmpEcho, TcpFlags, TransportProtocol};
use crate::flow::key::PacketKey;
use crate::flow::key_extras::{around, extras};
use crate::flow::memory_hint::prefetch;
use crate::flow::options::LayerKeyMode;
use crate::packet::{PacketBatch, PacketRef};

impl FlowTable {
    /// Processes up to [`BATCH`](super::BATCH) packets: decodes and keys all packets, then looks up
    /// all keys, then counts all packets; memory is prefetched between the three passes.
    pub(super) fn process_batch(&mut self, batch: &PacketBatch<'_>) {
        self.stats.packets += batch.headers.len() as u64;
        let mut slots = std::mem::take(&mut self.pending);
        let len = self.decode_batch(batch, &mut slots);
        // Moved out of `self`, because `packets` borrows it while `self` is mutated.
        let fragments = self.fragments.take();
        let packets = BatchPackets {
            batch,
            fragments: fragments.as_deref(),
        };
        let has_extras =
            self.reads_payload || fragments.is_some() || self.options.raw_packet_limit > 0;
        let controls = std::mem::take(&mut self.controls);
        let pending = &mut slots[..len];
        self.look_up(pending);
        // An ICMP error ends a range: the error refers to a flow of the packets before it.
        let mut at = 0;
        for error in 0.. {
            let end = self.end_of_error(error, pending);
            self.count_parts(pending, &controls, at..end, packets, has_extras);
            if error == self.error_notes.len() {
                break;
            }
            self.apply_error_note(error, pending);
            at = end;
        }
        self.apply_notes(pending);
        self.fragments = fragments;
        self.controls = controls;
        self.pending = slots;
    }

    /// Counts a range of the pending encapsulations in their flows.
    #[inline(always)]
    fn count_parts(
        &mut self,
        pending: &mut [Pending],
        controls: &[Control],
        range: Range<usize>,
        packets: BatchPackets<'_>,
        has_extras: bool,
    ) {
        for at in range {
            let (part, control) = (&pending[at], &controls[at]);
            let now = part.timestamp.as_ms();
            if let Some(direction) = self.count_known(part, now) {
                if has_extras {
                    let record = part.record;
                    self.record_extras(record, part, control, packets, direction, false);
                }
                continue;
            }
            let choice = self.choose_flow(part, control, now);
            let (record, direction) = if let Choice::Record(record) = choice {
                (record, self.count(record, part, control, now, false))
            } else {
                let parent = pending
                    .get(part.parent as usize)
                    .map(|parent| parent.record);
                let record = self.begin_flow(part, parent, packets);
                self.mark_new(record, choice, control);
                (record, self.count(record, part, control, now, true))
            };
            if part.one_way != 0 {
                let parent = pending.get(part.parent as usize);
                self.pair(record, part, control, parent.map(|parent| parent.record));
            }
            if has_extras {
                let is_first = !matches!(choice, Choice::Record(_));
                self.record_extras(record, part, control, packets, direction, is_first);
            }
            pending[at].record = record;
        }
    }

    /// Decodes and keys all packets of a batch; returns the number of slots that are used.
    #[inline(always)]
    fn decode_batch(&mut self, batch: &PacketBatch<'_>, slots: &mut [Pending]) -> usize {
        let mut len = 0;
        if let Some(fragments) = &mut self.fragments {
            fragments.begin_batch();
            for (number, header) in (0_u16..).zip(batch.headers) {
                let packet = header.packet(batch.buffer, batch.link_type);
                let origin = PacketOrigin::new(number, header);
                self.decode_reassembling(packet, origin, slots, &mut len);
            }
        } else {
            for at in 0..AHEAD {
                prefetch_packet(batch, at);
            }
            for (number, header) in (0_u16..).zip(batch.headers) {
                prefetch_packet(batch, usize::from(number) + AHEAD);
                let packet = header.packet(batch.buffer, batch.link_type);
                let origin = PacketOrigin::new(number, header);
                self.decode(packet, origin, slots, &mut len);
            }
        }
        len
    }

    /// Looks up the tags of all keys, and prefetches the entries that are found.
    #[inline(always)]
    fn look_up(&self, pending: &mut [Pending]) {
        for part in pending {
            // The first slot with the same 32-bit tag is the flow, except for one lookup in 2³²;
            // `find` compares the whole key.
            part.record = self.index.find(part.hash, |_| true).unwrap_or(NONE);
            if part.record != NONE {
                let entry = self.arena.get(part.record);
                prefetch(&entry.key);
                prefetch(&entry.hot);
                if has_control(part.tcp, part.flags) {
                    prefetch(&entry.cold);
                }
            }
        }
    }

    /// Returns the flow of an encapsulation among the flows with its key, or that a new flow begins.
    #[inline(always)]
    fn choose_flow(&mut self, part: &Pending, control: &Control, now: i64) -> Choice {
        if part.one_way != 0 {
            return self.choose_paired(part, control, now);
        }
        match self.find(part) {
            Some(record) if needs_choice(&self.arena.get(record).hot, &self.holds, part, now) => {
                self.choose(record, part, control)
            }
            Some(record) => Choice::Record(record),
            None => Choice::New,
        }
    }

    /// Sets the marks of a new flow that has the key of another flow, follows another connection,
    /// or is an attempt.
    #[inline]
    fn mark_new(&mut self, record: u32, choice: Choice, control: &Control) {
        if std::mem::take(&mut self.begins_paired) {
            self.arena.get_mut(record).hot.flags |= HOT_PAIRED;
        }
        match std::mem::take(&mut self.next_occurrence) {
            0 => {}
            number => self.side_numbers_mut(record).occurrence = number,
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

    /// Records the data that the options select in addition to packets and bytes.
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

    /// Returns the record of the flow with this key; `None` if there is none.
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

    /// Filters, decodes, and keys a packet.
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
        let mut inner = Enclosing::NONE;
        if self.encapsulations.len() == 1 {
            // Most packets have one encapsulation: this call is specialized for constant arguments.
            inner = self
                .key_level(&packet, number, 0, Enclosing::NONE, slots, len)
                .unwrap_or(inner);
        } else {
            for index in 0..self.encapsulations.len() {
                let Some(next) = self.key_level(&packet, number, index, inner, slots, len) else {
                    break;
                };
                inner = next;
            }
        }
        let (parent, enclosing) = (inner.slot, inner.around);
        if parent == NONE {
            self.stats.without_flow += 1;
            return;
        }
        self.note_details(&packet, slots, parent, enclosing);
        if self.reads_payload
            && let Some(innermost) = slots.get_mut(parent as usize)
        {
            self.read_payload(&packet, innermost, parent as usize);
        }
    }

    /// Appends the [`Pending`] of one encapsulation of the decoded packet. Returns the enclosing
    /// flow of the encapsulations inside it; `None` if there is no slot.
    #[inline(always)]
    fn key_level(
        &mut self,
        packet: &PacketRef<'_>,
        number: u16,
        index: usize,
        enclosing: Enclosing,
        slots: &mut [Pending],
        len: &mut usize,
    ) -> Option<Enclosing> {
        let part = self.encapsulations.get(index)?;
        let (mode, recorded) = (self.options.layer_key_mode, self.options.recorded);
        let key = self.key_of(index, part, enclosing.hash);
        let hash = key.key.hash(self.seed, mode);
        self.index.prefetch(hash);
        let slot = slots.get_mut(*len)?;
        slot.key = key.key;
        slot.hash = hash;
        slot.timestamp = self.clock_steps.steady(packet.timestamp);
        slot.bytes = counted_bytes(part, mode);
        slot.offset = part.offset;
        slot.parent = enclosing.slot;
        slot.packet = number;
        slot.part = index as u8;
        (slot.tcp, slot.source_port) = match &part.transport {
            Some(transport) => (transport.flags, transport.source),
            None => (TcpFlags(0), 0),
        };
        let flags = packet_flags(part, &key, mode, recorded);
        if has_control(slot.tcp, flags) || enclosing.one_way != 0 {
            self.controls[*len] = Control::of(*packet, part);
        }
        slot.hop_limit = part.network.as_ref().map_or(0, |network| network.hop_limit);
        slot.flags = flags;
        slot.one_way = enclosing.one_way;
        let mut inner = Enclosing {
            slot: *len as u32,
            hash,
            one_way: 0,
            around: enclosing.hash,
        };
        *len += 1;
        if !part.marks.is_empty()
            && !recorded
            && let Some(around) = around(part, enclosing.hash, self.options.key_ignore, self.seed)
        {
            (inner.hash, inner.one_way) = (around.hash, around.identifier);
        }
        Some(inner)
    }

    /// Returns the key of one encapsulation of the decoded packet; `enclosing` is the hash of the
    /// flow around it.
    #[inline(always)]
    fn key_of(&self, index: usize, part: &Encapsulation, enclosing: u64) -> PacketKey {
        let (mode, recorded) = (self.options.layer_key_mode, self.options.recorded);
        // COMPAT: recorded values of the original, which keys the first level by headers inside it.
        let is_plain = !recorded || index > 0 || self.encapsulations.is_plain();
        let mut key = PacketKey::new(&self.encapsulations, index, part, is_plain, mode, enclosing);
        if (!part.marks.is_empty() || part.vlan_id != 0) && !recorded {
            let ignore = self.options.key_ignore;
            let extras = extras(part, key.is_swapped, ignore, self.seed);
            key.key.add_extras(extras);
        }
        if index + 1 == self.encapsulations.len() {
            match self.subject_hash() {
                0 => {}
                subject => key.key.add_extras(subject),
            }
        }
        key
    }

    /// Records the extra message and the TCP segment of the innermost encapsulation.
    #[inline(never)]
    fn read_payload(&mut self, packet: &PacketRef<'_>, innermost: &mut Pending, at: usize) {
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
            self.controls[at] = Control::of(*packet, part);
            innermost.flags |= IS_SEGMENT;
        }
    }
}

/// Flow that encloses an encapsulation.
#[derive(Clone, Copy, Debug)]
struct Enclosing {
    /// Index of the enclosing flow among the pending flows; [`NONE`] if there is none.
    slot: u32,
    /// Hash of the enclosing flow in the keys of the flows inside; 0 if there is none.
    hash: u64,
    /// Hash of the one-way identifier of the enclosing flow; 0 if it has none.
    one_way: u64,
    /// Hash of the next outer flow in the key of the enclosing flow.
    around: u64,
}

impl Enclosing {
    const NONE: Self = Self {
        slot: NONE,
        hash: 0,
        one_way: 0,
        around: 0,
    };
}

/// Returns the `IS_*` flags that follow from the headers of an encapsulation.
#[inline(always)]
fn packet_flags(part: &Encapsulation, key: &PacketKey, mode: LayerKeyMode, recorded: bool) -> u8 {
    let mut flags = 0;
    // COMPAT: recorded values of the original, which counts nothing without IP in L3 mode.
    if part.network.is_some() || mode == LayerKeyMode::L2 || !recorded {
        flags |= IS_COUNTED;
    }
    if key.is_swapped {
        flags |= IS_SWAPPED;
    }
    if key.is_local {
        flags |= IS_LOCAL;
    }
    flags
        | match part.icmp.and_then(|icmp| icmp.echo) {
            None => 0,
            Some(IcmpEcho::Request) => IS_REQUEST,
            Some(IcmpEcho::Reply) => IS_REPLY,
        }
}

/// Returns the number of bytes that an encapsulation adds to its flow: without a link header, the
/// length in the IP header.
#[inline(always)]
fn counted_bytes(part: &Encapsulation, mode: LayerKeyMode) -> u64 {
    let by_link = part.link.is_some() || mode == LayerKeyMode::L3;
    match &part.network {
        Some(network) if !by_link => network.length.into(),
        _ => u64::try_from(part.length).unwrap_or(0),
    }
}

/// Distance, in packets, at which packet headers are prefetched.
const AHEAD: usize = 8;
