//! Errors of capture file readers and writers.

use std::{fmt, io};

use super::{DecompressionError, MAX_RECORD_LEN};
use crate::packet::CapturePoints;

/// Error from reading or writing a capture file. Offsets are in bytes from the beginning of the
/// decompressed file.
///
/// ```
/// use skylib::pcap_file::{CaptureReader, PcapFileError};
///
/// let error = CaptureReader::new(&b"GET / HTTP/1.1"[..]).unwrap_err();
/// assert!(matches!(error, PcapFileError::Unreadable(_)));
/// assert!(error.to_string().starts_with("byte 0: the file is not a capture file"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PcapFileError {
    /// The source or the target failed.
    #[error("input or output failed at byte {offset}")]
    Io {
        /// Number of bytes read or written before the failure.
        offset: u64,
        /// Error from the source or the target.
        source: io::Error,
    },
    /// The compressed data is damaged.
    #[error("decompression failed at byte {offset} of the decompressed data")]
    Compressed {
        /// Number of decompressed bytes before the damage.
        offset: u64,
        /// Description of the damage, with its position in the compressed file.
        source: DecompressionError,
    },
    /// The file has a format that this reader does not support.
    #[error("byte 0: the file is {0}, which this reader does not support; use CaptureReader")]
    Format(FileFormat),
    /// The file has none of the supported formats.
    #[error(
        "byte 0: the file is {0}; expected pcap or pcapng, uncompressed or compressed with gzip, \
         LZ4, or zstd"
    )]
    Unreadable(FileFormat),
    /// The version of a classic pcap file is not supported.
    #[error("byte 4: version {major}.{minor} of the pcap format is not supported; expected 2.4")]
    Version {
        /// Major version stated in the file.
        major: u16,
        /// Minor version stated in the file.
        minor: u16,
    },
    /// The file ends inside its header.
    #[error("byte {available}: the file ends within its header")]
    ShortHeader {
        /// Length of the file, in bytes.
        available: u64,
    },
    /// The version of a section of a pcapng file is not supported.
    #[error(
        "byte {offset}: version {major}.{minor} of the pcapng format is not supported; expected 1"
    )]
    SectionVersion {
        /// Offset of the section.
        offset: u64,
        /// Major version stated in the section.
        major: u16,
        /// Minor version stated in the section.
        minor: u16,
    },
    /// A block of a pcapng file is damaged.
    #[error("byte {offset}: block of type {kind:#x} is damaged: {reason}")]
    BadBlock {
        /// Offset of the block.
        offset: u64,
        /// Type of the block, as a number.
        kind: u32,
        /// Description of the damage.
        reason: &'static str,
    },
    /// The files describe too many interfaces.
    #[error(
        "the files describe more than {} different interfaces; read fewer files at once",
        CapturePoints::MAX
    )]
    CapturePoints,
    /// The file ends inside a record, or inside a block of a pcapng file.
    #[error("byte {offset}: record needs {needed} bytes, but only {available} remain in the file")]
    ShortRecord {
        /// Offset of the record.
        offset: u64,
        /// Length of the record including its header, in bytes; length of the header if the header
        /// is incomplete.
        needed: u64,
        /// Number of bytes from the start of the record to the end of the file.
        available: u64,
    },
    /// A record is longer than [`MAX_RECORD_LEN`].
    #[error("byte {offset}: record of {len} bytes is longer than the limit of {MAX_RECORD_LEN}")]
    LongRecord {
        /// Offset of the record.
        offset: u64,
        /// Length of the packet data in the record, in bytes.
        len: u64,
    },
    /// The format cannot store the time of a packet: the time is before 1970 or, for classic pcap,
    /// after 2106.
    #[error("packet time of {seconds} s since 1970 cannot be stored in a capture file")]
    Time {
        /// Time of the packet, in seconds since the Unix epoch.
        seconds: i64,
    },
}

impl PcapFileError {
    /// Returns the error for a failure of a source after `offset` bytes.
    pub(super) fn reading(offset: u64, error: io::Error) -> Self {
        match error.downcast::<DecompressionError>() {
            Ok(source) => Self::Compressed { offset, source },
            Err(source) => Self::Io { offset, source },
        }
    }

    /// Returns whether a retry cannot succeed.
    pub(super) const fn is_final(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }
}

/// File format, detected from the first bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileFormat {
    /// Classic pcap.
    Pcap,
    /// pcapng, the successor of the classic format.
    PcapNg,
    /// Classic pcap with Alexey Kuznetsov's longer record headers.
    KuznetsovPcap,
    /// Solaris snoop.
    Snoop,
    /// Compressed with gzip.
    Gzip,
    /// Compressed with Zstandard.
    Zstandard,
    /// Compressed with LZ4.
    Lz4,
    /// Compressed with bzip2.
    Bzip2,
    /// Compressed with xz.
    Xz,
    /// Any other format, with the first bytes of the file.
    Unknown([u8; 4]),
}

impl FileFormat {
    /// Returns the format of a file that starts with these bytes.
    pub(super) const fn of(magic: [u8; 4]) -> Self {
        match magic {
            [0xa1, 0xb2, 0xc3, 0xd4] | [0xd4, 0xc3, 0xb2, 0xa1] => Self::Pcap,
            [0xa1, 0xb2, 0x3c, 0x4d] | [0x4d, 0x3c, 0xb2, 0xa1] => Self::Pcap,
            [0x0a, 0x0d, 0x0d, 0x0a] => Self::PcapNg,
            [0xa1, 0xb2, 0xcd, 0x34] | [0x34, 0xcd, 0xb2, 0xa1] => Self::KuznetsovPcap,
            [b's', b'n', b'o', b'o'] => Self::Snoop,
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Self::Zstandard,
            [0x04, 0x22, 0x4d, 0x18] => Self::Lz4,
            [b'B', b'Z', b'h', _] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X'] => Self::Xz,
            other => Self::Unknown(other),
        }
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pcap => f.write_str("classic pcap"),
            Self::PcapNg => f.write_str("pcapng"),
            Self::KuznetsovPcap => f.write_str("pcap with modified record headers"),
            Self::Snoop => f.write_str("a snoop capture"),
            Self::Gzip => f.write_str("compressed with gzip"),
            Self::Zstandard => f.write_str("compressed with zstd"),
            Self::Lz4 => f.write_str("compressed with lz4"),
            Self::Bzip2 => f.write_str("compressed with bzip2"),
            Self::Xz => f.write_str("compressed with xz"),
            Self::Unknown([a, b, c, d]) => {
                write!(
                    f,
                    "not a capture file (it starts with {a:02x} {b:02x} {c:02x} {d:02x})"
                )
            }
        }
    }
}
