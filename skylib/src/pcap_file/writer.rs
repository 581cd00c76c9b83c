//! Writing classic pcap.

use std::io::Write;

use super::{
    FILE_HEADER_LEN, MAGIC_MICROSECONDS, MAGIC_NANOSECONDS, MAX_RECORD_LEN, PcapFileError,
    RECORD_HEADER_LEN, Resolution, VERSION,
};
use crate::packet::{LinkType, PacketBatch, PacketRef};

/// Writes a classic pcap file, version 2.4, little endian.
///
/// Two small writes a packet: give it a `BufWriter` where that matters.
#[derive(Debug)]
pub struct PcapWriter<W> {
    target: W,
    resolution: Resolution,
    written: u64,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file header.
    ///
    /// # Errors
    ///
    /// The target fails.
    pub fn new(
        target: W,
        link_type: LinkType,
        resolution: Resolution,
    ) -> Result<Self, PcapFileError> {
        let header = file_header(link_type, resolution, MAX_RECORD_LEN);
        let mut writer = Self {
            target,
            resolution,
            written: 0,
        };
        writer.put(&header)?;
        Ok(writer)
    }

    /// Writes one packet; the file's link type stands for its own.
    ///
    /// # Errors
    ///
    /// The packet has a time or a length that the format cannot hold, then nothing is written; or
    /// the target fails.
    pub fn write(&mut self, packet: &PacketRef<'_>) -> Result<(), PcapFileError> {
        if packet.data.len() > MAX_RECORD_LEN as usize {
            let len = packet.data.len() as u64;
            return Err(PcapFileError::LongRecord {
                offset: self.written,
                len,
            });
        }
        let header = record_header(packet, self.resolution)?;
        self.put(&header)?;
        self.put(packet.data)
    }

    /// Writes the packets of a batch.
    ///
    /// # Errors
    ///
    /// As [`PcapWriter::write`]; the packets before the failing one are written.
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

    fn put(&mut self, bytes: &[u8]) -> Result<(), PcapFileError> {
        let offset = self.written;
        self.target
            .write_all(bytes)
            .map_err(|source| PcapFileError::Io { offset, source })?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

/// The beginning of a file.
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
    // In the middle time zone and accuracy, which nobody sets.
    let words = [magic, version, 0, 0, snap_len, u32::from(link_type.0)];
    let mut header = [0; FILE_HEADER_LEN];
    for (field, word) in header.chunks_exact_mut(4).zip(words) {
        field.copy_from_slice(&word.to_le_bytes());
    }
    header
}

/// What stands before a packet's bytes.
///
/// # Errors
/// [`PcapFileError::Time`] when the format cannot hold the packet's time.
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
