//! pcapng (draft-ietf-opsawg-pcapng).

mod block;
mod interface;
#[cfg(test)]
mod tests;
mod writer;

use std::io::Read;
use std::sync::Arc;

use self::block::{
    Block, ENHANCED_PACKET, Found, HEAD_LEN, INTERFACE, OBSOLETE_PACKET, Packet, SECTION,
    SIMPLE_PACKET, half,
};
use self::interface::{Interface, Section};
use super::buffer::Buffer;
use super::{MAX_BATCH, PcapFileError};
use crate::packet::{LinkType, PacketBatch, PacketHeader};
use crate::time::Timestamp;

pub use self::writer::PcapNgWriter;

/// Reads a pcapng file from its beginning to its end.
///
/// Sections of either byte order, any number of interfaces with link types and clocks of their own,
/// enhanced, simple and obsolete packet blocks; all other blocks are passed over. A simple packet
/// block tells no time: its packet gets that of the packet before it. Like
/// [`PcapReader`](super::PcapReader) it waits for no more than one whole block.
#[derive(Debug)]
pub struct PcapNgReader<R> {
    buffer: Buffer<R>,
    section: Section,
    headers: Vec<PacketHeader>,
    /// Of the packets in `headers`; before there are any, of the first interface.
    link_type: LinkType,
    /// Time of the latest packet.
    latest: Timestamp,
    skipped: Option<Skipped>,
    /// All is said, the error about the end too if there was one.
    has_ended: bool,
}

/// A block that nobody needs and that the buffer need not take.
#[derive(Clone, Copy, Debug)]
struct Skipped {
    offset: u64,
    len: u64,
    left: u64,
}

/// What came of looking at the next block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is done with.
    Done,
    /// It is not whole yet.
    Short,
    /// Its packet is of another link type than those before it.
    OtherLinkType,
}

impl<R: Read> PcapNgReader<R> {
    /// Reads up to the first interface.
    ///
    /// # Errors
    ///
    /// The source fails, or the file does not begin with a section of version 1.
    pub fn new(source: R) -> Result<Self, PcapFileError> {
        let mut reader = Self {
            buffer: Buffer::new(source),
            section: Section::default(),
            headers: Vec::with_capacity(MAX_BATCH),
            link_type: LinkType::ETHERNET,
            latest: Timestamp::ZERO,
            skipped: None,
            has_ended: false,
        };
        reader.begin()?;
        Ok(reader)
    }

    /// The next packets of one link type, as many as are at hand (8192 at most); `None` at the end
    /// of the file.
    ///
    /// # Errors
    ///
    /// The source fails, in which case the call may be repeated, or the file is damaged here: that
    /// is said once, after the packets before the damage, and ends the file.
    pub fn next_batch(&mut self) -> Result<Option<PacketBatch<'_>>, PcapFileError> {
        self.headers.clear();
        while !self.has_ended {
            if let Err(damage) = self.parse_blocks() {
                self.has_ended = true;
                return Err(damage);
            }
            if !self.headers.is_empty() {
                return Ok(Some(PacketBatch {
                    link_type: self.link_type,
                    buffer: &self.buffer.bytes,
                    headers: &self.headers,
                }));
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

    /// Type of the first header of the latest packets, at first of those of the first interface;
    /// Ethernet for a file without interfaces.
    pub const fn link_type(&self) -> LinkType {
        self.link_type
    }

    /// See [`CaptureReader::shared_buffer`](super::CaptureReader::shared_buffer).
    pub(super) fn shared_buffer(&self) -> Arc<[u8]> {
        Arc::clone(&self.buffer.bytes)
    }

    /// Bytes of the file that have been handed out or passed over so far.
    pub const fn offset(&self) -> u64 {
        self.buffer.offset
    }

    /// Takes the blocks up to the first interface.
    fn begin(&mut self) -> Result<(), PcapFileError> {
        while self.section.interfaces.is_empty() {
            match self.step() {
                Ok(Step::Done | Step::OtherLinkType) => {}
                Ok(Step::Short) if self.buffer.is_drained => {
                    let had = self.buffer.unread().len() as u64;
                    return match self.buffer.offset {
                        0 if had < HEAD_LEN as u64 => Err(PcapFileError::ShortHeader { had }),
                        0 => self.check_end(),
                        _ => Ok(()),
                    };
                }
                Ok(Step::Short) => self.buffer.fill()?,
                Err(damage) if self.buffer.offset == 0 => return Err(damage),
                // It is found again where packets are asked for.
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

    /// Makes headers of the packets in the buffer, as long as they are of one link type.
    fn parse_blocks(&mut self) -> Result<(), PcapFileError> {
        while self.headers.len() < MAX_BATCH {
            match self.step() {
                Ok(Step::Done) => {}
                Ok(Step::Short | Step::OtherLinkType) => break,
                Err(damage) if self.headers.is_empty() => return Err(damage),
                // The packets before it come first; the next call finds the damage again.
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Takes one block.
    fn step(&mut self) -> Result<Step, PcapFileError> {
        if let Some(skipped) = &mut self.skipped {
            let at_hand = (self.buffer.end - self.buffer.start) as u64;
            let taken = skipped.left.min(at_hand);
            skipped.left -= taken;
            let is_past = skipped.left == 0;
            self.buffer.advance(taken as usize);
            if !is_past {
                return Ok(Step::Short);
            }
            self.skipped = None;
        }
        let (offset, start) = (self.buffer.offset, self.buffer.start);
        let block = match Block::find(self.buffer.unread(), self.section.is_big_endian, offset)? {
            Found::Whole(block) => block,
            Found::Short => return Ok(Step::Short),
            Found::ToSkip(len) => {
                self.skipped = Some(Skipped {
                    offset,
                    len,
                    left: len,
                });
                return Ok(Step::Done);
            }
        };
        let len = block.len;
        let bad = |reason| PcapFileError::BadBlock {
            offset,
            kind: block.kind,
            reason,
        };
        match block.kind {
            ENHANCED_PACKET | OBSOLETE_PACKET | SIMPLE_PACKET => {
                let packet = Packet::new(&block, &self.section, self.latest, offset)?;
                if packet.link_type != self.link_type && !self.headers.is_empty() {
                    return Ok(Step::OtherLinkType);
                }
                self.link_type = packet.link_type;
                self.latest = packet.timestamp;
                self.headers.push(PacketHeader {
                    timestamp: packet.timestamp,
                    offset: (start + packet.data_offset) as u32,
                    captured_len: packet.captured_len,
                    wire_len: packet.wire_len,
                });
            }
            INTERFACE if self.section.interfaces.len() >= MAX_INTERFACES => {
                return Err(bad("more interfaces than any host has"));
            }
            INTERFACE => {
                let interface = Interface::new(block.body, block.is_big_endian).map_err(bad)?;
                self.section.interfaces.push(interface);
            }
            SECTION => {
                let half = |at| half(block.body, at, block.is_big_endian);
                let (major, minor) = (half(4), half(6));
                if block.body.len() < 16 || major != 1 {
                    return Err(PcapFileError::SectionVersion {
                        offset,
                        major,
                        minor,
                    });
                }
                self.section = Section {
                    is_big_endian: block.is_big_endian,
                    interfaces: Vec::new(),
                };
            }
            _ => {}
        }
        self.buffer.advance(len);
        Ok(Step::Done)
    }

    /// The source has ended: so must the last block.
    fn check_end(&self) -> Result<(), PcapFileError> {
        let had = self.buffer.unread().len() as u64;
        if let Some(Skipped { offset, len, left }) = self.skipped {
            return Err(PcapFileError::ShortRecord {
                offset,
                wanted: len,
                had: len - left + had,
            });
        }
        if had == 0 {
            return Ok(());
        }
        let offset = self.buffer.offset;
        let head = self.buffer.unread().first_chunk::<HEAD_LEN>();
        let wanted = match head {
            Some(head) => Block::head(head, self.section.is_big_endian, offset)?.1,
            None => HEAD_LEN as u64,
        };
        Err(PcapFileError::ShortRecord {
            offset,
            wanted,
            had,
        })
    }
}

/// As many as the obsolete packet block can tell apart; each takes memory as long as its section.
const MAX_INTERFACES: usize = 1 << 16;
