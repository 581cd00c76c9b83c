//! Writer of pcapng files.

use std::io::Write;

use crate::packet::{LinkType, PacketBatch, PacketRef};
use crate::pcap_file::output::Output;
use crate::pcap_file::{MAX_RECORD_LEN, PcapFileError};

/// Writer of a pcapng file in little-endian byte order with times in nanoseconds.
///
/// The first packet of each link type adds an interface to the file. Each packet causes three small
/// writes; if that affects performance, use a [`BufWriter`](std::io::BufWriter) as the target.
///
/// ```
/// use skylib::packet::{LinkType, PacketRef};
/// use skylib::pcap_file::PcapNgWriter;
/// use skylib::time::Timestamp;
///
/// let mut writer = PcapNgWriter::new(Vec::new())?;
/// let (timestamp, data) = (Timestamp::from_ms(1), &[0x45; 20]);
/// writer.write(&PacketRef { link_type: LinkType::RAW, timestamp, data, wire_len: 1500 })?;
/// writer.flush()?;
/// // Section header, interface description, packet.
/// assert_eq!(writer.written(), 28 + 32 + 32 + 20);
/// # Ok::<(), skylib::pcap_file::PcapFileError>(())
/// ```
#[derive(Debug)]
pub struct PcapNgWriter<W> {
    output: Output<W>,
    /// Link types of the interfaces written so far, by interface number.
    link_types: Vec<LinkType>,
}

impl<W: Write> PcapNgWriter<W> {
    /// Creates a writer to `target` and writes the section header.
    ///
    /// # Errors
    ///
    /// Returns an error if the target fails.
    pub fn new(target: W) -> Result<Self, PcapFileError> {
        let mut writer = Self {
            output: Output::new(target),
            link_types: Vec::new(),
        };
        let mut block = Vec::with_capacity(28);
        for word in [0x0a0d_0d0a, 28, 0x1a2b_3c4d_u32, 1, u32::MAX, u32::MAX, 28] {
            block.extend(word.to_le_bytes());
        }
        writer.output.write_all(&block)?;
        Ok(writer)
    }

    /// Writes one packet.
    ///
    /// # Errors
    ///
    /// Returns an error without writing if the format cannot store the time or the length of the
    /// packet. Returns an error if the target fails.
    pub fn write(&mut self, packet: &PacketRef<'_>) -> Result<(), PcapFileError> {
        let Ok(ticks) = u64::try_from(packet.timestamp.as_ns()) else {
            let seconds = packet.timestamp.as_ns().div_euclid(1_000_000_000);
            return Err(PcapFileError::Time { seconds });
        };
        if packet.data.len() > MAX_RECORD_LEN as usize {
            let len = packet.data.len() as u64;
            return Err(PcapFileError::LongRecord {
                offset: self.written(),
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
        self.output.write_all(&bytes)?;
        self.output.write_all(packet.data)?;
        let mut tail = [0; 7];
        let (padding, rest) = tail.split_at_mut(padding as usize);
        let tail_len = padding.len() + 4;
        if let Some(field) = rest.first_chunk_mut() {
            *field = len.to_le_bytes();
        }
        self.output
            .write_all(tail.get(..tail_len).unwrap_or_default())
    }

    /// Writes the packets of a batch.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`PcapNgWriter::write`]; the packets before the failure have been
    /// written.
    pub fn write_batch(&mut self, batch: &PacketBatch<'_>) -> Result<(), PcapFileError> {
        batch.iter().try_for_each(|packet| self.write(&packet))
    }

    /// Flushes the target.
    ///
    /// # Errors
    ///
    /// Returns an error if the target fails.
    pub fn flush(&mut self) -> Result<(), PcapFileError> {
        self.output.flush()
    }

    /// Returns the target, without flushing it.
    pub fn into_inner(self) -> W {
        self.output.target
    }

    /// Returns the number of bytes written so far.
    pub const fn written(&self) -> u64 {
        self.output.written
    }

    /// Returns the number of the interface of a link type; writes the description of the interface
    /// if it is new.
    fn interface(&mut self, link_type: LinkType) -> Result<u32, PcapFileError> {
        if let Some(number) = self.link_types.iter().position(|known| *known == link_type) {
            return Ok(number as u32);
        }
        let words = [
            1,
            32,
            u32::from(link_type.0),
            MAX_RECORD_LEN,
            // Option if_tsresol: 10 to the power of -9 seconds.
            0x0001_0009,
            9,
            0,
            32,
        ];
        let block: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        self.output.write_all(&block)?;
        self.link_types.push(link_type);
        Ok(self.link_types.len() as u32 - 1)
    }
}

/// Length of a packet block without the packet and its padding, in bytes.
const PACKET_BLOCK_LEN: u32 = 32;
