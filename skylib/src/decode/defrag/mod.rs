//! IPv4 fragments joined to datagrams (RFC 791), within bounds.
//!
//! Of overlapping fragments the bytes that came first stay. A datagram with holes waits until its
//! time is over or room is needed; the one that has waited longest goes first. Packets cut short by
//! the capture are joined too: the datagram is then as long as what lies before the first cut.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::IpAddress;
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// Bounds of a [`Defragmenter`].
///
/// ```
/// let options = skylib::decode::DefragOptions::default().with_max_datagrams(100);
/// assert_eq!(options.timeout.as_secs(), 30);
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DefragOptions {
    /// The most datagrams that wait for fragments.
    pub max_datagrams: usize,
    /// The most bytes held for them.
    pub max_bytes: usize,
    /// How long a datagram waits, by the times of the packets.
    pub timeout: Duration,
    /// The least bytes of a datagram's last fragment; of others it is always 8.
    pub least_last: u16,
}

impl Default for DefragOptions {
    fn default() -> Self {
        Self {
            max_datagrams: 4096,
            max_bytes: 8 << 20,
            timeout: Duration::from_secs(30),
            least_last: 1,
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

    /// Sets [`least_last`](Self::least_last).
    #[must_use]
    pub const fn with_least_last(mut self, bytes: u16) -> Self {
        self.least_last = bytes;
        self
    }
}

/// Where a packet has its first IPv4 header, if that begins a fragment; see
/// [`Parts::fragment`](super::Parts::fragment).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Addresses of the packet's first IP header, which may be one of IPv6 around this one.
    pub(super) outermost: (IpAddress, IpAddress),
    /// Where the IPv4 header starts in the captured bytes.
    pub(super) header: u32,
    /// Where its payload starts.
    pub(super) payload: u32,
    /// Where its payload ends.
    pub(super) end: u32,
}

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Joining {
    /// It waits for others.
    Waiting,
    /// It belongs to no datagram: it is too short, too long, or contradicts what came before.
    Refused,
    /// It was the last one missing.
    Whole(Joined),
}

/// A datagram that became whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Fragments that waited for the last one.
    pub waited: u32,
    /// Fragments that were refused.
    pub refused: u32,
    /// Bytes of the packets that waited, on the wire.
    pub waited_wire_bytes: u64,
    /// Bytes of their IPv4 headers and payloads.
    pub waited_ip_bytes: u64,
    /// Bytes of the last packet's IPv4 header and payload.
    pub last_ip_bytes: u32,
    /// Bytes of the joined packet had it come in one, up to the datagram's end.
    pub wire_len: u32,
}

/// Joins IPv4 fragments; keeps what it needs of them.
///
/// ```
/// use skylib::decode::{Decoder, DecoderOptions, Defragmenter, DefragOptions, Joining, Parts};
/// use skylib::packet::{LinkType, PacketRef};
/// use skylib::time::Timestamp;
///
/// // Twice 8 bytes of UDP: at the front with "more fragments", then behind.
/// let (decoder, mut parts) = (Decoder::new(DecoderOptions::default()), Parts::new());
/// let mut defragmenter = Defragmenter::new(DefragOptions::default());
/// let mut frame = Vec::new();
/// let mut seen = Vec::new();
/// for flags in [[0x20, 0], [0, 1]] {
///     let mut data = vec![0x45, 0, 0, 28, 0, 7, flags[0], flags[1], 64, 17, 0, 0];
///     data.extend([10, 0, 0, 1, 10, 0, 0, 2, 0, 5, 0, 6, 0, 16, 0, 0]);
///     let packet = PacketRef {
///         link_type: LinkType::IPV4, timestamp: Timestamp::ZERO, data: &data, wire_len: 28,
///     };
///     let _ = decoder.decode(packet, &mut parts);
///     let fragment = parts.fragment().ok_or("no fragment")?;
///     seen.push(defragmenter.add(packet, fragment, &mut frame));
/// }
/// assert_eq!(seen[0], Joining::Waiting);
/// assert!(matches!(seen[1], Joining::Whole(joined) if joined.wire_len == 36));
/// assert_eq!(frame.len(), 36);
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Debug)]
pub struct Defragmenter {
    options: DefragOptions,
    datagrams: HashMap<Key, Datagram>,
    /// Keys by age; of datagrams that are gone too, known by their number.
    order: VecDeque<(Key, u64)>,
    /// Number of the next datagram.
    number: u64,
    /// Bytes held for datagrams.
    bytes: usize,
    /// Fragments of datagrams given up.
    lost: u64,
    /// Empty ones to be used again.
    spare: Vec<Datagram>,
}

/// What fragments of one datagram have in common: addresses, identification and protocol, and the
/// tunnel around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    outermost: (IpAddress, IpAddress),
    ends: [u8; 8],
    id: [u8; 2],
    protocol: u8,
}

/// Fragments so far.
#[derive(Clone, Debug, Default)]
struct Datagram {
    number: u64,
    begun: Timestamp,
    /// By place, without overlaps.
    pieces: Vec<Piece>,
    bytes: Vec<u8>,
    /// Bytes of payload that the pieces stand for.
    filled: u32,
    /// Where the payload ends, once the last fragment has come.
    total: Option<u32>,
    /// Where the piece furthest behind ends.
    high: u32,
    joined: Joined,
}

/// Payload from `start` to `end`; its captured bytes are `len` from `at`.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u32,
    end: u32,
    at: u32,
    len: u32,
}

/// The fields of a fragment's header and what they stand for.
struct Range {
    start: u32,
    end: u32,
    header_len: u32,
    is_last: bool,
}

impl Defragmenter {
    /// Without fragments.
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

    /// Takes a packet whose first IPv4 header is that of a fragment. When it makes a datagram
    /// whole, `frame` becomes the packet as it would have come without fragments: its own headers
    /// before the joined payload.
    pub fn add(
        &mut self,
        packet: PacketRef<'_>,
        fragment: Fragment,
        frame: &mut Vec<u8>,
    ) -> Joining {
        let Some((key, range)) = read(packet.data, fragment) else {
            return Joining::Refused;
        };
        self.expire(packet.timestamp);
        let (length, least_last) = (range.end - range.start, self.options.least_last);
        let is_sound = if range.is_last {
            length >= u32::from(least_last.max(1))
        } else {
            length >= UNIT && length.is_multiple_of(UNIT)
        };
        if !is_sound || range.header_len + range.end > MAX_DATAGRAM {
            return self.refuse(&key);
        }
        if !self.datagrams.contains_key(&key) {
            self.begin(key, packet.timestamp);
        }
        let Some(datagram) = self.datagrams.get_mut(&key) else {
            return Joining::Refused;
        };
        if !datagram.fits(&range) || datagram.joined.waited >= MAX_FRAGMENTS {
            return self.refuse(&key);
        }
        let held = datagram.held();
        let ends = fragment.payload as usize..fragment.end as usize;
        datagram.insert(&range, packet.data.get(ends).unwrap_or_default());
        let ip_bytes = range.header_len + length;
        if datagram.total == Some(datagram.filled) {
            datagram.joined.last_ip_bytes = ip_bytes;
            datagram.join(packet.data, fragment, &range, frame);
            let joined = datagram.joined;
            self.bytes -= held;
            self.remove(&key);
            return Joining::Whole(joined);
        }
        datagram.joined.waited += 1;
        datagram.joined.waited_wire_bytes += u64::from(packet.wire_len);
        datagram.joined.waited_ip_bytes += u64::from(ip_bytes);
        self.bytes = self.bytes - held + datagram.held();
        while self.bytes > self.options.max_bytes && self.drop_oldest(None) {}
        Joining::Waiting
    }

    /// Gives up what has waited for too long.
    pub fn expire(&mut self, now: Timestamp) {
        while self.drop_oldest(Some(now)) {}
    }

    /// Gives up everything.
    pub fn clear(&mut self) {
        while self.drop_oldest(None) {}
    }

    /// Datagrams that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Bytes held for datagrams that wait.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Fragments so far whose datagrams were given up.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    fn begin(&mut self, key: Key, now: Timestamp) {
        while self.datagrams.len() >= self.options.max_datagrams.max(1) && self.drop_oldest(None) {}
        if self.order.len() > 2 * self.options.max_datagrams + SPARE {
            let datagrams = &self.datagrams;
            let lives = |(key, number): &(Key, u64)| {
                datagrams
                    .get(key)
                    .is_some_and(|datagram| datagram.number == *number)
            };
            self.order.retain(lives);
        }
        let mut datagram = self.spare.pop().unwrap_or_default();
        (datagram.number, datagram.begun) = (self.number, now);
        self.order.push_back((key, self.number));
        self.number += 1;
        self.bytes += datagram.held();
        self.datagrams.insert(key, datagram);
    }

    fn refuse(&mut self, key: &Key) -> Joining {
        if let Some(datagram) = self.datagrams.get_mut(key) {
            datagram.joined.refused = datagram.joined.refused.saturating_add(1);
        }
        Joining::Refused
    }

    /// Gives up the oldest datagram, if it may wait no longer than `now`; tells whether there was
    /// anything to do.
    fn drop_oldest(&mut self, now: Option<Timestamp>) -> bool {
        let Some((key, number)) = self.order.front().copied() else {
            return false;
        };
        let datagram = self.datagrams.get(&key);
        if let Some(datagram) = datagram.filter(|datagram| datagram.number == number) {
            if now.is_some_and(|now| datagram.begun.saturating_add(self.options.timeout) >= now) {
                return false;
            }
            self.bytes -= datagram.held();
            self.lost += u64::from(datagram.joined.waited);
            self.remove(&key);
        }
        self.order.pop_front();
        true
    }

    fn remove(&mut self, key: &Key) {
        let Some(mut datagram) = self.datagrams.remove(key) else {
            return;
        };
        if self.spare.len() < SPARE && datagram.held() < MAX_SPARE_BYTES {
            datagram.pieces.clear();
            datagram.bytes.clear();
            self.spare.push(Datagram {
                pieces: datagram.pieces,
                bytes: datagram.bytes,
                ..Datagram::default()
            });
        }
    }
}

impl Datagram {
    /// Whether a fragment agrees with the end, as far as that is known.
    fn fits(&self, range: &Range) -> bool {
        match self.total {
            Some(total) if range.is_last => range.end == total,
            Some(total) => range.end <= total,
            None => !range.is_last || range.end >= self.high,
        }
    }

    /// Keeps what the pieces so far do not stand for.
    fn insert(&mut self, range: &Range, data: &[u8]) {
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

    /// Makes one packet of all pieces.
    fn join(&mut self, data: &[u8], fragment: Fragment, range: &Range, frame: &mut Vec<u8>) {
        frame.clear();
        frame.extend_from_slice(data.get(..fragment.payload as usize).unwrap_or_default());
        for piece in &self.pieces {
            let (at, len) = (piece.at as usize, piece.len as usize);
            frame.extend_from_slice(self.bytes.get(at..at + len).unwrap_or_default());
            if piece.len < piece.end - piece.start {
                break;
            }
        }
        let header = frame.get_mut(fragment.header as usize..);
        if let Some([_, _, l0, l1, _, _, f0, f1, ..]) = header {
            let total_len = range.header_len + self.filled;
            [*l0, *l1] = u16::try_from(total_len).unwrap_or(u16::MAX).to_be_bytes();
            [*f0, *f1] = [0; 2];
        }
        self.joined.wire_len = fragment.payload + self.filled;
    }

    /// Bytes held.
    const fn held(&self) -> usize {
        // A map has room for twice its content.
        2 * size_of::<(Key, Self)>()
            + self.pieces.capacity() * size_of::<Piece>()
            + self.bytes.capacity()
    }
}

/// Reads the header of a fragment; `None` if it lies elsewhere.
fn read(data: &[u8], fragment: Fragment) -> Option<(Key, Range)> {
    let header = data.get(fragment.header as usize..)?.first_chunk::<20>()?;
    let [_, _, l0, l1, i0, i1, f0, f1, _, protocol, _, _, ends @ ..] = *header;
    let header_len = fragment.payload.checked_sub(fragment.header)?;
    // Of segmentation offload: all that is there.
    let length = match u16::from_be_bytes([l0, l1]) {
        0 => fragment.end.checked_sub(fragment.payload)?,
        total_len => u32::from(total_len).checked_sub(header_len)?,
    };
    let flags = u16::from_be_bytes([f0, f1]);
    let start = u32::from(flags & OFFSET) * UNIT;
    let key = Key {
        outermost: fragment.outermost,
        ends,
        id: [i0, i1],
        protocol,
    };
    let range = Range {
        start,
        end: start + length,
        header_len,
        is_last: flags & MORE_FRAGMENTS == 0,
    };
    Some((key, range))
}

/// Unit of a fragment's offset (RFC 791, 3.1).
const UNIT: u32 = 8;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// The longest datagram, with its header.
const MAX_DATAGRAM: u32 = 65_535;
/// The most fragments of a datagram: as many as there are offsets.
const MAX_FRAGMENTS: u32 = 8191;
/// How many empty datagrams are kept for use, and how large.
const SPARE: usize = 16;
const MAX_SPARE_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests;
