//! What a table holds of a flow: three cache lines, and slabs for what few flows have.

use crate::flow::extra_layers::ExtraContents;
use crate::flow::key::FlowKey;
use crate::flow::metric::{FlowMetric, IpMetric};
use crate::flow::record::{FinishType, FlowProtocol, RawPacket};
use crate::flow::tcp_stream::Streams;

/// A flow in the table. The first line decides whether a packet belongs to it, the second is
/// written by every packet, the third when the flow begins, is sent or leaves.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Entry {
    pub(super) key: FlowKey,
    pub(super) hot: Hot,
    pub(super) cold: Cold,
}

/// Written by every packet.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Hot {
    /// Packets from A to B and back.
    pub(super) packets: [u64; 2],
    /// Bytes from A to B and back.
    pub(super) bytes: [u64; 2],
    /// Last packet, Unix ms.
    pub(super) last: i64,
    /// When a request was seen whose answer is not, Unix ns; 0: none.
    pub(super) pending: i64,
    /// Round-trip time last measured, ns.
    pub(super) rtt: i64,
    /// The interval between updates in which the last packet came.
    pub(super) touched: u32,
    /// `HOT_*`.
    pub(super) flags: u8,
    /// How it ended.
    pub(super) finish: FinishType,
    /// `END_*`: which ends of TCP were seen.
    pub(super) ends: u8,
}

/// Written when the flow begins.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Cold {
    /// First packet, Unix ms.
    pub(super) start: i64,
    /// The flow around this one; 0: none.
    pub(super) parent_uuid: u64,
    /// VLAN tags of the first packet.
    pub(super) vlan_id: i64,
    /// Ports of A and B.
    pub(super) ports: [u16; 2],
    /// ICMP type, code and id: 8, 8, 16 bits.
    pub(super) icmp: u32,
    /// Tunnel id of the first packet.
    pub(super) tunnel_id: u32,
    /// Number of the layers path in the table's list.
    pub(super) path: u16,
    /// Number of the queue it stands in.
    pub(super) class: u8,
    /// `HAS_*`.
    pub(super) layers: u8,
    /// Slot of its [`Interval`], or [`NONE`].
    pub(super) interval: u32,
    /// Slot of its [`Rare`], or [`NONE`].
    pub(super) rare: u32,
    /// Neighbours in its queue, or [`NONE`].
    pub(super) previous: u32,
    pub(super) next: u32,
    /// The interval between updates in which it began.
    pub(super) born: u32,
}

/// No record, no slot.
pub(super) const NONE: u32 = u32::MAX;

/// In use.
pub(super) const HOT_ALIVE: u8 = 0x01;
/// A is the upper end of the key.
pub(super) const HOT_SWAPPED: u8 = 0x02;
/// Had a packet since it was last put at the end of its queue.
pub(super) const HOT_USED: u8 = 0x04;
/// Its number stands in the list of touched records; outlives the flow.
pub(super) const HOT_LISTED: u8 = 0x08;
/// Its number stands in the list of finished records; outlives the flow.
pub(super) const HOT_FINISHING: u8 = 0x10;

/// FIN from A, FIN from B.
pub(super) const END_FIN: [u8; 2] = [0x01, 0x02];

/// Link, Network, ICMP; where Network is not that of the key; the transport.
pub(super) const HAS_LINK: u8 = 0x01;
pub(super) const HAS_NETWORK: u8 = 0x02;
pub(super) const HAS_ICMP: u8 = 0x04;
pub(super) const HAS_OTHER_NETWORK: u8 = 0x08;
pub(super) const HAS_TCP: u8 = 0x10;
pub(super) const HAS_UDP: u8 = 0x20;
pub(super) const HAS_SCTP: u8 = 0x30;
pub(super) const HAS_TRANSPORT: u8 = 0x30;

const _: () = assert!(size_of::<Entry>() == 192 && align_of::<Entry>() == 64);

impl Entry {
    /// Not a flow.
    #[cfg(test)]
    pub(super) fn vacant() -> Self {
        Self {
            key: FlowKey::NONE,
            hot: Hot::default(),
            cold: Cold::default(),
        }
    }

    pub(super) const fn is_alive(&self) -> bool {
        self.hot.flags & HOT_ALIVE != 0
    }

    /// Whose ports it has.
    pub(super) const fn transport(&self) -> Option<FlowProtocol> {
        match self.cold.layers & HAS_TRANSPORT {
            HAS_TCP => Some(FlowProtocol::Tcp),
            HAS_UDP => Some(FlowProtocol::Udp),
            HAS_SCTP => Some(FlowProtocol::Sctp),
            _ => None,
        }
    }

    /// Whether a packet with these `IS_*` goes from A to B.
    pub(super) const fn is_same_way(&self, flags: u8) -> bool {
        (self.hot.flags & HOT_SWAPPED != 0) == (flags & super::process::IS_SWAPPED != 0)
    }

    /// A's and B's MAC.
    pub(super) fn macs(&self) -> ([u8; 6], [u8; 6]) {
        let (low, high) = self.key.macs();
        if self.hot.flags & HOT_SWAPPED == 0 {
            (low, high)
        } else {
            (high, low)
        }
    }

    /// A's and B's address, where they are those of the key.
    pub(super) fn addresses(&self) -> ([u8; 16], [u8; 16]) {
        let (low, high) = self.key.addresses();
        if self.hot.flags & HOT_SWAPPED == 0 {
            (low, high)
        } else {
            (high, low)
        }
    }

    /// The four counters.
    pub(super) const fn counters(&self) -> Counters {
        Counters {
            packets: self.hot.packets,
            bytes: self.hot.bytes,
        }
    }
}

/// Packets and bytes, from A to B and back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    packets: [u64; 2],
    bytes: [u64; 2],
}

impl Counters {
    /// What was counted since an earlier state.
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

    /// As clients get it.
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

/// Counters of former intervals; only of flows that had packets in more than one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Interval {
    /// Totals when the current interval began.
    pub(super) base: Counters,
    /// What the interval before added.
    pub(super) before: Counters,
    /// Round-trip time at the end of the interval before, ns.
    pub(super) rtt: i64,
}

/// What few flows have.
#[derive(Clone, Debug, Default)]
pub(super) struct Rare {
    pub(super) tcp: Option<TcpTimes>,
    /// Packets not sent yet.
    pub(super) raw: Vec<RawPacket>,
    /// Packets kept since the flow began.
    pub(super) captured: u32,
    /// Addresses that are not those of the key.
    pub(super) network: Option<OtherNetwork>,
    /// Layers that found no room in the table's list.
    pub(super) path: Option<crate::decode::LayersPath>,
    /// Its TCP streams, if they are followed.
    pub(super) streams: Option<Box<Streams>>,
    /// What defragmentation saw.
    pub(super) ip: Option<IpMetric>,
    /// What an extra layer told.
    pub(super) contents: Option<Box<ExtraContents>>,
}

/// Ends on layer 3 of a flow that is known by others: IPv4 within IPv6 and the like.
#[derive(Clone, Copy, Debug)]
pub(super) struct OtherNetwork {
    pub(super) is_v4: bool,
    pub(super) source: crate::decode::IpAddress,
    pub(super) destination: crate::decode::IpAddress,
}

/// SYN, FIN and RST from A and from B; times in Unix ms, 0: not seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TcpTimes {
    pub(super) syn: [i64; 2],
    pub(super) ttl: [u8; 2],
    pub(super) fin: [i64; 2],
    pub(super) rst: [i64; 2],
}

/// Values by slot number, in chunks; slots of removed ones are used again.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
}

impl<T: Default> Slab<T> {
    pub(super) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
        }
    }

    /// A slot for a value; [`NONE`] if there are no more numbers.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            if let Some(place) = self.get_mut(slot) {
                *place = value;
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

    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.chunks
            .get(slot as usize / SLAB_CHUNK)?
            .get(slot as usize % SLAB_CHUNK)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.chunks
            .get_mut(slot as usize / SLAB_CHUNK)?
            .get_mut(slot as usize % SLAB_CHUNK)
    }

    /// Frees a slot; [`NONE`] is no slot.
    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        let value = std::mem::take(self.get_mut(slot)?);
        self.free.push(slot);
        Some(value)
    }

    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * SLAB_CHUNK * size_of::<T>() + self.free.capacity() * size_of::<u32>()
    }
}

/// Values of a chunk of a [`Slab`].
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
