//! Reassembly of IPv4 and IPv6 fragments (RFC 791, RFC 8200) in bounded memory.
//!
//! Where IPv4 fragments overlap, the bytes received first are used. An IPv6 datagram with
//! overlapping fragments is rejected (RFC 5722). An incomplete datagram is dropped after a timeout,
//! or, oldest first, when space is needed. Packets truncated by the capture are reassembled too;
//! the datagram then ends at the first missing byte.
//!
//! Each datagram has a sorted list of disjoint pieces, so that a fragment costs a binary search and
//! an insertion. The order of eviction is a queue, from which completed datagrams are removed
//! lazily.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::IpAddress;
use crate::packet::{CapturePoint, PacketRef};
use crate::time::Timestamp;

/// Limits of a [`Defragmenter`].
///
/// ```
/// let options = skylib::decode::DefragOptions::default().with_max_datagrams(100);
/// assert_eq!(options.timeout.as_secs(), 30);
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DefragOptions {
    /// Maximum number of incomplete datagrams. Default 4096.
    pub max_datagrams: usize,
    /// Maximum memory of incomplete datagrams, in bytes. Default 8 MiB.
    pub max_bytes: usize,
    /// Time after the first fragment of an IPv4 datagram at which the datagram is dropped, in
    /// packet time. Default 30 s. For IPv6, always 60 s (RFC 8200, section 4.5).
    pub timeout: Duration,
    /// Minimum payload of the last fragment of a datagram, in bytes. Default 1. For other
    /// fragments, always 8.
    pub min_last_fragment_len: u16,
}

impl Default for DefragOptions {
    fn default() -> Self {
        Self {
            max_datagrams: 4096,
            max_bytes: 8 << 20,
            timeout: Duration::from_secs(30),
            min_last_fragment_len: 1,
        }
    }
}

impl DefragOptions {
    /// Sets [`max_datagrams`](Self::max_datagrams).
    #[must_use]
    pub const fn with_max_datagrams(mut self, datagrams: usize) -> Self {
        self.max_datagrams = datagrams;
        self
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub const fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`min_last_fragment_len`](Self::min_last_fragment_len).
    #[must_use]
    pub const fn with_min_last_fragment_len(mut self, bytes: u16) -> Self {
        self.min_last_fragment_len = bytes;
        self
    }
}

/// Position of the header of a fragment in a packet; see
/// [`Encapsulations::fragment`](super::Encapsulations::fragment). Offsets are in bytes from the
/// first captured byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Addresses of the first IP header of the packet, which may be an IPv6 header that encloses
    /// the fragment.
    pub(super) outermost: (IpAddress, IpAddress),
    /// Start of the IP header.
    pub(super) header: u32,
    /// Start of the fragment header of IPv6; 0 for IPv4.
    pub(super) extension: u32,
    /// Start of the payload of the fragment.
    pub(super) payload: u32,
    /// End of the payload.
    pub(super) end: u32,
    /// Capture point of the packet.
    pub(crate) point: CapturePoint,
}

/// Result of adding a fragment to a [`Defragmenter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reassembly {
    /// The fragment is stored until the other fragments of its datagram arrive.
    Pending,
    /// The fragment is too short, too long, or inconsistent with earlier fragments, and is ignored.
    Rejected,
    /// The fragment completes its datagram.
    Complete(Reassembled),
}

/// Statistics of a reassembled datagram, for counting its fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reassembled {
    /// Capture time of the first fragment.
    pub begun: Timestamp,
    /// Number of fragments stored before the completing one.
    pub pending_fragments: u32,
    /// Number of rejected fragments.
    pub rejected_fragments: u32,
    /// Total length on the wire of the packets with the stored fragments, in bytes.
    pub pending_wire_bytes: u64,
    /// Total length of the IP headers and payloads of the stored fragments, in bytes.
    pub pending_ip_bytes: u64,
    /// Length of the IP header and payload of the completing fragment, in bytes.
    pub last_ip_bytes: u32,
    /// Length on the wire that the packet would have without fragmentation, up to the end of the
    /// datagram, in bytes.
    pub wire_len: u32,
    /// Offset of the IPv4 header, or of the IPv6 fragment header, of the datagram in the packet, in
    /// bytes.
    pub at: u32,
}

/// Defragmenter of IPv4 and IPv6 packets.
///
/// ```
/// use skylib::decode::{
///     Decoder, DecoderOptions, DefragOptions, Defragmenter, Encapsulations, Reassembly,
/// };
/// use skylib::packet::{LinkType, PacketRef};
/// use skylib::time::Timestamp;
///
/// // Two fragments of 8 bytes each: the first has the flag "more fragments", the second an offset.
/// let decoder = Decoder::new(DecoderOptions::default());
/// let mut encapsulations = Encapsulations::new();
/// let mut defragmenter = Defragmenter::new(DefragOptions::default());
/// let mut frame = Vec::new();
/// let mut results = Vec::new();
/// for flags in [[0x20, 0], [0, 1]] {
///     let mut data = vec![0x45, 0, 0, 28, 0, 7, flags[0], flags[1], 64, 17, 0, 0];
///     data.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 5, 0, 6, 0, 16, 0, 0]);
///     let packet = PacketRef {
///         link_type: LinkType::IPV4, timestamp: Timestamp::ZERO, data: &data, wire_len: 28,
///     };
///     let _ = decoder.decode(packet, &mut encapsulations);
///     let fragment = encapsulations.fragment().ok_or("no fragment")?;
///     results.push(defragmenter.add(packet, fragment, &mut frame));
/// }
/// assert_eq!(results[0], Reassembly::Pending);
/// assert!(matches!(results[1], Reassembly::Complete(datagram) if datagram.wire_len == 36));
/// assert_eq!(frame.len(), 36);
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug)]
pub struct Defragmenter {
    options: DefragOptions,
    datagrams: HashMap<FragmentKey, IncompleteDatagram>,
    /// Keys and numbers of datagrams, oldest first. An entry is stale if the current datagram with
    /// the key has another number, or if there is none.
    order: VecDeque<(FragmentKey, u64)>,
    /// Number of the next datagram.
    number: u64,
    /// Memory of all datagrams in bytes: the sum of their [`IncompleteDatagram::heap_size`].
    bytes: usize,
    /// Number of fragments of dropped datagrams.
    lost: u64,
    /// Empty datagrams whose buffers are reused; at most [`MAX_SPARE`].
    spare: Vec<IncompleteDatagram>,
}

/// Fields shared by all fragments of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FragmentKey {
    /// Addresses of the outermost IP header: fragments of different tunnels are unrelated.
    outermost: (IpAddress, IpAddress),
    /// Index of the capture point: copies captured at several points are separate datagrams.
    point: u32,
    /// Source and destination address; an IPv4 address is followed by zeros.
    addresses: [u8; 32],
    /// Identification field; for IPv4, followed by zeros.
    id: [u8; 4],
    /// Protocol of IPv4; `None` for IPv6, where it does not identify a datagram.
    protocol: Option<u8>,
}

/// Fragments of one datagram received so far.
#[derive(Clone, Debug, Default)]
struct IncompleteDatagram {
    /// Number of the datagram, in the order of creation.
    number: u64,
    /// Time of the first fragment.
    begun: Timestamp,
    /// Pieces of the payload, sorted by offset and disjoint.
    pieces: Vec<Piece>,
    /// Captured bytes of all pieces.
    bytes: Vec<u8>,
    /// Number of payload bytes that the pieces cover.
    filled: u32,
    /// Length of the payload; `None` until the last fragment is received.
    total: Option<u32>,
    /// End of the fragment with the highest offset.
    high: u32,
    /// Whether IPv6 fragments overlapped: all fragments are rejected until the timeout.
    is_refused: bool,
    stats: Reassembled,
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

/// Payload range of a fragment in its datagram.
struct FragmentRange {
    start: u32,
    end: u32,
    header_len: u32,
    is_last: bool,
}

impl Defragmenter {
    /// Returns a defragmenter without fragments.
    #[must_use]
    pub fn new(options: DefragOptions) -> Self {
        Self {
            options,
            datagrams: HashMap::new(),
            order: VecDeque::new(),
            number: 0,
            bytes: 0,
            lost: 0,
            spare: Vec::new(),
        }
    }

    /// Adds the fragment in a packet. If it completes a datagram, `frame` is replaced with the
    /// packet as it would be without fragmentation: the headers of this packet, followed by the
    /// reassembled payload. Decode it with
    /// [`Decoder::decode_reassembled`](super::Decoder::decode_reassembled).
    pub fn add(
        &mut self,
        packet: PacketRef<'_>,
        fragment: Fragment,
        frame: &mut Vec<u8>,
    ) -> Reassembly {
        let Some((key, range)) = parse(packet.data, fragment) else {
            return Reassembly::Rejected;
        };
        self.expire(packet.timestamp);
        let (length, min_last_fragment_len) =
            (range.end - range.start, self.options.min_last_fragment_len);
        let is_valid = if range.is_last {
            length >= u32::from(min_last_fragment_len.max(1))
        } else {
            length >= UNIT && length.is_multiple_of(UNIT)
        };
        if !is_valid || range.header_len + range.end > MAX_DATAGRAM {
            return self.reject(&key);
        }
        self.drop_expired(&key, packet.timestamp);
        if !self.datagrams.contains_key(&key) {
            self.begin(key, packet.timestamp);
        }
        let Some(datagram) = self.datagrams.get_mut(&key) else {
            return Reassembly::Rejected;
        };
        if key.protocol.is_none() && datagram.overlaps(&range) {
            self.lost += u64::from(datagram.stats.pending_fragments);
            datagram.stats.pending_fragments = 0;
            datagram.is_refused = true;
        }
        if datagram.is_refused {
            return self.reject(&key);
        }
        if !datagram.fits(&range) || datagram.stats.pending_fragments >= MAX_FRAGMENTS {
            return self.reject(&key);
        }
        let old_size = datagram.heap_size();
        let ends = fragment.payload as usize..fragment.end as usize;
        datagram.insert(&range, packet.data.get(ends).unwrap_or_default());
        let ip_bytes = range.header_len + length;
        if datagram.total == Some(datagram.filled) {
            datagram.stats.last_ip_bytes = ip_bytes;
            datagram.build(packet.data, fragment, &range, frame);
            let stats = Reassembled {
                begun: datagram.begun,
                ..datagram.stats
            };
            self.bytes -= old_size;
            self.remove(&key);
            return Reassembly::Complete(stats);
        }
        datagram.stats.pending_fragments += 1;
        datagram.stats.pending_wire_bytes += u64::from(packet.wire_len);
        datagram.stats.pending_ip_bytes += u64::from(ip_bytes);
        self.bytes = self.bytes - old_size + datagram.heap_size();
        while self.bytes > self.options.max_bytes && self.drop_oldest(None) {}
        Reassembly::Pending
    }

    /// Drops datagrams whose timeout has expired before `now`.
    pub fn expire(&mut self, now: Timestamp) {
        while self.drop_oldest(Some(now)) {}
    }

    /// Drops all datagrams.
    pub fn clear(&mut self) {
        while self.drop_oldest(None) {}
    }

    /// Returns the number of incomplete datagrams.
    #[must_use]
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Returns whether there are no incomplete datagrams.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Returns the memory used by incomplete datagrams, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the number of fragments whose datagrams were dropped before they were complete.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Drops a datagram whose timeout has expired before `now`. The order of the queue is not
    /// sufficient, because the timeout depends on the IP version.
    fn drop_expired(&mut self, key: &FragmentKey, now: Timestamp) {
        let datagram = self.datagrams.get(key);
        let timeout = self.timeout(key);
        if let Some(datagram) = datagram.filter(|datagram| datagram.is_expired(timeout, now)) {
            self.bytes -= datagram.heap_size();
            self.lost += u64::from(datagram.stats.pending_fragments);
            self.remove(key);
        }
    }

    /// Returns the timeout of a datagram.
    const fn timeout(&self, key: &FragmentKey) -> Duration {
        match key.protocol {
            Some(_) => self.options.timeout,
            None => TIMEOUT_IPV6,
        }
    }

    /// Adds an empty datagram; drops the oldest datagrams if space is needed.
    fn begin(&mut self, key: FragmentKey, now: Timestamp) {
        while self.datagrams.len() >= self.options.max_datagrams.max(1) && self.drop_oldest(None) {}
        if self.order.len() > 2 * self.options.max_datagrams + MAX_SPARE {
            let datagrams = &self.datagrams;
            // Bounds the queue: stale entries between live ones would not be removed, because they
            // are never at its front.
            let is_live = |(key, number): &(FragmentKey, u64)| {
                datagrams
                    .get(key)
                    .is_some_and(|datagram| datagram.number == *number)
            };
            self.order.retain(is_live);
        }
        let mut datagram = self.spare.pop().unwrap_or_default();
        (datagram.number, datagram.begun) = (self.number, now);
        self.order.push_back((key, self.number));
        self.number += 1;
        self.bytes += datagram.heap_size();
        self.datagrams.insert(key, datagram);
    }

    fn reject(&mut self, key: &FragmentKey) -> Reassembly {
        if let Some(datagram) = self.datagrams.get_mut(key) {
            datagram.stats.rejected_fragments = datagram.stats.rejected_fragments.saturating_add(1);
        }
        Reassembly::Rejected
    }

    /// Drops the oldest datagram or a stale entry of the queue; with `now`, only if the timeout of
    /// the datagram has expired before `now`. Returns whether anything was removed.
    fn drop_oldest(&mut self, now: Option<Timestamp>) -> bool {
        let Some((key, number)) = self.order.front().copied() else {
            return false;
        };
        let datagram = self.datagrams.get(&key);
        if let Some(datagram) = datagram.filter(|datagram| datagram.number == number) {
            let timeout = self.timeout(&key);
            if now.is_some_and(|now| !datagram.is_expired(timeout, now)) {
                return false;
            }
            self.bytes -= datagram.heap_size();
            self.lost += u64::from(datagram.stats.pending_fragments);
            self.remove(&key);
        }
        self.order.pop_front();
        true
    }

    /// Removes a datagram and saves its buffers for reuse, unless they are large.
    fn remove(&mut self, key: &FragmentKey) {
        let Some(mut datagram) = self.datagrams.remove(key) else {
            return;
        };
        if self.spare.len() < MAX_SPARE && datagram.heap_size() < MAX_SPARE_BYTES {
            datagram.pieces.clear();
            datagram.bytes.clear();
            self.spare.push(IncompleteDatagram {
                pieces: datagram.pieces,
                bytes: datagram.bytes,
                ..IncompleteDatagram::default()
            });
        }
    }
}

impl IncompleteDatagram {
    /// Returns whether a fragment is consistent with the known end of the datagram.
    fn fits(&self, range: &FragmentRange) -> bool {
        match self.total {
            Some(total) if range.is_last => range.end == total,
            Some(total) => range.end <= total,
            None => !range.is_last || range.end >= self.high,
        }
    }

    /// Returns whether the timeout has expired before `now`.
    fn is_expired(&self, timeout: Duration, now: Timestamp) -> bool {
        self.begun.saturating_add(timeout) < now
    }

    /// Returns whether a fragment overlaps other fragments without being a repetition of one.
    fn overlaps(&self, range: &FragmentRange) -> bool {
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
    fn insert(&mut self, range: &FragmentRange, data: &[u8]) {
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
    fn build(
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
            if let Some([_, _, f0, f1, ..]) = frame.get_mut(fragment.extension as usize..) {
                [*f0, *f1] = [0; 2];
            }
        }
        self.stats.wire_len = fragment.payload + self.filled;
        self.stats.at = fragment.extension.max(fragment.header);
    }

    /// Returns the memory of the datagram and of its map entry, in bytes.
    const fn heap_size(&self) -> usize {
        // A hash map allocates up to twice the size of its content.
        2 * size_of::<(FragmentKey, Self)>()
            + self.pieces.capacity() * size_of::<Piece>()
            + self.bytes.capacity()
    }
}

/// Parses the headers of a fragment; returns `None` if `fragment` is not from this packet.
fn parse(data: &[u8], fragment: Fragment) -> Option<(FragmentKey, FragmentRange)> {
    if fragment.extension == 0 {
        parse_ipv4(data, fragment)
    } else {
        parse_ipv6(data, fragment)
    }
}

/// Parses the IPv6 header and the fragment header of a fragment.
fn parse_ipv6(data: &[u8], fragment: Fragment) -> Option<(FragmentKey, FragmentRange)> {
    let header = data.get(fragment.header as usize..)?.first_chunk::<40>()?;
    let [_, _, _, _, l0, l1, _, _, addresses @ ..] = *header;
    let [_, _, o0, o1, id @ ..] = *data
        .get(fragment.extension as usize..)?
        .first_chunk::<8>()?;
    let header_len = fragment.payload.checked_sub(fragment.header)?;
    let length = match u16::from_be_bytes([l0, l1]) {
        0 => fragment.end.checked_sub(fragment.payload)?,
        payload_len => (u32::from(payload_len) + 40).checked_sub(header_len)?,
    };
    let field = u16::from_be_bytes([o0, o1]);
    // The offset is in units of eight bytes, in the upper bits.
    let start = u32::from(field & OFFSET_IPV6);
    let key = FragmentKey {
        outermost: fragment.outermost,
        point: fragment.point.index(),
        addresses,
        id,
        protocol: None,
    };
    let range = FragmentRange {
        start,
        end: start + length,
        header_len,
        is_last: field & MORE_FRAGMENTS_IPV6 == 0,
    };
    Some((key, range))
}

/// Parses the IPv4 header of a fragment.
fn parse_ipv4(data: &[u8], fragment: Fragment) -> Option<(FragmentKey, FragmentRange)> {
    let header = data.get(fragment.header as usize..)?.first_chunk::<20>()?;
    let [_, _, l0, l1, i0, i1, f0, f1, _, protocol, _, _, ends @ ..] = *header;
    let ends: [u8; 8] = ends;
    let mut addresses = [0; 32];
    addresses[..8].copy_from_slice(&ends);
    let header_len = fragment.payload.checked_sub(fragment.header)?;
    // With segmentation offload, the length is 0; all captured bytes then belong to the fragment.
    let length = match u16::from_be_bytes([l0, l1]) {
        0 => fragment.end.checked_sub(fragment.payload)?,
        total_len => u32::from(total_len).checked_sub(header_len)?,
    };
    let flags = u16::from_be_bytes([f0, f1]);
    let start = u32::from(flags & OFFSET) * UNIT;
    let key = FragmentKey {
        outermost: fragment.outermost,
        point: fragment.point.index(),
        addresses,
        id: [i0, i1, 0, 0],
        protocol: Some(protocol),
    };
    let range = FragmentRange {
        start,
        end: start + length,
        header_len,
        is_last: flags & MORE_FRAGMENTS == 0,
    };
    Some((key, range))
}

/// Unit of fragment offsets, in bytes (RFC 791, section 3.1).
const UNIT: u32 = 8;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
const MORE_FRAGMENTS_IPV6: u16 = 0x0001;
const OFFSET_IPV6: u16 = 0xfff8;
/// Time after the first fragment of an IPv6 datagram at which the datagram is dropped.
const TIMEOUT_IPV6: Duration = Duration::from_secs(60);
/// Maximum length of a datagram with its header, in bytes.
const MAX_DATAGRAM: u32 = 65_535;
/// Maximum number of fragments of a datagram: the number of different offsets.
const MAX_FRAGMENTS: u32 = 8191;
/// Maximum number of empty datagrams whose buffers are reused.
const MAX_SPARE: usize = 16;
/// Maximum memory of an empty datagram whose buffers are reused, in bytes.
const MAX_SPARE_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests;
