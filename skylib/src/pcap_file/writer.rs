//! Writer of classic pcap files.

use std::io::Write;

use super::output::Output;
use super::{
    FILE_HEADER_LEN, MAGIC_MICROSECONDS, MAGIC_NANOSECONDS, MAX_RECORD_LEN, PcapFileError,
    RECORD_HEADER_LEN, Resolution, VERSION,
};
use crate::packet::{LinkType, PacketBatch, PacketRef};

/// Writer of a classic pcap file, version 2.4, in little-endian byte order.
///
/// Each packet causes two small writes; if that affects performance, for example with files, use a
/// [`BufWriter`](std::io::BufWriter) as the target.
///
/// ```
/// use skylib::packet::{LinkType, PacketRef};
/// use skylib::pcap_file::{PcapWriter, Resolution};
/// use skylib::time::Timestamp;
///
/// let mut writer = PcapWriter::new(Vec::new(), LinkType::RAW, Resolution::Nanoseconds)?;
/// let (timestamp, data) = (Timestamp::from_ms(1), &[0x45; 20]);
/// writer.write(&PacketRef { link_type: LinkType::RAW, timestamp, data, wire_len: 1500 })?;
/// writer.flush()?;
/// assert_eq!(writer.written(), 24 + 16 + 20);
/// let file: Vec<u8> = writer.into_inner();
/// assert_eq!(file.len(), 60);
/// # Ok::<(), skylib::pcap_file::PcapFileError>(())
/// ```
#[derive(Debug)]
pub struct PcapWriter<W> {
    output: Output<W>,
    resolution: Resolution,
}

impl<W: Write> PcapWriter<W> {
    /// Creates a writer to `target` and writes the file header.
    ///
    /// # Errors
    ///
    /// Returns an error if the target fails.
    pub fn new(
        target: W,
        link_type: LinkType,
        resolution: Resolution,
    ) -> Result<Self, PcapFileError> {
        let header = file_header(link_type, resolution, MAX_RECORD_LEN);
        let mut writer = Self {
            output: Output::new(target),
            resolution,
        };
        writer.output.write_all(&header)?;
        Ok(writer)
    }

    /// Writes one packet. Its link type is ignored: all packets have the link type of the file.
    ///
    /// # Errors
    ///
    /// Returns an error without writing if the format cannot store the time or the length of the
    /// packet. Returns an error if the target fails.
    pub fn write(&mut self, packet: &PacketRef<'_>) -> Result<(), PcapFileError> {
        if packet.data.len() > MAX_RECORD_LEN as usize {
            let len = packet.data.len() as u64;
            return Err(PcapFileError::LongRecord {
                offset: self.written(),
                len,
            });
        }
        let header = record_header(packet, self.resolution)?;
        self.output.write_all(&header)?;
        self.output.write_all(packet.data)
    }

    /// Writes the packets of a batch.
    ///
    /// ```
    /// use skylib::packet::LinkType;
    /// use skylib::pcap_file::{PcapReader, PcapWriter, Resolution};
    /// # use skylib::packet::PacketRef;
    /// # use skylib::time::Timestamp;
    /// # let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET, Resolution::Nanoseconds)?;
    /// # let (timestamp, data) = (Timestamp::from_ms(1), &[0xff; 60]);
    /// # writer.write(&PacketRef { link_type: LinkType::ETHERNET, timestamp, data, wire_len: 60 })?;
    /// # let file = writer.into_inner();
    ///
    /// let mut copy = PcapWriter::new(Vec::new(), LinkType::ETHERNET, Resolution::Nanoseconds)?;
    /// let mut reader = PcapReader::new(file.as_slice())?;
    /// while let Some(batch) = reader.next_batch()? {
    ///     copy.write_batch(&batch)?;
    /// }
    /// assert_eq!(copy.into_inner(), file);
    /// # Ok::<(), skylib::pcap_file::PcapFileError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`PcapWriter::write`]; the packets before the failure have been
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
}

/// Returns the header of a file.
pub(crate) fn file_header(
    link_type: LinkType,
    resolution: Resolution,
    snap_len: u32,
) -> [u8; FILE_HEADER_LEN] {
    let magic = match resolution {
        Resolution::Microseconds => MAGIC_MICROSECONDS,
        Resolution::Nanoseconds => MAGIC_NANOSECONDS,
    };
    let version = u32::from(VERSION.0) | u32::from(VERSION.1) << 16;
    // The two zeros are the time zone and the accuracy, which are not used.
    let words = [magic, version, 0, 0, snap_len, u32::from(link_type.0)];
    let mut header = [0; FILE_HEADER_LEN];
    for (field, word) in header.chunks_exact_mut(4).zip(words) {
        field.copy_from_slice(&word.to_le_bytes());
    }
    header
}

/// Returns the header of a record, which precedes the bytes of the packet.
///
/// # Errors
///
/// Returns [`PcapFileError::Time`] if the format cannot store the time of the packet.
pub(crate) fn record_header(
    packet: &PacketRef<'_>,
    resolution: Resolution,
) -> Result<[u8; RECORD_HEADER_LEN], PcapFileError> {
    let ns = packet.timestamp.as_ns();
    let seconds = ns.div_euclid(1_000_000_000);
    let fraction = ns.rem_euclid(1_000_000_000) as u32;
    let fraction = match resolution {
        Resolution::Microseconds => fraction / 1_000,
        Resolution::Nanoseconds => fraction,
    };
    let Ok(seconds) = u32::try_from(seconds) else {
        return Err(PcapFileError::Time { seconds });
    };
    let mut header = [0; RECORD_HEADER_LEN];
    let words = [seconds, fraction, packet.data.len() as u32, packet.wire_len];
    for (field, word) in header.chunks_exact_mut(4).zip(words) {
        field.copy_from_slice(&word.to_le_bytes());
    }
    Ok(header)
}
