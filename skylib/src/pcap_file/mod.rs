//! Capture files: readers and writers of pcap and pcapng over any [`Read`](std::io::Read) and
//! [`Write`](std::io::Write).
//!
//! [`CaptureReader`] reads all supported formats: it detects the format and the compression from
//! the first bytes, and uses [`PcapReader`], [`PcapNgReader`], and [`Decompressor`]. Readers return
//! batches that borrow their buffer, so that no packet is copied. Damage in a file is reported with
//! its offset, after all packets before it have been returned, and ends the file. [`PcapWriter`]
//! writes files that all tools can read; [`PcapNgWriter`] supports packets of several link types.
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
//! let batch = reader.next_batch()?.ok_or("no packet")?;
//! let packet = batch.iter().next().ok_or("no packet")?;
//! assert_eq!((packet.timestamp, packet.data.len(), packet.wire_len), (timestamp, 60, 1500));
//! assert!(reader.next_batch()?.is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod buffer;
mod capture_reader;
mod compressed;
mod error;
mod output;
mod pcapng;
mod reader;
mod writer;

pub use capture_reader::CaptureReader;
pub use compressed::{Compression, DecompressionError, Decompressor};
pub use error::{FileFormat, PcapFileError};
pub use pcapng::{PcapNgReader, PcapNgWriter};
pub use reader::PcapReader;
pub use writer::PcapWriter;
pub(crate) use writer::{file_header, record_header};

/// Resolution of the timestamps of a classic pcap file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Microseconds, supported by all tools.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

/// Maximum length of a packet in a capture file, in bytes: the maximum snap length of libpcap.
///
/// A longer record is considered damaged; otherwise, a damaged length could cause a huge
/// allocation.
pub const MAX_RECORD_LEN: u32 = 262_144;

/// Maximum number of packets of a batch. A batch usually covers a whole buffer, so that the thread
/// that filled the buffer, and has it in its cache, also parses the records.
const MAX_BATCH: usize = 8192;
/// Length of the file header, in bytes.
pub(crate) const FILE_HEADER_LEN: usize = 24;
/// Length of the header of a record, in bytes.
pub(crate) const RECORD_HEADER_LEN: usize = 16;
/// Magic number of a file with timestamps in microseconds.
const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
/// Magic number of a file with timestamps in nanoseconds.
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Version of the format, major and minor; unchanged since 1998.
const VERSION: (u16, u16) = (2, 4);

#[cfg(test)]
mod tests;
