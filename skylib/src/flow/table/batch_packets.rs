//! Packets of a batch: their origin, and access by the number in a [`Pending`].

use super::fragments::{Fragments, JoinedPacket};
use super::pending::Pending;
use crate::decode::Encapsulations;
use crate::flow::memory_hint::{CACHE_LINE, prefetch};
use crate::packet::{CapturePoint, PacketBatch, PacketHeader, PacketRef};

/// Origin of a packet: its number in the batch, and its capture point.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketOrigin {
    pub(super) number: u16,
    pub(super) point: CapturePoint,
}

impl PacketOrigin {
    pub(super) const fn new(number: u16, header: &PacketHeader) -> Self {
        Self {
            number,
            point: header.point,
        }
    }

    /// Sets the capture point of a decoded packet, if the source has several.
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
    pub(super) batch: &'a PacketBatch<'a>,
    pub(super) fragments: Option<&'a Fragments>,
}

impl<'a> BatchPackets<'a> {
    /// Returns the packet of an encapsulation, if the packet was joined from fragments.
    #[inline(always)]
    pub(super) fn joined(&self, part: &Pending) -> Option<&'a JoinedPacket> {
        self.fragments?.joined(part.packet)
    }

    /// Returns the origin of the packet of an encapsulation.
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
pub(super) fn prefetch_packet(batch: &PacketBatch<'_>, at: usize) {
    if let Some(header) = batch.headers.get(at) {
        for line in [0, CACHE_LINE] {
            if let Some(byte) = batch.buffer.get(header.offset as usize + line) {
                prefetch(byte);
            }
        }
    }
}
