//! `CaptureError`: failures of packet sources and filters.

use std::io;

use crate::memory::MemoryExhausted;
use crate::packet::LinkType;
use crate::pcap_file::PcapFileError;

/// Error from opening or reading a packet source, or from compiling a filter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The process lacks a capability.
    #[error("cannot capture on {interface}: needs {capability} ({remedy})")]
    NotPermitted {
        /// Name of the interface.
        interface: String,
        /// Name of the missing capability, for example `CAP_NET_RAW`.
        capability: String,
        /// Instruction for granting the capability.
        remedy: String,
    },
    /// The network namespace has no interface with this name.
    #[error("interface {interface:?} not found{}", in_netns(.netns))]
    NoInterface {
        /// Name of the interface.
        interface: String,
        /// Path of the network namespace; `None` for the namespace of the process.
        netns: Option<String>,
    },
    /// The interface exists but is down.
    #[error("interface {0:?} is down (bring it up: ip link set {0} up)")]
    InterfaceDown(String),
    /// The interface was removed, or moved to another namespace, during the capture.
    #[error("interface {0:?} was removed")]
    InterfaceRemoved(String),
    /// libpcap rejected the filter expression.
    #[error("invalid BPF filter {text:?}: {message}")]
    Filter {
        /// Expression, truncated if it is long.
        text: String,
        /// Error message from libpcap, or the limit that the expression exceeds.
        message: String,
    },
    /// The BPF program failed verification.
    #[error("invalid BPF program: instruction {index}: {reason}")]
    Program {
        /// Index of the instruction, from 0.
        index: usize,
        /// Reason why the instruction is rejected.
        reason: &'static str,
    },
    /// The BPF program was compiled for another link type.
    #[error(
        "the BPF program is for link type {}, but the packets have link type {}",
        program.0, packets.0
    )]
    FilterLinkType {
        /// Link type of the program.
        program: LinkType,
        /// Link type of the source.
        packets: LinkType,
    },
    /// A file is damaged or is not a capture file; `source` states the byte offset.
    #[error("cannot read {name}")]
    File {
        /// Path of the file, or the name given by the caller.
        name: String,
        /// Offset and kind of the damage in the file.
        source: PcapFileError,
    },
    /// No file matches a pattern.
    #[error("no file matches {0:?}")]
    NoMatch(String),
    /// No file has the selected interface.
    #[error("no packet was captured on interface {interface:?}; interfaces in the files: {known}")]
    NoFileInterface {
        /// Name of the interface.
        interface: String,
        /// Names of the interfaces in the files, or their numbers if they have no name.
        known: String,
    },
    /// No file was given.
    #[error("no capture file was given")]
    NoFile,
    /// Merging requires too many open files.
    #[error(
        "more than {0} capture files overlap in time, too many to merge at once (merge groups of them first)"
    )]
    TooManyFiles(usize),
    /// A system call failed.
    #[error("cannot {action}")]
    Io {
        /// Operation that failed, for example `open trace.pcap`.
        action: String,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The memory for reading the file is exhausted.
    #[error(transparent)]
    Memory(#[from] MemoryExhausted),
}

impl CaptureError {
    /// Creates an error for a rejected filter expression, of which the beginning is quoted.
    #[cfg(feature = "pcap")]
    pub(crate) fn of_filter(text: &str, message: String) -> Self {
        const MAX_SHOWN: usize = 200;
        Self::Filter {
            text: text.chars().take(MAX_SHOWN).collect(),
            message,
        }
    }

    /// Creates an error for a failed operation.
    pub(crate) fn io(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io {
            action: action.into(),
            source: source.into(),
        }
    }
}

/// Returns the part of a message that names a network namespace.
fn in_netns(netns: &Option<String>) -> String {
    netns
        .as_ref()
        .map(|netns| format!(" in network namespace {netns}"))
        .unwrap_or_default()
}
