//! What a packet does to the table: finds or begins its flows, and counts.

use prost::bytes::Bytes;

use super::FlowTable;
use super::entry::{
    END_FIN, Entry, HAS_LINK, HAS_NETWORK, HAS_TCP, HAS_TRANSPORT, HOT_FINISHING, HOT_LISTED,
    HOT_USED, Interval, NONE, Rare,
};
use super::extra_messages::Contents;
use super::fragments::{Fragments, JoinedPacket};
use crate::decode::{DecodeError, IcmpEcho, TcpFlags};
use crate::flow::flow_ids::Identifiers;
use crate::flow::key::{FlowKey, PacketKey};
use crate::flow::memory_hint::{CACHE_LINE, prefetch};
use crate::flow::options::LayerKeyMode;
use crate::flow::record::{FinishType, RawPacket};
use crate::packet::{PacketBatch, PacketRef};
use crate::time::Timestamp;

/// A part of a packet on its way into the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) key: FlowKey,
    pub(super) hash: u64,
    pub(super) timestamp: Timestamp,
    pub(super) bytes: u64,
    /// Where the part starts in the packet.
    offset: u32,
    /// The part around this one, in the list of pending ones; [`NONE`]: none.
    parent: u32,
    /// Where it may be or has been counted; [`NONE`] as long as neither is known.
    record: u32,
    /// Number of the packet in the batch or among its joined ones, and of the part in the packet.
    packet: u16,
    pub(super) part: u8,
    pub(super) tcp: TcpFlags,
    source_port: u16,
    hop_limit: u8,
    /// `IS_*`.
    pub(super) flags: u8,
    /// Valid with [`HAS_CONTENTS`].
    pub(super) contents: Contents,
    /// Sequence number and length of the payload, valid with [`IS_SEGMENT`].
    pub(super) sequence: u32,
    pub(super) payload_len: u32,
}

impl Pending {
    /// Nothing yet.
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
        contents: Contents::NONE,
        sequence: 0,
        payload_len: 0,
    };
}

/// See [`PacketKey`].
pub(super) const IS_SWAPPED: u8 = 0x01;
const IS_LOCAL: u8 = 0x02;
/// Whether its packets and bytes count.
pub(super) const IS_COUNTED: u8 = 0x04;
const IS_REQUEST: u8 = 0x08;
const IS_REPLY: u8 = 0x10;
/// Whether it has contents of an extra layer that its flow wants.
const HAS_CONTENTS: u8 = 0x20;
/// Whether it came with every fragment of the joined packet.
pub(super) const IS_FRAGMENTED: u8 = 0x40;
/// Whether it is a TCP segment that its flow follows.
const IS_SEGMENT: u8 = 0x80;

impl FlowTable {
    /// Decodes and keys all packets, then looks for all flows, then counts: what one packet needs
    /// from memory comes while others are worked on.
    pub(super) fn process_batch(&mut self, batch: &PacketBatch<'_>) {
        self.stats.packets += batch.headers.len() as u64;
        let mut slots = std::mem::take(&mut self.pending);
        let mut len = 0;
        if let Some(fragments) = &mut self.fragments {
            fragments.begin_batch();
            for (number, packet) in (0_u16..).zip(batch.iter()) {
                self.decode_joining(packet, number, &mut slots, &mut len);
            }
        } else {
            for at in 0..AHEAD {
                prefetch_packet(batch, at);
            }
            for (number, packet) in (0_u16..).zip(batch.iter()) {
                prefetch_packet(batch, usize::from(number) + AHEAD);
                self.decode(packet, number, &mut slots, &mut len);
            }
        }
        // Packets are looked at while flows change.
        let fragments = self.fragments.take();
        let packets = Packets {
            batch,
            fragments: fragments.as_deref(),
        };
        let keeps_more =
            self.looks_inside || fragments.is_some() || self.options.raw_packet_limit > 0;
        let pending = &mut slots[..len];
        for part in pending.iter_mut() {
            // Whatever has this tag is the flow, but for one in four thousand millions.
            part.record = self.index.find(part.hash, |_| true).unwrap_or(NONE);
            if part.record != NONE {
                let entry = self.arena.get(part.record);
                prefetch(&entry.key);
                prefetch(&entry.hot);
            }
        }
        for at in 0..pending.len() {
            let part = &pending[at];
            let found = self.find(part);
            let (record, way) = match found {
                Some(record) => (record, self.count(record, part, false)),
                None => {
                    let parent = pending
                        .get(part.parent as usize)
                        .map(|parent| parent.record);
                    let Some(record) = self.begin(part, parent, packets) else {
                        continue;
                    };
                    (record, self.count(record, part, true))
                }
            };
            if keeps_more {
                self.keep_more(record, part, packets, way, found.is_none());
            }
            pending[at].record = record;
        }
        self.fragments = fragments;
        self.pending = slots;
    }

    /// Keeps what options want of a part beside its packet and bytes.
    #[inline(never)]
    fn keep_more(
        &mut self,
        record: u32,
        part: &Pending,
        packets: Packets<'_>,
        way: usize,
        is_first: bool,
    ) {
        if let Some(joined) = packets.joined(part) {
            self.count_fragments(record, part, joined, way, is_first);
        }
        if self.options.raw_packet_limit > 0 {
            self.keep_raw(record, packets.of(part), part.offset);
        }
        if part.flags & IS_SEGMENT != 0 {
            self.follow_segment(record, part);
        }
        if part.flags & HAS_CONTENTS != 0 {
            self.keep_contents(record, part, packets.of(part), is_first);
        }
    }

    /// The record of a part's flow.
    #[inline(always)]
    fn find(&self, part: &Pending) -> Option<u32> {
        let mode = self.options.layer_key_mode;
        let is = |record: u32| self.arena.get(record).key.is_same(&part.key, mode);
        if part.record != NONE && is(part.record) {
            return Some(part.record);
        }
        // It may have begun in this batch.
        self.index.find(part.hash, is)
    }

    #[inline(always)]
    fn decode(
        &mut self,
        packet: PacketRef<'_>,
        number: u16,
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
        let stopped = self.decoder.decode(packet, &mut self.parts);
        self.take_parts(packet, number, stopped, slots, len);
    }

    /// Keys the parts of a packet.
    #[inline(always)]
    pub(super) fn take_parts(
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
        self.stats.parts_without_flow += self.parts.without_flow() as u64;
        let mode = self.options.layer_key_mode;
        let mut parent = NONE;
        let mut parent_hash = 0;
        let is_plain = self.parts.is_plain();
        for (index, part) in self.parts.iter().enumerate() {
            let is_plain = is_plain || index > 0;
            let key = PacketKey::new(&self.parts, index, part, is_plain, mode, parent_hash);
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
            slot.timestamp = packet.timestamp;
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
            slot.hop_limit = part.network.as_ref().map_or(0, |network| network.hop_limit);
            slot.flags = flags;
            parent = *len as u32;
            parent_hash = hash;
            *len += 1;
        }
        if parent == NONE {
            self.stats.without_flow += 1;
        } else if self.looks_inside
            && let Some(innermost) = slots.get_mut(parent as usize)
        {
            self.look_inside(packet, innermost);
        }
    }

    /// Notes what an innermost part tells beside its headers.
    #[inline(never)]
    fn look_inside(&self, packet: PacketRef<'_>, innermost: &mut Pending) {
        if !self.options.extra_layers.is_none()
            && let Some(contents) = self.contents_of(&self.parts)
        {
            innermost.contents = contents;
            innermost.flags |= HAS_CONTENTS;
        }
        if self.options.reassemble_tcp
            && let Some((sequence, payload_len)) = self.segment_of(packet, &self.parts)
        {
            (innermost.sequence, innermost.payload_len) = (sequence, payload_len);
            innermost.flags |= IS_SEGMENT;
        }
    }

    /// Counts a part for its flow; tells whether it goes from A to B (0) or back (1).
    #[inline(always)]
    fn count(&mut self, record: u32, pending: &Pending, is_first: bool) -> usize {
        let interval = self.timers.interval();
        let recorded = self.options.recorded;
        let mut entry = self.arena.get_mut(record);
        if entry.hot.touched != interval {
            self.begin_interval(record);
            entry = self.arena.get_mut(record);
        }
        let is_same_way = entry.is_same_way(pending.flags);
        let hot = &mut entry.hot;
        if !is_first {
            hot.flags |= HOT_USED;
        }
        let now = pending.timestamp.as_ms();
        hot.last = if recorded { now } else { hot.last.max(now) };
        let mut way = usize::from(!is_same_way);
        if pending.flags & IS_COUNTED != 0 {
            // COMPAT: counters of local traffic, whose ends only ports tell apart, equal the
            // original's, which compares the ports the wrong way round.
            let is_ab = if pending.flags & IS_LOCAL != 0 && entry.cold.layers & HAS_TRANSPORT != 0 {
                entry.cold.ports[0] > pending.source_port
            } else {
                is_same_way
            };
            way = usize::from(!is_ab);
            hot.packets[way] += 1;
            hot.bytes[way] += pending.bytes;
        }
        let ends = TcpFlags::SYN.0 | TcpFlags::FIN.0 | TcpFlags::RST.0;
        if pending.tcp.0 & ends != 0 || pending.flags & (IS_REQUEST | IS_REPLY) != 0 {
            measure(entry, pending);
            self.follow_tcp(record, pending, is_same_way, is_first);
        }
        way
    }

    /// The first packet of a flow in an interval: keeps what the intervals before counted.
    #[cold]
    fn begin_interval(&mut self, record: u32) {
        let current = self.timers.interval();
        let entry = self.arena.get_mut(record);
        let totals = entry.counters();
        let former = self
            .intervals
            .get(entry.cold.interval)
            .copied()
            .unwrap_or_default();
        let was_last = entry.hot.touched == current.wrapping_sub(1);
        let interval = Interval {
            base: totals,
            before: if was_last {
                totals.since(former.base)
            } else {
                Default::default()
            },
            rtt: if was_last { entry.hot.rtt } else { 0 },
        };
        match self.intervals.get_mut(entry.cold.interval) {
            Some(slot) => *slot = interval,
            None => entry.cold.interval = self.intervals.insert(interval),
        }
        entry.hot.touched = current;
        self.list_touched(record);
    }

    /// Notes that an update is to send a flow, if updates send any.
    pub(super) fn list_touched(&mut self, record: u32) {
        let hot = &mut self.arena.get_mut(record).hot;
        if hot.flags & HOT_LISTED == 0 && !self.options.leaving_only {
            hot.flags |= HOT_LISTED;
            self.touched.push(record);
        }
    }

    /// SYN, FIN and RST.
    fn follow_tcp(&mut self, record: u32, pending: &Pending, is_same_way: bool, is_first: bool) {
        let recorded = self.options.recorded;
        let way = usize::from(!is_same_way);
        if self.options.extra_tcp_metric {
            self.note_times(record, pending, way);
        }
        let has = |flag| pending.tcp.contains(flag);
        let entry = self.arena.get_mut(record);
        let hot = &mut entry.hot;
        if has(TcpFlags::FIN) {
            hot.ends |= END_FIN[way];
        }
        let both = END_FIN[0] | END_FIN[1];
        let is_closed = if recorded {
            is_first && has(TcpFlags::FIN)
        } else {
            hot.ends == both
        };
        let is_reset = has(TcpFlags::RST) && (is_first || !recorded);
        let ends_now = hot.finish == FinishType::NotFinished && (is_closed || is_reset);
        // A flow of that key may have begun without TCP of its own: a tunnel known by what is in
        // it.
        if ends_now && entry.cold.layers & HAS_TRANSPORT == HAS_TCP {
            hot.finish = if is_closed {
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

    /// Times and TTL of SYN, FIN and RST.
    fn note_times(&mut self, record: u32, pending: &Pending, way: usize) {
        let recorded = self.options.recorded;
        let has = |flag| pending.tcp.contains(flag);
        let rare = self.arena.get(record).cold.rare;
        let Some(times) = self.rare.get_mut(rare).and_then(|rare| rare.tcp.as_mut()) else {
            return;
        };
        let now = pending.timestamp.as_ms();
        // COMPAT: the original goes by addresses alone, so all is from A where they are equal.
        let from = if recorded && pending.flags & IS_LOCAL != 0 {
            0
        } else {
            way
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

    /// Keeps a packet with its flow, if it is one of the first.
    fn keep_raw(&mut self, record: u32, packet: PacketRef<'_>, offset: u32) {
        let entry = self.arena.get_mut(record);
        if entry.cold.rare == NONE {
            entry.cold.rare = self.rare.insert(Rare::default());
        }
        let link_type = match entry.cold.layers {
            layers if layers & HAS_LINK != 0 => 1,
            layers if layers & HAS_NETWORK == 0 => 0,
            _ if entry.key.is_v4() => 228,
            _ => 229,
        };
        let Some(rare) = self.rare.get_mut(entry.cold.rare) else {
            return;
        };
        if rare.captured >= self.options.raw_packet_limit {
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

    /// Sends and removes the flow that was not used for longest, in about.
    #[cold]
    pub(super) fn evict(&mut self) {
        for chance in 0.. {
            let arena = &self.arena;
            let fronts = self.queues.iter().enumerate();
            let oldest = fronts
                .filter_map(|(class, queue)| queue.front().map(|record| (class, record)))
                .min_by_key(|(_, record)| arena.get(*record).hot.last);
            let Some((class, record)) = oldest else {
                return;
            };
            let entry = self.arena.get_mut(record);
            if entry.hot.flags & HOT_USED != 0 && chance < MAX_CHANCES {
                entry.hot.flags &= !HOT_USED;
                let queue = &mut self.queues[class];
                queue.unlink(&mut self.arena, record);
                queue.push(&mut self.arena, record);
                continue;
            }
            let flow = self.leaving_flow(record);
            self.remove(record);
            self.stats.evicted += 1;
            if self.evicted.len() < MAX_EVICTED {
                self.evicted.push(flow);
            } else {
                self.stats.evicted_unsent += 1;
            }
            return;
        }
    }

    /// Forgets a flow.
    pub(super) fn remove(&mut self, record: u32) {
        let entry = self.arena.get_mut(record);
        let (hash, cold) = (
            entry.key.hash(self.seed, self.options.layer_key_mode),
            entry.cold,
        );
        entry.key = FlowKey::NONE;
        entry.hot.flags &= HOT_LISTED | HOT_FINISHING;
        self.index.remove(hash, record);
        self.queues[usize::from(cold.class)].unlink(&mut self.arena, record);
        self.intervals.remove(cold.interval);
        let rare = self.rare.remove(cold.rare);
        if let Some(rare) = rare {
            self.contents_bytes -= rare.contents.map_or(0, |contents| contents.held());
            self.segment_bytes -= rare.streams.map_or(0, |streams| streams.held());
        }
        self.arena.release(record);
    }

    pub(super) fn identifiers(&self, entry: &Entry) -> Identifiers {
        let start = Timestamp::from_ms(entry.cold.start);
        Identifiers::new(
            &entry.key,
            entry.cold.parent_uuid,
            start,
            &self.options.node_tid,
        )
    }
}

/// The packets that parts come from.
#[derive(Clone, Copy)]
pub(super) struct Packets<'a> {
    batch: &'a PacketBatch<'a>,
    fragments: Option<&'a Fragments>,
}

impl<'a> Packets<'a> {
    /// The packet of a part, if it was joined.
    #[inline(always)]
    pub(super) fn joined(&self, part: &Pending) -> Option<&'a JoinedPacket> {
        self.fragments?.joined(part.packet)
    }

    /// The packet of a part.
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

/// Asks for the headers of a packet, if there are that many.
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

/// Round-trip time: from a SYN or an echo request to what answers it.
fn measure(entry: &mut Entry, pending: &Pending) {
    let hot = &mut entry.hot;
    let now = pending.timestamp.as_ns();
    let has = |flag| pending.tcp.contains(flag);
    let syn = has(TcpFlags::SYN);
    let asks = syn || pending.flags & IS_REQUEST != 0;
    let answers = syn && has(TcpFlags::ACK) || has(TcpFlags::RST) || pending.flags & IS_REPLY != 0;
    if asks && hot.pending == 0 {
        hot.pending = now;
    } else if answers && hot.pending != 0 {
        hot.rtt = now.saturating_sub(hot.pending);
        hot.pending = 0;
    }
}

/// How many packets ahead.
const AHEAD: usize = 8;
/// How many flows in use an eviction passes over.
const MAX_CHANCES: u32 = 64;
/// The most evicted flows that wait to be sent.
const MAX_EVICTED: usize = 1 << 14;
