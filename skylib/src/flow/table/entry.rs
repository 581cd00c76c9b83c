//! Storage of a flow: an entry of three cache lines (key, hot, cold), and slabs for data that few
//! flows have.

use std::num::NonZeroU32;

use super::details::Details;
use super::echoes::Echoes;
use super::handshake::Handshake;
use super::opener::Evidence;
use super::pairing::Pairing;
use super::round_trip::RoundTrips;
use crate::decode::Marks;
use crate::flow::extra_layers::ExtraMessage;
use crate::flow::key::FlowKey;
use crate::flow::metric::{FlowMetric, IpMetric};
use crate::flow::record::{FinishType, FlowProtocol, RawPacket};
use crate::flow::recorded_streams::RecordedStreams;
use crate::flow::stream_counters::StreamCounters;

/// A flow in the table. The first cache line determines whether a packet belongs to the flow. The
/// second is written by every packet; the third, when the flow begins, is sent, or is removed.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Entry {
    pub(super) key: FlowKey,
    pub(super) hot: Hot,
    pub(super) cold: Cold,
}

/// Fields written by every packet; one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Hot {
    /// Packets from A to B, and from B to A.
    pub(super) packets: [u64; 2],
    /// Bytes from A to B, and from B to A.
    pub(super) bytes: [u64; 2],
    /// Time of the last packet, in Unix milliseconds.
    pub(super) last: i64,
    /// Time of the outstanding request, in Unix nanoseconds; see [`END_REQUEST`]. With `recorded`,
    /// 0 if there is none.
    pub(super) pending: i64,
    /// Round-trip time last measured, in nanoseconds.
    pub(super) rtt: i64,
    /// Number of the update interval of the last packet.
    pub(super) touched: u32,
    /// Set of `HOT_*` flags.
    pub(super) flags: u8,
    /// Way in which the flow ended.
    pub(super) finish: FinishType,
    /// Set of `END_*` flags.
    pub(super) ends: u8,
    /// Evidence that A opened the flow.
    pub(super) opener: Evidence,
}

/// Fields written when the flow begins or moves in a list; one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Cold {
    /// Time of the first packet, in Unix milliseconds.
    pub(super) start: i64,
    /// UUID of the enclosing flow; 0 for an outermost flow.
    pub(super) parent_uuid: u64,
    /// VLAN tags of the first packet.
    pub(super) vlan_id: i64,
    /// Ports of A and B.
    pub(super) ports: [u16; 2],
    /// ICMP type (upper 8 bits), code (8 bits), and identifier (16 bits); for TCP, see
    /// [`END_REQUEST_STAMP`].
    pub(super) icmp: u32,
    /// Tunnel identifier of the first packet; for TCP, the announced segment sizes (`offload.rs`).
    pub(super) tunnel_id: u32,
    /// Interned number of the layer path; `u16::MAX` if the path is in [`Rare::path`].
    pub(super) path: u16,
    /// Index of the age queue of the flow.
    pub(super) class: u8,
    /// Set of `HAS_*` flags.
    pub(super) layers: u8,
    /// Slot of the [`Interval`] of the flow, or [`NONE`].
    pub(super) interval: u32,
    /// Slot of the [`Rare`] of the flow, or [`NONE`].
    pub(super) rare: u32,
    /// Older neighbor in the age queue, or [`NONE`].
    pub(super) previous: u32,
    /// Newer neighbor in the age queue, or [`NONE`]; in a free entry, the next free entry.
    pub(super) next: u32,
    /// Number of the update interval in which the flow began.
    pub(super) born: u32,
    /// Sequence number of the latest request: of a SYN, or of an echo; see [`END_REQUEST`].
    pub(super) number: u32,
}

/// Marks the absence of a record number or slot.
pub(super) const NONE: u32 = u32::MAX;

/// The entry is in use.
pub(super) const HOT_ALIVE: u8 = 0x01;
/// A is the second (upper) end of the key.
pub(super) const HOT_SWAPPED: u8 = 0x02;
/// A packet arrived since the flow was last appended to its age queue.
pub(super) const HOT_USED: u8 = 0x04;
/// The record number is in `FlowTable::touched`; outlives the flow.
pub(super) const HOT_LISTED: u8 = 0x08;
/// The record number is in `FlowTable::finishing`; outlives the flow.
pub(super) const HOT_FINISHING: u8 = 0x10;
/// A packet was counted that is not an attempt to open a connection: neither a SYN without ACK nor
/// a bare RST.
pub(super) const HOT_ANSWERED: u8 = 0x20;
/// A round-trip time was measured in the update interval of the last packet.
pub(super) const HOT_SAMPLED: u8 = 0x40;
/// Other entries have, or had, the same key, so that packets must choose among them.
pub(super) const HOT_PAIRED: u8 = 0x80;

/// FIN seen from A; FIN seen from B.
pub(super) const END_FIN: [u8; 2] = [0x01, 0x02];
/// Mask of the state of the latest request, an `END_REQUEST_*` number.
pub(super) const END_REQUEST: u8 = 0x1c;
/// Only the answer was seen; the sequence number of the request is in `cold.number`.
pub(super) const END_REQUEST_KNOWN: u8 = 0x04;
/// The request has waited for its answer since `hot.pending`.
pub(super) const END_REQUEST_PENDING: u8 = 0x08;
/// The request waits for its answer, and was sent again.
pub(super) const END_REQUEST_REPEATED: u8 = 0x0c;
/// The request was answered.
pub(super) const END_REQUEST_ANSWERED: u8 = 0x10;
/// The state is in [`Rare::handshake`] or [`Rare::echoes`].
pub(super) const END_REQUEST_RARE: u8 = 0x14;
/// The request was sent by B.
pub(super) const END_REQUEST_OF_B: u8 = 0x20;
/// The request has a timestamp option, whose value is in `cold.icmp`.
pub(super) const END_REQUEST_STAMP: u8 = 0x40;
/// The UUID of the flow has been used: it no longer changes if the flow's start changes.
pub(super) const END_IDENTIFIED: u8 = 0x80;

// Layers of a flow. With HAS_OTHER_NETWORK, the addresses are in `Rare::network`, not in the key.
// The transport is a two-bit number under the mask HAS_TRANSPORT.
pub(super) const HAS_LINK: u8 = 0x01;
pub(super) const HAS_NETWORK: u8 = 0x02;
pub(super) const HAS_ICMP: u8 = 0x04;
pub(super) const HAS_OTHER_NETWORK: u8 = 0x08;
pub(super) const HAS_TCP: u8 = 0x10;
pub(super) const HAS_UDP: u8 = 0x20;
pub(super) const HAS_SCTP: u8 = 0x30;
pub(super) const HAS_TRANSPORT: u8 = 0x30;
/// The flow is not in the index, because a later flow has its key.
pub(super) const IS_RETIRED: u8 = 0x40;
/// The flow is an attempt to open a connection while another flow with its key is open.
pub(super) const IS_ATTEMPT: u8 = 0x80;

const _: () = assert!(size_of::<Entry>() == 192 && align_of::<Entry>() == 64);

impl Entry {
    /// Returns an entry that contains no flow.
    #[cfg(test)]
    pub(super) fn vacant() -> Self {
        Self {
            key: FlowKey::NONE,
            hot: Hot::default(),
            cold: Cold::default(),
        }
    }

    /// Returns whether the entry is in use.
    pub(super) const fn is_alive(&self) -> bool {
        self.hot.flags & HOT_ALIVE != 0
    }

    /// Returns the transport protocol.
    pub(super) const fn transport(&self) -> Option<FlowProtocol> {
        match self.cold.layers & HAS_TRANSPORT {
            HAS_TCP => Some(FlowProtocol::Tcp),
            HAS_UDP => Some(FlowProtocol::Udp),
            HAS_SCTP => Some(FlowProtocol::Sctp),
            _ => None,
        }
    }

    /// Returns the tunnel identifier; 0 if there is none.
    pub(super) const fn tunnel_id(&self) -> u32 {
        if self.cold.layers & HAS_TRANSPORT == HAS_TCP {
            0
        } else {
            self.cold.tunnel_id
        }
    }

    /// Returns whether a packet with these `IS_*` flags goes from A to B.
    pub(super) const fn is_a_to_b(&self, flags: u8) -> bool {
        (self.hot.flags & HOT_SWAPPED != 0) == (flags & super::pending::IS_SWAPPED != 0)
    }

    /// Returns the distance in milliseconds from the flow to a time, in Unix milliseconds; 0 within
    /// the flow.
    pub(super) fn distance(&self, now: i64) -> i64 {
        let before = self.cold.start.saturating_sub(now);
        before.max(now.saturating_sub(self.hot.last)).max(0)
    }

    /// Returns the MAC addresses of A and B.
    pub(super) fn macs(&self) -> ([u8; 6], [u8; 6]) {
        let (low, high) = self.key.macs();
        if self.hot.flags & HOT_SWAPPED == 0 {
            (low, high)
        } else {
            (high, low)
        }
    }

    /// Returns the addresses of A and B in the key. The addresses of a flow with
    /// [`HAS_OTHER_NETWORK`] are different.
    pub(super) fn addresses(&self) -> ([u8; 16], [u8; 16]) {
        let (low, high) = self.key.addresses();
        if self.hot.flags & HOT_SWAPPED == 0 {
            (low, high)
        } else {
            (high, low)
        }
    }

    /// Returns the latest round-trip time of the interval `hot.touched`, in nanoseconds; 0 if there
    /// was none.
    pub(super) const fn latest_sample(&self, recorded: bool) -> i64 {
        // COMPAT: recorded values of Skydive, which repeats an old value.
        if recorded || self.hot.flags & HOT_SAMPLED != 0 {
            self.hot.rtt
        } else {
            0
        }
    }

    /// Returns the four counters.
    pub(super) const fn counters(&self) -> Counters {
        Counters {
            packets: self.hot.packets,
            bytes: self.hot.bytes,
        }
    }
}

/// Packets and bytes of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    packets: [u64; 2],
    bytes: [u64; 2],
}

impl Counters {
    /// Returns the difference from an earlier state.
    pub(super) const fn since(self, earlier: Self) -> Self {
        let [ab, ba] = self.packets;
        let [ab_bytes, ba_bytes] = self.bytes;
        Self {
            packets: [
                ab.wrapping_sub(earlier.packets[0]),
                ba.wrapping_sub(earlier.packets[1]),
            ],
            bytes: [
                ab_bytes.wrapping_sub(earlier.bytes[0]),
                ba_bytes.wrapping_sub(earlier.bytes[1]),
            ],
        }
    }

    /// Returns the counters as a metric of an interval; times in Unix milliseconds, `rtt` in
    /// nanoseconds. A counter above `i64::MAX` saturates.
    pub(super) fn metric(self, start: i64, last: i64, rtt: i64) -> FlowMetric {
        let number = |counter: u64| i64::try_from(counter).unwrap_or(i64::MAX);
        FlowMetric {
            ab_packets: number(self.packets[0]),
            ab_bytes: number(self.bytes[0]),
            ba_packets: number(self.packets[1]),
            ba_bytes: number(self.bytes[1]),
            start,
            last,
            rtt,
        }
    }
}

/// Numbers that only few flows, or the flows of few captures, have.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SideNumbers {
    /// Number of evictions, modulo 2³², at the creation of a flow that evicted another one; 0 for
    /// other flows.
    pub(super) evictions: u32,
    /// Sequence number of the SYN of a flow with [`Evidence::NewSyn`].
    pub(super) new_syn: u32,
    /// Capture point or interface index, if the first packet had no other marks; see
    /// [`Marks::capture_origin`].
    pub(super) origin: Option<NonZeroU32>,
    /// Number that distinguishes the flow from earlier flows with its key and start, which may be
    /// equal; 0 for other flows.
    pub(super) occurrence: u32,
}

/// Counters of earlier update intervals; only flows with packets in more than one interval have
/// them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Interval {
    /// Totals before the interval `hot.touched`.
    pub(super) base: Counters,
    /// Packets and bytes of the interval before `hot.touched`.
    pub(super) before: Counters,
    /// Round-trip time at the end of the interval before `hot.touched`, in nanoseconds.
    pub(super) rtt: i64,
}

/// Data that few flows have.
#[derive(Clone, Debug, Default)]
pub(super) struct Rare {
    /// Times of SYN, FIN, and RST; `None` unless an option records them and the flow is TCP.
    pub(super) tcp: Option<TcpTimes>,
    /// Raw packets that have not been sent yet.
    pub(super) raw: Vec<RawPacket>,
    /// Number of raw packets stored since the flow began.
    pub(super) captured: u32,
    /// Addresses, if they differ from those of the key.
    pub(super) network: Option<OtherNetwork>,
    /// Layer path, if it could not be interned.
    pub(super) path: Option<crate::decode::LayersPath>,
    /// State of the TCP streams, if they are tracked as in Skydive.
    pub(super) recorded_streams: Option<Box<RecordedStreams>>,
    /// Counters of IP defragmentation.
    pub(super) ip: Option<IpMetric>,
    /// TCP requests that do not fit into the entry.
    pub(super) handshake: Option<Box<Handshake>>,
    /// Echo requests that do not fit into the entry.
    pub(super) echoes: Option<Box<Echoes>>,
    /// Statistics of round-trip times, if an option needs them.
    pub(super) round_trips: Option<Box<RoundTrips>>,
    /// Counters of the TCP streams, if they are tracked and `recorded` is not set.
    pub(super) stream_counters: Option<Box<StreamCounters>>,
    /// Start from which the UUID was computed, in Unix milliseconds, if the start has changed since.
    pub(super) uuid_start: Option<i64>,
    /// Message of an extra layer.
    pub(super) extra_message: Option<Box<ExtraMessage>>,
    /// Details of the packets.
    pub(super) details: Option<Box<Details>>,
    /// Identifiers of the first packet, if [`SideNumbers::origin`] cannot hold them.
    pub(super) marks: Option<Box<Marks>>,
    /// One-way identifiers around the flow, if the flow is inside a one-way path.
    pub(super) pairing: Option<Box<Pairing>>,
}

impl Rare {
    /// Returns the size of the marks and the pairing that counts toward
    /// [`side_limit`](super::side_limit), in bytes.
    pub(super) fn side_bytes(&self) -> usize {
        let marks = self.marks.as_ref().map_or(0, |_| MARKS_BYTES);
        let pairing = self.pairing.as_ref().map_or(0, |_| size_of::<Pairing>());
        marks + pairing
    }
}

/// Size of the marks of a flow and of its [`Rare`], in bytes.
pub(super) const MARKS_BYTES: usize = size_of::<Marks>() + size_of::<Rare>();

/// Layer 3 addresses of a flow whose key holds other addresses, such as IPv4 inside IPv6.
#[derive(Clone, Copy, Debug)]
pub(super) struct OtherNetwork {
    pub(super) is_v4: bool,
    pub(super) source: crate::decode::IpAddress,
    pub(super) destination: crate::decode::IpAddress,
}

/// Times of SYN, FIN, and RST from A and from B, in Unix milliseconds (0: not seen), and the TTL of
/// SYN.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TcpTimes {
    pub(super) syn: [i64; 2],
    pub(super) ttl: [u8; 2],
    pub(super) fin: [i64; 2],
    pub(super) rst: [i64; 2],
}

/// Chunked slab with a free list: values by slot number; slots of removed values are reused.
#[derive(Debug)]
pub(super) struct Slab<T> {
    /// Every chunk but the last has exactly [`SLAB_CHUNK`] values; none is ever reallocated.
    chunks: Vec<Vec<T>>,
    /// Free slots; each holds a default value.
    free: Vec<u32>,
}

impl<T: Default> Slab<T> {
    /// Returns an empty slab.
    pub(super) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Stores a value and returns its slot, or [`NONE`] if all 2³² − 1 slots are in use.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            if let Some(free) = self.get_mut(slot) {
                *free = value;
            }
            return slot;
        }
        if self
            .chunks
            .last()
            .is_none_or(|chunk| chunk.len() == SLAB_CHUNK)
        {
            self.chunks.push(Vec::with_capacity(SLAB_CHUNK));
        }
        let full = (self.chunks.len() - 1) * SLAB_CHUNK;
        match self
            .chunks
            .last_mut()
            .map(|chunk| (u32::try_from(full + chunk.len()), chunk))
        {
            Some((Ok(slot), chunk)) if slot != NONE => {
                chunk.push(value);
                slot
            }
            _ => NONE,
        }
    }

    /// Returns the value of a slot; `None` for [`NONE`].
    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.chunks
            .get(slot as usize / SLAB_CHUNK)?
            .get(slot as usize % SLAB_CHUNK)
    }

    /// Returns the value of a slot, mutable; `None` for [`NONE`].
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.chunks
            .get_mut(slot as usize / SLAB_CHUNK)?
            .get_mut(slot as usize % SLAB_CHUNK)
    }

    /// Removes and returns the value of a slot; `None` for [`NONE`].
    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        let value = std::mem::take(self.get_mut(slot)?);
        self.free.push(slot);
        Some(value)
    }

    /// Returns the allocated size, in bytes, excluding memory that the values own.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * SLAB_CHUNK * size_of::<T>() + self.free.capacity() * size_of::<u32>()
    }
}

/// Number of values per chunk of a [`Slab`].
const SLAB_CHUNK: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again() {
        let mut slab = Slab::new();
        let count = 3 * SLAB_CHUNK as u32;
        let slots: Vec<u32> = (0..count).map(|value| slab.insert(value)).collect();
        assert_eq!(slots, Vec::from_iter(0..count));
        assert_eq!(slab.remove(700), Some(700));
        assert_eq!(slab.remove(NONE), None);
        assert_eq!((slab.insert(7), slab.insert(8)), (700, count));
        assert_eq!(
            (slab.get(700), slab.get(count), slab.get(count + 1)),
            (Some(&7), Some(&8), None)
        );
    }
}
