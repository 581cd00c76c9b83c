//! Parser of a TPACKET_V3 block: a linked list of packets, each with a header, as written by the
//! kernel. Restores VLAN tags that the kernel stores in the header instead of the frame.

use std::mem::offset_of;

use crate::packet::{CapturePoint, PacketHeader};
use crate::time::Timestamp;

/// Read position in a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockReader {
    /// Offset of the next packet's header in the block, as stated in the previous header; checked
    /// against the block's size when it is read.
    offset: usize,
    /// Number of packets not read yet.
    left: u32,
}

/// Processing of each packet while it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Treatment {
    /// Whether to restore the first VLAN tag, which the kernel removes from Ethernet frames.
    pub(super) restore_tags: bool,
    /// Maximum number of bytes captured of each packet.
    pub(super) limit: u32,
}

impl BlockReader {
    /// Creates a reader at the start of a block.
    pub(super) fn new(block: &[u8]) -> Self {
        Self {
            offset: u32_at(block, FIRST_PACKET).unwrap_or_default() as usize,
            left: u32_at(block, PACKET_COUNT).unwrap_or_default(),
        }
    }

    /// Returns the number of packets not read yet.
    pub(super) const fn left(&self) -> u32 {
        self.left
    }

    /// Returns whether all packets of the block have been read.
    pub(super) const fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Returns the next packet, and whether a VLAN tag that the kernel had removed was restored.
    /// The tag is written into the reserved bytes before the frame.
    pub(super) fn next(
        &mut self,
        block: &mut [u8],
        treatment: Treatment,
    ) -> Option<(PacketHeader, bool)> {
        self.left = self.left.checked_sub(1)?;
        let packet = self.read(block, treatment);
        if packet.is_none() {
            // The packets after an invalid header cannot be located.
            self.left = 0;
        }
        packet
    }

    fn read(&mut self, block: &mut [u8], treatment: Treatment) -> Option<(PacketHeader, bool)> {
        let start = self.offset;
        let header: &[u8; HEADER_LEN] = block.get(start..)?.first_chunk()?;
        let mac = usize::from(u16_of(header, MAC));
        self.offset = start + u32_of(header, NEXT) as usize;
        let nanoseconds =
            i64::from(u32_of(header, SECONDS)) * 1_000_000_000 + i64::from(u32_of(header, NANOS));
        let mut packet = PacketHeader {
            timestamp: Timestamp::from_ns(nanoseconds),
            offset: u32::try_from(start + mac).ok()?,
            captured_len: u32_of(header, CAPTURED),
            wire_len: u32_of(header, WIRE),
            point: CapturePoint::ONLY,
        };
        let status = u32_of(header, STATUS);
        let tag = Tag::of(status, header).filter(|_| treatment.restore_tags);
        let restored = tag.is_some_and(|tag| tag.restore(block, &mut packet));
        packet.captured_len = packet.captured_len.min(treatment.limit);
        Some((packet, restored))
    }
}

/// VLAN tag that the kernel removed from the frame and stored in the packet header.
struct Tag {
    protocol: u16,
    control: u16,
}

impl Tag {
    /// Returns the removed tag of a packet; `None` if no tag was removed.
    fn of(status: u32, header: &[u8; HEADER_LEN]) -> Option<Self> {
        if status & libc::TP_STATUS_VLAN_VALID == 0 {
            return None;
        }
        let known = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
        let protocol = if known {
            u16_of(header, VLAN_PROTOCOL)
        } else {
            DOT1Q
        };
        // The field has 32 bits; the tag is its lower half.
        let control = (u32_of(header, VLAN_CONTROL) & 0xffff) as u16;
        Some(Self { protocol, control })
    }

    /// Moves the two addresses toward the start of the block and writes the tag after them. Returns
    /// whether there was enough space.
    fn restore(&self, block: &mut [u8], packet: &mut PacketHeader) -> bool {
        let mac = packet.offset as usize;
        let room = mac
            .checked_sub(TAG_LEN)
            .and_then(|start| block.get_mut(start..mac + ADDRESSES));
        let Some(room) = room.filter(|_| packet.captured_len as usize >= ADDRESSES) else {
            return false;
        };
        room.copy_within(TAG_LEN.., 0);
        room[ADDRESSES..ADDRESSES + 2].copy_from_slice(&self.protocol.to_be_bytes());
        room[ADDRESSES + 2..].copy_from_slice(&self.control.to_be_bytes());
        packet.offset -= TAG_LEN as u32;
        packet.captured_len += TAG_LEN as u32;
        packet.wire_len += TAG_LEN as u32;
        true
    }
}

/// Returns the number at an offset of the block; `None` beyond its end.
fn u32_at(block: &[u8], offset: usize) -> Option<u32> {
    let bytes = block.get(offset..)?.first_chunk()?;
    #[expect(
        clippy::host_endian_bytes,
        reason = "the kernel writes in host byte order"
    )]
    Some(u32::from_ne_bytes(*bytes))
}

fn u32_of(header: &[u8; HEADER_LEN], offset: usize) -> u32 {
    u32_at(header, offset).unwrap_or_default()
}

fn u16_of(header: &[u8; HEADER_LEN], offset: usize) -> u16 {
    #[expect(
        clippy::host_endian_bytes,
        reason = "the kernel writes in host byte order"
    )]
    header[offset..]
        .first_chunk()
        .map_or(0, |bytes| u16::from_ne_bytes(*bytes))
}

/// Bytes reserved before each frame for a restored tag.
pub(in super::super) const TAG_LEN: usize = 4;

/// Length of the two addresses of an Ethernet header, in bytes.
const ADDRESSES: usize = 12;

/// EtherType of an IEEE 802.1Q tag.
const DOT1Q: u16 = 0x8100;

const BLOCK_INFO: usize = offset_of!(libc::tpacket_block_desc, hdr);
const PACKET_COUNT: usize = BLOCK_INFO + offset_of!(libc::tpacket_hdr_v1, num_pkts);
const FIRST_PACKET: usize = BLOCK_INFO + offset_of!(libc::tpacket_hdr_v1, offset_to_first_pkt);

const HEADER_LEN: usize = size_of::<libc::tpacket3_hdr>();
const NEXT: usize = offset_of!(libc::tpacket3_hdr, tp_next_offset);
const SECONDS: usize = offset_of!(libc::tpacket3_hdr, tp_sec);
const NANOS: usize = offset_of!(libc::tpacket3_hdr, tp_nsec);
const CAPTURED: usize = offset_of!(libc::tpacket3_hdr, tp_snaplen);
const WIRE: usize = offset_of!(libc::tpacket3_hdr, tp_len);
const STATUS: usize = offset_of!(libc::tpacket3_hdr, tp_status);
const MAC: usize = offset_of!(libc::tpacket3_hdr, tp_mac);
const VARIANT: usize = offset_of!(libc::tpacket3_hdr, hv1);
const VLAN_CONTROL: usize = VARIANT + offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tci);
const VLAN_PROTOCOL: usize = VARIANT + offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tpid);
