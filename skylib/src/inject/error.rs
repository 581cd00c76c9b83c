//! `InjectError`: the reasons why packets cannot be built or sent.

use std::io;

use crate::packet::LinkType;
use crate::pcap_file::PcapFileError;

/// Error returned if packets cannot be built or sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InjectError {
    /// The name of a packet type or mode is unknown.
    #[error("{what} {name:?} is not supported; expected one of {expected}")]
    UnknownName {
        /// Subject of the name, such as `packet type`.
        what: &'static str,
        /// The unknown name.
        name: String,
        /// Supported names.
        expected: &'static str,
    },
    /// A string is not an address.
    #[error("{text:?} is not {expected}")]
    Address {
        /// The string.
        text: String,
        /// Kind of address, with its article.
        expected: &'static str,
    },
    /// A required address is missing or has the wrong IP version.
    #[error("the {end} {problem}")]
    MissingAddress {
        /// `source` or `destination`.
        end: &'static str,
        /// Description of the problem.
        problem: String,
    },
    /// A packet would exceed the maximum length.
    #[error("a packet with a payload of {payload} bytes exceeds {MAX_PACKET} bytes")]
    TooLong {
        /// Length of the payload, in bytes.
        payload: usize,
    },
    /// The capture file is not valid Base64.
    #[error("the capture file is not Base64")]
    Base64(#[from] base64::DecodeError),
    /// The capture file cannot be read.
    #[error("cannot read the capture file")]
    File(#[from] PcapFileError),
    /// The capture file has no packets.
    #[error("the capture file has no packets")]
    EmptyFile,
    /// The capture file has more data than an injection may send.
    #[error("the capture file has more than {packets} packets or {bytes} bytes")]
    LargeFile {
        /// Maximum number of packets.
        packets: usize,
        /// Maximum size of all packets, in bytes.
        bytes: usize,
    },
    /// The packets of the capture file do not suit the interface.
    #[error(
        "the capture file has packets of link type {}; the interface sends link type {}",
        file.name(), interface.name()
    )]
    LinkType {
        /// Link type of the packets.
        file: LinkType,
        /// Link type of the interface.
        interface: LinkType,
    },
    /// The interface is down.
    #[error("interface {0:?} is down (bring it up: ip link set {0} up)")]
    InterfaceDown(String),
    /// The interface is up without a carrier, so the kernel drops all frames without an error.
    #[error("interface {0:?} has no carrier (connect it, or set its peer up)")]
    NoCarrier(String),
    /// A system call failed.
    #[error("cannot {action}")]
    Io {
        /// Description of the failed action.
        action: String,
        /// Error of the system call.
        source: io::Error,
    },
}

/// Maximum length of an IP packet, in bytes.
pub(super) const MAX_PACKET: usize = 65_535;
