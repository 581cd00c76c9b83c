//! Blocks of a pcapng file.

use super::interface::Section;
use crate::packet::LinkType;
use crate::pcap_file::buffer::Buffer;
use crate::pcap_file::reader::{word, words};
use crate::pcap_file::{FileFormat, MAX_RECORD_LEN, PcapFileError};
use crate::time::Timestamp;

/// Complete block in the buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a> {
    /// Type of the block.
    pub(super) kind: u32,
    /// Length of the block, in bytes, including its type and both length fields.
    pub(super) len: usize,
    /// Bytes between the two length fields.
    pub(super) body: &'a [u8],
    pub(super) is_big_endian: bool,
}

/// Result of [`Block::parse`].
pub(super) enum ParsedBlock<'a> {
    Complete(Block<'a>),
    /// The buffer does not contain the complete block.
    Incomplete,
    /// The block of this length, in bytes, is not needed and is longer than the buffer.
    Skip(u64),
}

impl<'a> Block<'a> {
    /// Parses the block at the beginning of `unread`, which starts at `offset` in the file.
    pub(super) fn parse(
        unread: &'a [u8],
        is_big_endian: bool,
        offset: u64,
    ) -> Result<ParsedBlock<'a>, PcapFileError> {
        let Some(head) = unread.first_chunk::<HEAD_LEN>() else {
            return Ok(ParsedBlock::Incomplete);
        };
        let (kind, long_len, is_big_endian) = Self::head(head, is_big_endian, offset)?;
        let bad = |reason| PcapFileError::BadBlock {
            offset,
            kind,
            reason,
        };
        let is_needed = matches!(
            kind,
            SECTION | INTERFACE | OBSOLETE_PACKET | SIMPLE_PACKET | ENHANCED_PACKET
        );
        let len = long_len as usize;
        if len > Buffer::<&[u8]>::LEN {
            return if is_needed || long_len > MAX_BLOCK_LEN {
                Err(bad("too long for a block of its type"))
            } else {
                Ok(ParsedBlock::Skip(long_len))
            };
        }
        let Some((block, _)) = unread.split_at_checked(len) else {
            return Ok(ParsedBlock::Incomplete);
        };
        let (Some(body), Some(trailer)) = (block.get(8..len - 4), block.last_chunk::<4>()) else {
            return Err(bad("too short for a block of its type"));
        };
        if word(*trailer, is_big_endian) as usize != len {
            return Err(bad("its two length fields differ"));
        }
        Ok(ParsedBlock::Complete(Self {
            kind,
            len,
            body,
            is_big_endian,
        }))
    }

    /// Returns the type, the length, and the byte order of the block that starts with `head`.
    pub(super) fn head(
        head: &[u8; HEAD_LEN],
        is_big_endian: bool,
        offset: u64,
    ) -> Result<(u32, u64, bool), PcapFileError> {
        let [k0, k1, k2, k3, l0, l1, l2, l3, m0, m1, m2, m3] = *head;
        let (kind, len, magic) = ([k0, k1, k2, k3], [l0, l1, l2, l3], [m0, m1, m2, m3]);
        // Before the first section, the byte order is unknown.
        if offset == 0 && word(kind, false) != SECTION {
            return Err(PcapFileError::Format(FileFormat::of(kind)));
        }
        let mut is_big_endian = is_big_endian;
        // The type of a section is the same number in both byte orders.
        if word(kind, false) == SECTION {
            is_big_endian = match word(magic, false) {
                BYTE_ORDER => false,
                SWAPPED_BYTE_ORDER => true,
                _ => {
                    return Err(PcapFileError::BadBlock {
                        offset,
                        kind: SECTION,
                        reason: "unknown byte-order magic",
                    });
                }
            };
        }
        let kind = word(kind, is_big_endian);
        let len = word(len, is_big_endian);
        if !len.is_multiple_of(4) || len < MIN_BLOCK_LEN {
            return Err(PcapFileError::BadBlock {
                offset,
                kind,
                reason: "its length is below 12 or not a multiple of 4",
            });
        }
        Ok((kind, u64::from(len), is_big_endian))
    }
}

/// Packet in a block of any of the three types.
pub(super) struct PacketBlock {
    pub(super) link_type: LinkType,
    /// Index of the packet's interface in the capture points.
    pub(super) point: u32,
    pub(super) timestamp: Timestamp,
    /// Byte offset of the packet data in the block.
    pub(super) data_offset: usize,
    pub(super) captured_len: u32,
    pub(super) wire_len: u32,
}

impl PacketBlock {
    /// Parses a packet block that starts at `offset` in the file. `latest` is the time used for a
    /// packet without a time.
    #[inline]
    pub(super) fn new(
        block: &Block<'_>,
        section: &Section,
        latest: Timestamp,
        offset: u64,
    ) -> Result<Self, PcapFileError> {
        let is_big_endian = block.is_big_endian;
        let bad = |reason| PcapFileError::BadBlock {
            offset,
            kind: block.kind,
            reason,
        };
        if block.kind == SIMPLE_PACKET {
            return Self::simple(block, section, latest, offset);
        }
        let Some((head, data)) = block.body.split_first_chunk::<20>() else {
            return Err(bad("too short for a block of its type"));
        };
        let fields = words::<5>(head, is_big_endian);
        let [number, ticks_high, ticks_low, captured_len, wire_len] = fields;
        let number = match block.kind {
            // The other half of the word is a count of dropped packets.
            OBSOLETE_PACKET => u32::from(half(head, 0, is_big_endian)),
            _ => number,
        };
        let interface = section.interfaces.get(number as usize);
        let interface = interface.ok_or_else(|| bad(UNKNOWN_INTERFACE))?;
        check_len(captured_len, offset)?;
        if captured_len as usize > data.len() {
            return Err(bad("too short for the packet in it"));
        }
        let ticks = u64::from(ticks_high) << 32 | u64::from(ticks_low);
        Ok(Self {
            link_type: interface.link_type,
            point: interface.point,
            timestamp: interface.clock.timestamp(ticks),
            data_offset: 28,
            captured_len,
            wire_len,
        })
    }

    /// Parses a simple packet block; its packet belongs to the first interface.
    fn simple(
        block: &Block<'_>,
        section: &Section,
        latest: Timestamp,
        offset: u64,
    ) -> Result<Self, PcapFileError> {
        let bad = |reason| PcapFileError::BadBlock {
            offset,
            kind: block.kind,
            reason,
        };
        let Some((original, data)) = block.body.split_first_chunk::<4>() else {
            return Err(bad("too short for a block of its type"));
        };
        let interface = section.interfaces.first();
        let interface = interface.ok_or_else(|| bad(UNKNOWN_INTERFACE))?;
        let wire_len = word(*original, block.is_big_endian);
        let available = (data.len() as u32).min(wire_len);
        let captured_len = match interface.snap_len {
            0 => available,
            snap_len => available.min(snap_len),
        };
        check_len(captured_len, offset)?;
        Ok(Self {
            link_type: interface.link_type,
            point: interface.point,
            timestamp: latest,
            data_offset: 12,
            captured_len,
            wire_len,
        })
    }
}

/// Checks the length of packet data.
fn check_len(captured_len: u32, offset: u64) -> Result<(), PcapFileError> {
    let len = u64::from(captured_len);
    match captured_len > MAX_RECORD_LEN {
        true => Err(PcapFileError::LongRecord { offset, len }),
        false => Ok(()),
    }
}

/// Returns the 16-bit number at an offset of a block; 0 if the block is too short.
pub(super) fn half(bytes: &[u8], at: usize, is_big_endian: bool) -> u16 {
    let half = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>());
    let half = half.copied().unwrap_or_default();
    if is_big_endian {
        u16::from_be_bytes(half)
    } else {
        u16::from_le_bytes(half)
    }
}

/// Length of the type, the length, and the next four bytes of a block (the byte-order magic of a
/// section), in bytes.
pub(super) const HEAD_LEN: usize = 12;
/// Minimum length of a block, in bytes: type and both length fields.
const MIN_BLOCK_LEN: u32 = 12;
/// Maximum length of a block, in bytes, as in Wireshark.
const MAX_BLOCK_LEN: u64 = 16 << 20;

/// Description of the damage of a packet block whose interface does not exist.
const UNKNOWN_INTERFACE: &str = "its interface is not described";

pub(super) const INTERFACE: u32 = 1;
pub(super) const OBSOLETE_PACKET: u32 = 2;
pub(super) const SIMPLE_PACKET: u32 = 3;
pub(super) const STATISTICS: u32 = 5;
pub(super) const ENHANCED_PACKET: u32 = 6;
pub(super) const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const SWAPPED_BYTE_ORDER: u32 = BYTE_ORDER.swap_bytes();
