//! `CaptureError`: why a source cannot be opened or go on.

use std::io;

use crate::packet::LinkType;
use crate::pcap_file::PcapFileError;

/// Why a source cannot be opened or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The process lacks a privilege.
    #[error("cannot capture on {interface}: needs {capability} ({remedy})")]
    NotPermitted {
        /// The interface.
        interface: String,
        /// Name of the privilege, for example `CAP_NET_RAW`.
        capability: String,
        /// How to grant it.
        remedy: String,
    },
    /// There is no interface of that name where it was looked for.
    #[error("interface {interface:?} not found{}", place(.netns))]
    NoInterface {
        /// The name.
        interface: String,
        /// The network namespace, if not the present one.
        netns: Option<String>,
    },
    /// The interface is there but not up.
    #[error("interface {0:?} is down (bring it up: ip link set {0} up)")]
    InterfaceDown(String),
    /// The interface was removed, or moved to another namespace, during the capture.
    #[error("interface {0:?} has gone away")]
    InterfaceGone(String),
    /// The filter is not an expression that libpcap understands.
    #[error("invalid BPF filter {text:?}: {message}")]
    Filter {
        /// The expression.
        text: String,
        /// What libpcap says.
        message: String,
    },
    /// The filter is a program that no kernel would run.
    #[error("invalid BPF program: instruction {index}: {reason}")]
    Program {
        /// Which instruction, from 0.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The filter was made for packets of another kind.
    #[error("the BPF program is for link type {}, the packets are of {}", program.0, packets.0)]
    FilterLinkType {
        /// What the program was compiled for.
        program: LinkType,
        /// What the source has.
        packets: LinkType,
    },
    /// A capture file is damaged, or is none; the cause says where.
    #[error("cannot read {name}")]
    File {
        /// The file.
        name: String,
        /// Where and why.
        source: PcapFileError,
    },
    /// The kernel or the disk says no.
    #[error("cannot {action}")]
    Io {
        /// What was being done, and to what.
        action: String,
        /// The reason.
        source: io::Error,
    },
}

impl CaptureError {
    pub(super) fn io(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io {
            action: action.into(),
            source: source.into(),
        }
    }
}

fn place(netns: &Option<String>) -> String {
    netns
        .as_ref()
        .map(|netns| format!(" in network namespace {netns}"))
        .unwrap_or_default()
}
