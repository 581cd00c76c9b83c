//! Reader and writer of pcapng files (draft-ietf-opsawg-pcapng).

mod block;
mod interface;
#[cfg(test)]
mod tests;
mod writer;

use std::io::Read;
use std::sync::Arc;

use self::block::{
    Block, ENHANCED_PACKET, HEAD_LEN, INTERFACE, OBSOLETE_PACKET, PacketBlock, ParsedBlock,
    SECTION, SIMPLE_PACKET, STATISTICS,
};
use self::interface::Section;
use super::buffer::Buffer;
use super::{MAX_BATCH, PcapFileError};
use crate::packet::{CapturePoint, CapturePoints, LinkType, PacketBatch, PacketHeader};
use crate::time::Timestamp;

pub use self::writer::PcapNgWriter;

/// Reader of a pcapng file.
///
/// The reader supports sections of either byte order, up to 65536 interfaces per section with
/// different link types and clocks, and enhanced, simple, and obsolete packet blocks; all other
/// blocks are skipped. A simple packet block has no time; its packet is assigned the time of the
/// previous packet. Like [`PcapReader`](super::PcapReader), the reader returns packets as soon as
/// one block is complete.
///
/// ```
/// use skylib::packet::{LinkType, PacketRef};
/// use skylib::pcap_file::{PcapNgReader, PcapNgWriter};
/// use skylib::time::Timestamp;
///
/// let mut writer = PcapNgWriter::new(Vec::new())?;
/// for link_type in [LinkType::ETHERNET, LinkType::RAW] {
///     let (timestamp, data) = (Timestamp::from_ms(1), &[0x45; 20]);
///     writer.write(&PacketRef { link_type, timestamp, data, wire_len: 20 })?;
/// }
/// let file = writer.into_inner();
///
/// let mut reader = PcapNgReader::new(file.as_slice())?;
/// let mut link_types = Vec::new();
/// while let Some(batch) = reader.next_batch()? {
///     link_types.push(batch.link_type);
/// }
/// assert_eq!(link_types, [LinkType::ETHERNET, LinkType::RAW]);
/// # Ok::<(), skylib::pcap_file::PcapFileError>(())
/// ```
#[derive(Debug)]
pub struct PcapNgReader<R> {
    buffer: Buffer<R>,
    /// Current section.
    section: Section,
    /// Packets of the latest batch.
    headers: Vec<PacketHeader>,
    /// Link type of the packets in `headers`; before the first packet, that of the first interface.
    link_type: LinkType,
    /// Time of the latest packet.
    latest: Timestamp,
    points: CapturePoints,
    /// Whether packets state their capture point, because there are several capture points.
    has_several: bool,
    /// Block that is being skipped.
    skipped: Option<Skipped>,
    /// Whether the end, or the error that ends the file, has been reported.
    has_ended: bool,
}

/// Block that is not needed and longer than the buffer.
#[derive(Clone, Copy, Debug)]
struct Skipped {
    /// Offset of the block in the file, in bytes.
    offset: u64,
    /// Length of the block, in bytes.
    len: u64,
    /// Number of bytes not skipped yet.
    left: u64,
}

/// Result of parsing the next block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockStep {
    /// The block is parsed.
    Done,
    /// The block is incomplete.
    Incomplete,
    /// The block was not parsed, because the batch ends before it: its packet has another link
    /// type, or it describes an interface, after which packets may have other capture points.
    EndsBatch,
}

impl<R: Read> PcapNgReader<R> {
    /// Creates a reader of `source` and reads the file up to the first interface.
    ///
    /// # Errors
    ///
    /// Returns an error if the source fails, or if the file does not begin with a section of
    /// version 1.
    pub fn new(source: R) -> Result<Self, PcapFileError> {
        Self::with_points(source, CapturePoints::default())
    }

    /// Creates a reader of `source` that adds its interfaces to a list of capture points.
    pub(super) fn with_points(source: R, points: CapturePoints) -> Result<Self, PcapFileError> {
        let mut reader = Self {
            buffer: Buffer::new(source),
            section: Section::default(),
            headers: Vec::with_capacity(MAX_BATCH),
            link_type: LinkType::ETHERNET,
            latest: Timestamp::ZERO,
            points,
            has_several: false,
            skipped: None,
            has_ended: false,
        };
        reader.begin()?;
        Ok(reader)
    }

    /// Returns the next packets of one link type that are available without waiting for the source,
    /// at least one and at most 8192; `None` at the end of the file.
    ///
    /// # Errors
    ///
    /// Returns an error if the source fails; the call may be repeated. Returns an error if the file
    /// is damaged. Damage is reported once, after all packets before it, and ends the file.
    pub fn next_batch(&mut self) -> Result<Option<PacketBatch<'_>>, PcapFileError> {
        self.headers.clear();
        self.has_several = self.points.len() > 1;
        while !self.has_ended {
            if let Err(damage) = self.parse_blocks() {
                self.has_ended = true;
                return Err(damage);
            }
            if !self.headers.is_empty() {
                self.count_packets();
                return Ok(Some(self.batch()));
            }
            if self.buffer.is_drained {
                self.has_ended = true;
                self.check_end()?;
            } else if let Err(error) = self.buffer.fill() {
                self.has_ended = error.is_final();
                return Err(error);
            }
        }
        Ok(None)
    }

    /// Returns the latest batch; an empty batch before the first one and after the last one.
    pub(super) fn batch(&self) -> PacketBatch<'_> {
        PacketBatch {
            link_type: self.link_type,
            buffer: &self.buffer.bytes,
            headers: &self.headers,
        }
    }

    /// Returns the link type of the latest batch; before the first batch, that of the first
    /// interface, or Ethernet for a file without interfaces.
    pub const fn link_type(&self) -> LinkType {
        self.link_type
    }

    /// Returns the buffer of the latest batch; see
    /// [`CaptureReader::shared_buffer`](super::CaptureReader::shared_buffer).
    pub(super) fn shared_buffer(&self) -> Arc<[u8]> {
        Arc::clone(&self.buffer.bytes)
    }

    /// Returns the number of bytes of the file that have been parsed or skipped.
    pub const fn offset(&self) -> u64 {
        self.buffer.offset
    }

    /// Counts the packets of the batch by capture point.
    fn count_packets(&self) {
        match self.has_several {
            true => self.points.count(&self.headers),
            false => self.points.count_all(0, self.headers.len() as u64),
        }
    }

    /// Parses the blocks up to the first interface.
    fn begin(&mut self) -> Result<(), PcapFileError> {
        while self.section.interfaces.is_empty() {
            match self.step() {
                Ok(BlockStep::Done | BlockStep::EndsBatch) => {}
                Ok(BlockStep::Incomplete) if self.buffer.is_drained => {
                    let available = self.buffer.unread().len() as u64;
                    return match self.buffer.offset {
                        0 if available < HEAD_LEN as u64 => {
                            Err(PcapFileError::ShortHeader { available })
                        }
                        0 => self.check_end(),
                        _ => Ok(()),
                    };
                }
                Ok(BlockStep::Incomplete) => self.buffer.fill()?,
                Err(damage) if self.buffer.offset == 0 => return Err(damage),
                // The first call to `next_batch` reports the damage.
                Err(_) => return Ok(()),
            }
        }
        self.link_type = self
            .section
            .interfaces
            .first()
            .map_or(self.link_type, |interface| interface.link_type);
        Ok(())
    }

    /// Adds the headers of the packets in the buffer, as long as they have the same link type.
    fn parse_blocks(&mut self) -> Result<(), PcapFileError> {
        while self.headers.len() < MAX_BATCH {
            match self.step() {
                Ok(BlockStep::Done) => {}
                Ok(BlockStep::Incomplete | BlockStep::EndsBatch) => break,
                Err(damage) if self.headers.is_empty() => return Err(damage),
                // The packets before the damage are returned first; the next call reports it.
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Parses one block, or skips a part of a block that is not needed.
    fn step(&mut self) -> Result<BlockStep, PcapFileError> {
        if !self.finish_skip() {
            return Ok(BlockStep::Incomplete);
        }
        let (offset, start) = (self.buffer.offset, self.buffer.start);
        let block = match Block::parse(self.buffer.unread(), self.section.is_big_endian, offset)? {
            ParsedBlock::Complete(block) => block,
            ParsedBlock::Incomplete => return Ok(BlockStep::Incomplete),
            ParsedBlock::Skip(len) => {
                self.skipped = Some(Skipped {
                    offset,
                    len,
                    left: len,
                });
                return Ok(BlockStep::Done);
            }
        };
        let len = block.len;
        match block.kind {
            ENHANCED_PACKET | OBSOLETE_PACKET | SIMPLE_PACKET => {
                let packet = PacketBlock::new(&block, &self.section, self.latest, offset)?;
                if packet.link_type != self.link_type && !self.headers.is_empty() {
                    return Ok(BlockStep::EndsBatch);
                }
                self.link_type = packet.link_type;
                self.latest = packet.timestamp;
                self.headers.push(PacketHeader {
                    timestamp: packet.timestamp,
                    offset: (start + packet.data_offset) as u32,
                    captured_len: packet.captured_len,
                    wire_len: packet.wire_len,
                    point: match self.has_several {
                        true => CapturePoint::new(packet.point),
                        false => CapturePoint::ONLY,
                    },
                });
            }
            INTERFACE if !self.headers.is_empty() => return Ok(BlockStep::EndsBatch),
            INTERFACE => {
                self.section
                    .add_interface(&block, offset, &mut self.points)?;
                self.has_several = self.points.len() > 1;
            }
            STATISTICS => self.section.count_dropped(&block, &mut self.points),
            SECTION => self.section = Section::new(&block, offset)?,
            _ => {}
        }
        self.buffer.advance(len);
        Ok(BlockStep::Done)
    }

    /// Skips the available bytes of a block that is being skipped; returns whether all of them were
    /// skipped.
    fn finish_skip(&mut self) -> bool {
        let Some(skipped) = &mut self.skipped else {
            return true;
        };
        let available = (self.buffer.end - self.buffer.start) as u64;
        let len = skipped.left.min(available);
        skipped.left -= len;
        let is_done = skipped.left == 0;
        self.buffer.advance(len as usize);
        if is_done {
            self.skipped = None;
        }
        is_done
    }

    /// Checks that the source does not end inside a block.
    fn check_end(&self) -> Result<(), PcapFileError> {
        let available = self.buffer.unread().len() as u64;
        if let Some(Skipped { offset, len, left }) = self.skipped {
            return Err(PcapFileError::ShortRecord {
                offset,
                needed: len,
                available: len - left + available,
            });
        }
        if available == 0 {
            return Ok(());
        }
        let offset = self.buffer.offset;
        let head = self.buffer.unread().first_chunk::<HEAD_LEN>();
        let needed = match head {
            Some(head) => Block::head(head, self.section.is_big_endian, offset)?.1,
            None => HEAD_LEN as u64,
        };
        Err(PcapFileError::ShortRecord {
            offset,
            needed,
            available,
        })
    }
}
