//! `IncompleteDatagram`: the fragments of one datagram received so far.

use std::time::Duration;

use super::Reassembled;
use super::fragment::{Fragment, FragmentKey, FragmentRange};
use crate::time::Timestamp;

/// Fragments of one datagram received so far.
#[derive(Clone, Debug, Default)]
pub(super) struct IncompleteDatagram {
    /// Number of the datagram, in the order of creation.
    pub(super) number: u64,
    /// Time of the first fragment.
    pub(super) begun: Timestamp,
    /// Pieces of the payload, sorted by offset and disjoint.
    pieces: Vec<Piece>,
    /// Captured bytes of all pieces.
    bytes: Vec<u8>,
    /// Number of payload bytes that the pieces cover.
    pub(super) filled: u32,
    /// Length of the payload, in bytes; `None` until the last fragment is received.
    pub(super) total: Option<u32>,
    /// End of the fragment with the highest offset.
    high: u32,
    /// Next Header field of the IPv6 fragment with offset 0; `None` until it is received.
    pub(super) next_header: Option<u8>,
    /// Whether IPv6 fragments overlapped: all fragments are rejected until the timeout.
    pub(super) is_refused: bool,
    pub(super) stats: Reassembled,
}

/// Payload of the datagram from `start` to `end`.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u32,
    end: u32,
    /// Start of the captured bytes in [`IncompleteDatagram::bytes`].
    at: u32,
    /// Number of captured bytes; `len <= end - start`.
    len: u32,
}

impl IncompleteDatagram {
    /// Returns whether a fragment is consistent with the known end of the datagram.
    pub(super) fn fits(&self, range: &FragmentRange) -> bool {
        match self.total {
            Some(total) if range.is_last => range.end == total,
            Some(total) => range.end <= total,
            None => !range.is_last || range.end >= self.high,
        }
    }

    /// Returns whether the timeout has expired before `now`.
    pub(super) fn is_expired(&self, timeout: Duration, now: Timestamp) -> bool {
        self.begun.saturating_add(timeout) < now
    }

    /// Returns whether a fragment overlaps other fragments without being a repetition of one.
    pub(super) fn overlaps(&self, range: &FragmentRange) -> bool {
        let at = self
            .pieces
            .partition_point(|piece| piece.end <= range.start);
        match self.pieces.get(at) {
            Some(piece) if piece.start < range.end => {
                (piece.start, piece.end) != (range.start, range.end)
            }
            _ => false,
        }
    }

    /// Stores the bytes that no piece covers yet.
    pub(super) fn insert(&mut self, range: &FragmentRange, data: &[u8]) {
        if range.is_last {
            self.total = Some(range.end);
        }
        self.high = self.high.max(range.end);
        let mut at = self
            .pieces
            .partition_point(|piece| piece.end <= range.start);
        let mut start = range.start;
        while start < range.end {
            let next = self.pieces.get(at).copied();
            if let Some(piece) = next.filter(|piece| piece.start <= start) {
                start = start.max(piece.end);
                at += 1;
                continue;
            }
            let end = next.map_or(range.end, |piece| piece.start.min(range.end));
            let captured = data
                .get((start - range.start) as usize..)
                .unwrap_or_default();
            let captured = captured.get(..(end - start) as usize).unwrap_or(captured);
            let piece = Piece {
                start,
                end,
                at: self.bytes.len() as u32,
                len: captured.len() as u32,
            };
            self.bytes.extend_from_slice(captured);
            self.pieces.insert(at, piece);
            self.filled += end - start;
            start = end;
            at += 1;
        }
    }

    /// Builds the reassembled packet from all pieces.
    pub(super) fn build(
        &mut self,
        data: &[u8],
        fragment: Fragment,
        range: &FragmentRange,
        frame: &mut Vec<u8>,
    ) {
        frame.clear();
        frame.extend_from_slice(data.get(..fragment.payload as usize).unwrap_or_default());
        for piece in &self.pieces {
            let (at, len) = (piece.at as usize, piece.len as usize);
            frame.extend_from_slice(self.bytes.get(at..at + len).unwrap_or_default());
            // The capture truncated the piece; bytes after the gap would be at wrong offsets.
            if piece.len < piece.end - piece.start {
                break;
            }
        }
        let total_len = range.header_len + self.filled;
        let header = frame.get_mut(fragment.header as usize..);
        if fragment.extension == 0 {
            if let Some([_, _, l0, l1, _, _, f0, f1, ..]) = header {
                [*l0, *l1] = u16::try_from(total_len).unwrap_or(u16::MAX).to_be_bytes();
                [*f0, *f1] = [0; 2];
            }
        } else {
            if let Some([_, _, _, _, l0, l1, ..]) = header {
                let payload_len = total_len.saturating_sub(40);
                [*l0, *l1] = u16::try_from(payload_len).unwrap_or(u16::MAX).to_be_bytes();
            }
            // A fragment header without offset and further fragments marks a complete datagram.
            if let Some([next, _, f0, f1, ..]) = frame.get_mut(fragment.extension as usize..) {
                [*f0, *f1] = [0; 2];
                // Only that of the first fragment counts (RFC 8200, section 4.5).
                *next = self.next_header.unwrap_or(*next);
            }
        }
        self.stats.wire_len = fragment.payload + self.filled;
        self.stats.at = fragment.extension.max(fragment.header);
    }

    /// Returns an empty datagram with the buffers of this datagram.
    pub(super) fn emptied(mut self) -> Self {
        self.pieces.clear();
        self.bytes.clear();
        Self {
            pieces: self.pieces,
            bytes: self.bytes,
            ..Self::default()
        }
    }

    /// Returns the memory of the datagram and of its map entry, in bytes.
    pub(super) const fn heap_size(&self) -> usize {
        // A hash map allocates up to twice the size of its content.
        2 * size_of::<(FragmentKey, Self)>()
            + self.pieces.capacity() * size_of::<Piece>()
            + self.bytes.capacity()
    }
}
