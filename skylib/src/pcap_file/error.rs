//! What can be wrong with a capture file.

use std::{fmt, io};

use super::MAX_RECORD_LEN;

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
    /// The file is of a format that is not read here.
    #[error("byte 0: the file is {0}, only classic pcap is read")]
    Format(FileFormat),
    /// The file is of a version that is not read here.
    #[error("byte 4: version {major}.{minor} of the pcap format, only 2.4 is read")]
    Version {
        /// First number.
        major: u16,
        /// Second number.
        minor: u16,
    },
    /// The file ends within its header.
    #[error("byte {had}: the file ends within its header of 24 bytes")]
    ShortHeader {
        /// Bytes there.
        had: u64,
    },
    /// The file ends within a record.
    #[error("byte {offset}: the record of {wanted} bytes is cut after {had}")]
    ShortRecord {
        /// Where the record starts.
        offset: u64,
        /// Bytes the record has, with its header; 16 if not even that is whole.
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
    /// A packet's time does not fit the format: before 1970 or after 2106.
    #[error("the time of a packet, {seconds} s from the epoch, does not fit a pcap file")]
    Time {
        /// Seconds since the epoch.
        seconds: i64,
    },
}

/// A file format told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileFormat {
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
    /// The format of a file that starts with these bytes and is not classic pcap.
    pub(super) const fn of(magic: [u8; 4]) -> Self {
        match magic {
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
