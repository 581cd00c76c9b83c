//! What can be wrong with a capture file.

use std::{fmt, io};

use super::{DecompressionError, MAX_RECORD_LEN};

/// A file could not be read on, or not written; offsets count bytes from its beginning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PcapFileError {
    /// The source or target failed.
    #[error("input or output fails at byte {offset}")]
    Io {
        /// How far it came.
        offset: u64,
        /// Why it failed.
        source: io::Error,
    },
    /// What the file was compressed by finds it damaged; the cause says where.
    #[error("byte {offset} of what is compressed")]
    Compressed {
        /// Bytes before the damage, uncompressed.
        offset: u64,
        /// Where in the file, and what is wrong.
        source: DecompressionError,
    },
    /// The file is not of the one format that this reader reads.
    #[error("byte 0: the file is {0}")]
    Format(FileFormat),
    /// The file is of none of the formats that are read here.
    #[error(
        "byte 0: the file is {0}; pcap and pcapng are read, plain or compressed by gzip, LZ4 or zstd"
    )]
    Unreadable(FileFormat),
    /// A classic file is of a version that is not read here.
    #[error("byte 4: version {major}.{minor} of the pcap format, only 2.4 is read")]
    Version {
        /// First number.
        major: u16,
        /// Second number.
        minor: u16,
    },
    /// The file ends within its header.
    #[error("byte {had}: the file ends within its header")]
    ShortHeader {
        /// Bytes there.
        had: u64,
    },
    /// A section of a pcapng file is of a version that is not read here.
    #[error("byte {offset}: version {major}.{minor} of the pcapng format, only 1 is read")]
    SectionVersion {
        /// Where the section starts.
        offset: u64,
        /// First number.
        major: u16,
        /// Second number.
        minor: u16,
    },
    /// A block of a pcapng file is damaged.
    #[error("byte {offset}: a block of type {kind:#x}: {reason}")]
    BadBlock {
        /// Where the block starts.
        offset: u64,
        /// Its type.
        kind: u32,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file ends within a record, or a block of a pcapng file.
    #[error("byte {offset}: the record of {wanted} bytes is cut after {had}")]
    ShortRecord {
        /// Where the record starts.
        offset: u64,
        /// Bytes the record has, with its header; those of the header if not even that is whole.
        wanted: u64,
        /// Bytes there.
        had: u64,
    },
    /// A record is longer than any can be.
    #[error("byte {offset}: a record of {len} bytes, no more than {MAX_RECORD_LEN} can be right")]
    LongRecord {
        /// Where the record starts.
        offset: u64,
        /// The length it gives for its data.
        len: u64,
    },
    /// A packet's time does not fit the format: before 1970, or after 2106 in classic pcap.
    #[error("the time of a packet, {seconds} s from the epoch, does not fit a capture file")]
    Time {
        /// Seconds since the epoch.
        seconds: i64,
    },
}

impl PcapFileError {
    /// What a source says that cannot be read on after so many bytes.
    pub(super) fn reading(offset: u64, error: io::Error) -> Self {
        match error.downcast::<DecompressionError>() {
            Ok(source) => Self::Compressed { offset, source },
            Err(source) => Self::Io { offset, source },
        }
    }

    /// Whether there is nothing more to be had.
    pub(super) const fn is_final(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }
}

/// A file format told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileFormat {
    /// Classic pcap.
    Pcap,
    /// The successor of the classic format.
    PcapNg,
    /// Classic pcap with Alexey Kuznetsov's longer record headers.
    KuznetsovPcap,
    /// Solaris snoop.
    Snoop,
    /// Compressed by gzip.
    Gzip,
    /// Compressed by Zstandard.
    Zstandard,
    /// Compressed by LZ4.
    Lz4,
    /// Compressed by bzip2.
    Bzip2,
    /// Compressed by xz.
    Xz,
    /// Something else that starts with these bytes.
    Unknown([u8; 4]),
}

impl FileFormat {
    /// The format of a file that starts with these bytes.
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
            Self::Gzip => f.write_str("compressed by gzip"),
            Self::Zstandard => f.write_str("compressed by zstd"),
            Self::Lz4 => f.write_str("compressed by lz4"),
            Self::Bzip2 => f.write_str("compressed by bzip2"),
            Self::Xz => f.write_str("compressed by xz"),
            Self::Unknown([a, b, c, d]) => {
                write!(
                    f,
                    "no capture file (it starts with {a:02x} {b:02x} {c:02x} {d:02x})"
                )
            }
        }
    }
}
