//! Reassembly of IPv4 and IPv6 fragments (RFC 791, RFC 8200) in bounded memory.
//!
//! Where IPv4 fragments overlap, the bytes received first are used. An IPv6 datagram with
//! overlapping fragments is rejected (RFC 5722). An incomplete datagram is dropped after a timeout,
//! by a later fragment with its key or by [`Defragmenter::expire`], or, oldest first, when space is
//! needed. Packets truncated by the capture are reassembled too;
//! the datagram then ends at the first missing byte.
//!
//! Each datagram has a sorted list of disjoint pieces, so that a fragment costs a binary search and
//! an insertion. The order of eviction is a queue, from which completed datagrams are removed
//! lazily.

mod datagram;
mod fragment;
mod options;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use self::datagram::IncompleteDatagram;
pub use self::fragment::Fragment;
use self::fragment::{FragmentKey, UNIT};
pub use self::options::DefragOptions;
use crate::packet::PacketRef;
use crate::time::Timestamp;

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
        let Some((key, range)) = fragment.parse(packet.data) else {
            return Reassembly::Rejected;
        };
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
        if range.start == 0 {
            datagram.next_header = packet.data.get(fragment.extension as usize).copied();
        }
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
        let datagrams = &self.datagrams;
        let is_live = |(key, number): &(FragmentKey, u64)| {
            datagrams
                .get(key)
                .is_some_and(|datagram| datagram.number == *number)
        };
        while self.order.front().is_some_and(|entry| !is_live(entry)) {
            self.order.pop_front();
        }
        if self.order.len() > 2 * self.options.max_datagrams + MAX_SPARE {
            // Bounds the queue: stale entries between live ones are never at its front.
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
        let Some(datagram) = self.datagrams.remove(key) else {
            return;
        };
        if self.spare.len() < MAX_SPARE && datagram.heap_size() < MAX_SPARE_BYTES {
            self.spare.push(datagram.emptied());
        }
    }
}

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
