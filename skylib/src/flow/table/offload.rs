//! Joined segments (rule G4 of `docs/flows.md`): frames that a network card or the kernel joined
//! from several TCP segments (GRO, LRO), or has not split yet (TSO).
//!
//! The payload of a segment is at most the size that its receiver announced (maximum segment size,
//! RFC 9293, section 3.7.1), less the 12 bytes of the timestamp option if both ends use it (RFC
//! 7323). The announced sizes are in `cold.tunnel_id` of the entry, which TCP does not need.

use super::FlowTable;
use super::control::{Control, payload_on_wire};
use super::details::MAX_PACKET;
use super::entry::{Cold, Entry};
use super::pending::Pending;
use crate::flow::record::Offload;
use crate::packet::PacketRef;

/// Segments and header bytes on the wire that joined frames hide, by direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct JoinedSegments {
    segments: [u64; 2],
    bytes: [u64; 2],
    /// Payload size of the segments of the latest joined frame, in bytes.
    size: u32,
}

/// TCP frame that may consist of several segments.
#[derive(Clone, Copy, Debug)]
pub(super) struct JoinedNote {
    /// Index of the [`Pending`] of the frame.
    slot: u32,
    /// Payload length on the wire, in bytes.
    payload: u32,
    /// Length of the headers of the encapsulation, and of the headers from IP on, in bytes.
    headers: u32,
    ip_headers: u32,
}

/// Maximum segment size and timestamp option of an end's SYN, in 16 bits.
///
/// The upper bit states whether the SYN had the option. Sizes from [`COARSE`] on are stored in
/// units of four bytes, rounded up; 0 means that no size was announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Announced(u16);

impl Announced {
    fn new(size: u16, has_stamps: bool) -> Self {
        let stored = match size.checked_sub(COARSE) {
            Some(beyond) => COARSE + beyond.div_ceil(4),
            None => size,
        };
        Self(stored | if has_stamps { STAMPS } else { 0 })
    }

    /// Returns the announced size, in bytes; `None` if no size was announced.
    fn size(self) -> Option<u32> {
        let stored = u32::from(self.0 & !STAMPS);
        let size = match stored.checked_sub(COARSE.into()) {
            Some(steps) => u32::from(COARSE) + 4 * steps,
            None => stored,
        };
        (size > 0).then_some(size)
    }

    const fn has_stamps(self) -> bool {
        self.0 & STAMPS != 0
    }
}

impl Cold {
    /// Returns the announcements of both ends of a TCP flow.
    const fn announced(&self) -> [Announced; 2] {
        [
            Announced(self.tunnel_id as u16),
            Announced((self.tunnel_id >> 16) as u16),
        ]
    }

    /// Returns the maximum payload of a segment from an end, in bytes; `None` if it is unknown.
    fn segment_size(&self, from: usize) -> Option<u32> {
        let sides = self.announced();
        let size = sides[1 - from].size()?;
        let uses_stamps = sides.iter().all(|side| side.has_stamps());
        let options = if uses_stamps { STAMPS_LEN } else { 0 };
        Some(size.saturating_sub(options).max(1))
    }
}

impl JoinedSegments {
    /// Returns the message of a flow record.
    pub(super) fn record(&self, entry: &Entry) -> Offload {
        let number = |counter: u64| i64::try_from(counter).unwrap_or(i64::MAX);
        let [ab, ba] = entry.hot.packets;
        let [ab_bytes, ba_bytes] = entry.hot.bytes;
        Offload {
            ab_segments: number(ab + self.segments[0]),
            ba_segments: number(ba + self.segments[1]),
            ab_wire_bytes: number(ab_bytes + self.bytes[0]),
            ba_wire_bytes: number(ba_bytes + self.bytes[1]),
            segment_size: self.size,
            // The kernel knows the exact size (`gso_size`), but a ring with its virtio header
            // (`PACKET_VNET_HDR`) loses the frames for which that header has no type: SCTP, and
            // before Linux 6.2 also UDP.
            exact: false,
        }
    }
}

impl FlowTable {
    /// Stores the maximum segment size and the timestamp option of an end's SYN.
    pub(super) fn store_announced(&mut self, record: u32, control: &Control, side: usize) {
        let announced = Announced::new(control.segment_size, control.stamp.is_some());
        let cold = &mut self.arena.get_mut(record).cold;
        let mut sides = cold.announced();
        sides[side] = announced;
        cold.tunnel_id = u32::from(sides[0].0) | u32::from(sides[1].0) << 16;
        if let Some(size) = announced.size() {
            let size = size.saturating_sub(STAMPS_LEN);
            // Larger sizes need not be stored: the length of a frame then shows whether it is
            // joined.
            if size < USUAL_SEGMENT {
                self.smallest_segment = self.smallest_segment.min(size);
            }
        }
    }

    /// Adds a note for a TCP frame that may consist of several segments.
    #[cold]
    pub(super) fn note_joined(&mut self, packet: PacketRef<'_>, slot: u32) {
        let Some(part) = self.encapsulations.last() else {
            return;
        };
        let (Some(network), Some(transport)) = (&part.network, &part.transport) else {
            return;
        };
        let payload = payload_on_wire(packet, Some(network), transport);
        let ip_headers = transport.payload_offset.checked_sub(network.offset);
        let headers = transport.payload_offset.checked_sub(part.offset);
        if let (Some(headers), Some(ip_headers)) = (headers, ip_headers) {
            self.joined_notes.push(JoinedNote {
                slot,
                payload,
                headers,
                ip_headers,
            });
        }
    }

    #[cold]
    pub(super) fn apply_joined_notes(&mut self, pending: &[Pending]) {
        let mut notes = std::mem::take(&mut self.joined_notes);
        for note in notes.drain(..) {
            if let Some(part) = pending.get(note.slot as usize)
                && let Some(record) = self.counted_record(part)
            {
                self.count_joined(&note, part, record);
            }
        }
        self.joined_notes = notes;
    }

    /// Counts the segments and header bytes that a joined frame hides.
    fn count_joined(&mut self, note: &JoinedNote, part: &Pending, record: u32) {
        let entry = self.arena.get(record);
        let direction = usize::from(!entry.is_a_to_b(part.flags));
        let is_long = note.ip_headers + note.payload > MAX_PACKET;
        let usual = || is_long.then(|| MAX_PACKET.saturating_sub(note.ip_headers).max(1));
        let size = entry.cold.segment_size(direction).or_else(usual);
        let Some(size) = size.filter(|size| note.payload > *size) else {
            return;
        };
        let hidden = u64::from(note.payload.div_ceil(size) - 1);
        if let Some(joined) = self.detail(record, |details| &mut details.joined) {
            joined.segments[direction] += hidden;
            joined.bytes[direction] += hidden * u64::from(note.headers);
            joined.size = size;
        }
    }
}

/// Bit of [`Announced`]: the SYN had a timestamp option.
const STAMPS: u16 = 0x8000;
/// Minimum size that [`Announced`] stores in units of four bytes.
const COARSE: u16 = 0x4000;
/// Length of the padded timestamp option in each segment, in bytes.
const STAMPS_LEN: u32 = 12;
/// Payload of a full segment with timestamps on Ethernet, in bytes.
const USUAL_SEGMENT: u32 = 1448;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_sizes_are_stored_up_to_a_few_bytes() {
        for size in [0, 1, 536, 1357, 1460, 8960, 16383, 16384, 65495, 65535] {
            for has_stamps in [false, true] {
                let announced = Announced::new(size, has_stamps);
                let stored = announced.size().unwrap_or(0);
                let size = u32::from(size);
                assert!(stored >= size && stored < size + 4, "{size}");
                assert!(size >= 16384 || stored == size);
                assert_eq!(announced.has_stamps(), has_stamps);
            }
        }
    }

    #[test]
    fn the_receiver_decides_and_timestamps_of_both_count() {
        let cold = |a: Announced, b: Announced| Cold {
            tunnel_id: u32::from(a.0) | u32::from(b.0) << 16,
            ..Cold::default()
        };
        let (plain, stamped) = (Announced::new(1400, false), Announced::new(1460, true));
        assert_eq!(cold(plain, stamped).segment_size(0), Some(1460));
        assert_eq!(cold(plain, stamped).segment_size(1), Some(1400));
        assert_eq!(cold(stamped, stamped).segment_size(1), Some(1448));
        assert_eq!(cold(stamped, Announced::default()).segment_size(0), None);
    }
}
