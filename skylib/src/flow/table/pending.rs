//! `Pending`: an encapsulation of a packet, until it is counted.

use super::entry::NONE;
use super::extra_messages::MessageRange;
use crate::decode::TcpFlags;
use crate::flow::key::FlowKey;
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
    pub(super) offset: u32,
    /// Index of the enclosing encapsulation among the pending ones; [`NONE`] for an outermost
    /// encapsulation.
    pub(super) parent: u32,
    /// Candidate record after the lookup, then the record in which it was counted; [`NONE`] if
    /// unknown.
    pub(super) record: u32,
    /// Index of the packet in the batch, or of the joined packet with the upper bit set.
    pub(super) packet: u16,
    /// Index of the encapsulation in the packet.
    pub(super) part: u8,
    pub(super) tcp: TcpFlags,
    pub(super) source_port: u16,
    pub(super) hop_limit: u8,
    /// Set of `IS_*` and `HAS_*` flags.
    pub(super) flags: u8,
    /// Extra message; valid only with [`HAS_EXTRA_MESSAGE`].
    pub(super) message: MessageRange,
    /// Hash of the one-way identifier around the encapsulation; 0 if there is none.
    pub(super) one_way: u64,
}

// Two cache lines; because of the alignment of `FlowKey`, one more byte would add a third.
const _: () = assert!(size_of::<Pending>() == 128);

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
    };

    /// Returns the candidate record, or, after counting, the record in which it was counted.
    pub(super) fn record(&self) -> Option<u32> {
        (self.record != NONE).then_some(self.record)
    }

    /// Returns whether the encapsulation is an echo request.
    pub(super) const fn is_request(&self) -> bool {
        self.flags & IS_REQUEST != 0
    }

    /// Returns whether the encapsulation is an echo reply.
    pub(super) const fn is_reply(&self) -> bool {
        self.flags & IS_REPLY != 0
    }
}

/// Flag of [`PacketKey::is_swapped`](crate::flow::key::PacketKey::is_swapped).
pub(super) const IS_SWAPPED: u8 = 0x01;
/// Flag of [`PacketKey::is_local`](crate::flow::key::PacketKey::is_local).
pub(super) const IS_LOCAL: u8 = 0x02;
/// The packet and its bytes are counted.
pub(super) const IS_COUNTED: u8 = 0x04;
/// ICMP echo request.
pub(super) const IS_REQUEST: u8 = 0x08;
/// ICMP echo reply.
pub(super) const IS_REPLY: u8 = 0x10;
/// The encapsulation has a message of a selected extra layer.
pub(super) const HAS_EXTRA_MESSAGE: u8 = 0x20;
/// The headers of the encapsulation were in every fragment of the joined packet.
pub(super) const IS_FRAGMENTED: u8 = 0x40;
/// The encapsulation is a TCP segment, and TCP streams are tracked.
pub(super) const IS_SEGMENT: u8 = 0x80;
