//! Where packets come from: live interfaces and capture files, filtered and in batches.

#[cfg(feature = "afpacket")]
mod afpacket;
#[cfg(feature = "afpacket")]
mod block;
mod bpf;
mod error;
mod file;
#[cfg(test)]
pub(crate) mod frames;
mod options;
mod replay;
#[cfg(feature = "afpacket")]
mod ring;
mod source;
#[cfg(all(test, feature = "afpacket"))]
pub(crate) mod testing;
mod worker;

#[cfg(feature = "afpacket")]
pub use afpacket::AfPacket;
#[cfg(feature = "pcap")]
pub use bpf::BpfFilters;
pub use bpf::{BpfFilter, BpfInstruction, BpfProgram};
pub use error::CaptureError;
pub use file::{FileProgress, PcapFile};
pub use options::{CaptureOptions, DEFAULT_HEADER_SIZE, link_type_of_encap};
pub use replay::{Replay, ReplayedFlows};
pub use source::{Batch, CaptureStats, PacketSource, Waker};
pub use worker::{Capture, CaptureHandle, CaptureReport, PendingFlows, PendingReport};
