//! Writing pcapng.

use std::io::Write;

use crate::packet::{LinkType, PacketBatch, PacketRef};
use crate::pcap_file::{MAX_RECORD_LEN, PcapFileError};

/// Writes a pcapng file, little endian, with times in nanoseconds.
///
/// Each link type gets an interface of its own the first time a packet has it. Three small writes
/// a packet: give it a `BufWriter` where that matters.
#[derive(Debug)]
pub struct PcapNgWriter<W> {
    target: W,
    /// Of the interfaces written so far.
    link_types: Vec<LinkType>,
    written: u64,
}

impl<W: Write> PcapNgWriter<W> {
    /// Writes the section header.
    ///
    /// # Errors
    ///
    /// The target fails.
    pub fn new(target: W) -> Result<Self, PcapFileError> {
        let mut writer = Self {
            target,
            link_types: Vec::new(),
            written: 0,
        };
        let mut block = Vec::with_capacity(28);
        for word in [0x0a0d_0d0a, 28, 0x1a2b_3c4d_u32, 1, u32::MAX, u32::MAX, 28] {
            block.extend(word.to_le_bytes());
        }
        writer.put(&block)?;
        Ok(writer)
    }

    /// Writes one packet.
    ///
    /// # Errors
    ///
    /// The packet has a time or a length that the format cannot hold, then nothing is written; or
    /// the target fails.
    pub fn write(&mut self, packet: &PacketRef<'_>) -> Result<(), PcapFileError> {
        let Ok(ticks) = u64::try_from(packet.timestamp.as_ns()) else {
            let seconds = packet.timestamp.as_ns().div_euclid(1_000_000_000);
            return Err(PcapFileError::Time { seconds });
        };
        if packet.data.len() > MAX_RECORD_LEN as usize {
            let len = packet.data.len() as u64;
            return Err(PcapFileError::LongRecord {
                offset: self.written,
                len,
            });
        }
        let interface = self.interface(packet.link_type)?;
        let captured_len = packet.data.len() as u32;
        let padding = captured_len.next_multiple_of(4) - captured_len;
        let len = PACKET_BLOCK_LEN + captured_len + padding;
        let head = [
            6,
            len,
            interface,
            (ticks >> 32) as u32,
            ticks as u32,
            captured_len,
            packet.wire_len,
        ];
        let mut bytes = [0; 28];
        for (field, word) in bytes.chunks_exact_mut(4).zip(head) {
            field.copy_from_slice(&word.to_le_bytes());
        }
        self.put(&bytes)?;
        self.put(packet.data)?;
        let mut tail = [0; 7];
        let (padding, rest) = tail.split_at_mut(padding as usize);
        let tail_len = padding.len() + 4;
        if let Some(field) = rest.first_chunk_mut() {
            *field = len.to_le_bytes();
        }
        self.put(tail.get(..tail_len).unwrap_or_default())
    }

    /// Writes the packets of a batch.
    ///
    /// # Errors
    ///
    /// As [`PcapNgWriter::write`]; the packets before the failing one are written.
    pub fn write_batch(&mut self, batch: &PacketBatch<'_>) -> Result<(), PcapFileError> {
        batch.iter().try_for_each(|packet| self.write(&packet))
    }

    /// Hands what is written on to the target's own target.
    ///
    /// # Errors
    ///
    /// The target fails.
    pub fn flush(&mut self) -> Result<(), PcapFileError> {
        let offset = self.written;
        self.target
            .flush()
            .map_err(|source| PcapFileError::Io { offset, source })
    }

    /// The target, as it is: not flushed.
    pub fn into_inner(self) -> W {
        self.target
    }

    /// Bytes written so far.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// The number of the interface of a link type; describes it if it is new.
    fn interface(&mut self, link_type: LinkType) -> Result<u32, PcapFileError> {
        if let Some(number) = self.link_types.iter().position(|known| *known == link_type) {
            return Ok(number as u32);
        }
        let words = [
            1,
            32,
            u32::from(link_type.0),
            MAX_RECORD_LEN,
            // One option: times are in nanoseconds (if_tsresol, 10 to the power of -9).
            0x0001_0009,
            9,
            0,
            32,
        ];
        let block: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        self.put(&block)?;
        self.link_types.push(link_type);
        Ok(self.link_types.len() as u32 - 1)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), PcapFileError> {
        let offset = self.written;
        self.target
            .write_all(bytes)
            .map_err(|source| PcapFileError::Io { offset, source })?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// Bytes of a packet's block beside the packet and its padding.
const PACKET_BLOCK_LEN: u32 = 32;
