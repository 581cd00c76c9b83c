//! Capture files: pcap and pcapng, read from and written to anything that does I/O.
//!
//! [`CaptureReader`] reads both, plain or compressed, as the first bytes of a file tell; it stands
//! on [`PcapReader`], [`PcapNgReader`] and [`Decompressor`]. Readers hand out batches that borrow
//! their buffer, so no packet is copied; damage in a file ends it with an error that says where,
//! after everything before it has been handed out. [`PcapWriter`] writes files that every tool
//! reads, [`PcapNgWriter`] such as hold packets of several link types.
//!
//! ```
//! use skylib::packet::{LinkType, PacketRef};
//! use skylib::pcap_file::{PcapReader, PcapWriter, Resolution};
//! use skylib::time::Timestamp;
//!
//! let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET, Resolution::Nanoseconds)?;
//! let timestamp = Timestamp::from_ns(1_600_000_000_123_456_789);
//! let data = &[0xff; 60];
//! writer.write(&PacketRef { link_type: LinkType::ETHERNET, timestamp, data, wire_len: 1500 })?;
//! let file = writer.into_inner();
//!
//! let mut reader = PcapReader::new(file.as_slice())?;
//! let batch = reader.next_batch()?.ok_or("one packet")?;
//! let packet = batch.iter().next().ok_or("one packet")?;
//! assert_eq!((packet.timestamp, packet.data.len(), packet.wire_len), (timestamp, 60, 1500));
//! assert!(reader.next_batch()?.is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod buffer;
mod capture_reader;
mod compressed;
mod error;
mod pcapng;
mod reader;
mod writer;

pub use capture_reader::CaptureReader;
pub use compressed::{Compression, DecompressionError, Decompressor};
pub use error::{FileFormat, PcapFileError};
pub use pcapng::{PcapNgReader, PcapNgWriter};
pub use reader::PcapReader;
pub use writer::PcapWriter;
#[cfg(feature = "spp")]
pub(crate) use writer::{file_header, record_header};

/// How fine the timestamps of a classic file are; complete, as the format knows no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Microseconds, which every tool reads.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

/// The longest record that is taken for one: what capture libraries call the maximum snap length.
///
/// A longer one is damage, and its length would be an allocation of the file's choice.
pub const MAX_RECORD_LEN: u32 = 262_144;

/// Packets of one batch at most: as a rule all of a buffer, so that of many threads the one that
/// has filled it, whose cache it is in, also reads its records.
const MAX_BATCH: usize = 8192;
/// Bytes of the file header.
pub(crate) const FILE_HEADER_LEN: usize = 24;
/// Bytes of a record's header.
pub(crate) const RECORD_HEADER_LEN: usize = 16;
/// First four bytes of a file with microseconds, as a number.
const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
/// First four bytes of a file with nanoseconds, as a number.
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// The version that every file has had since 1998.
const VERSION: (u16, u16) = (2, 4);

#[cfg(test)]
mod tests;
