//! Where packets come from: live interfaces and capture files, filtered and in batches.

#[cfg(feature = "afpacket")]
mod afpacket;
mod bpf;
#[expect(clippy::module_inception, reason = "the file of the type `Capture`")]
mod capture;
mod error;
mod file;
mod handle;
mod options;
mod replay;
mod source;
#[cfg(all(test, feature = "afpacket"))]
pub(crate) mod testing;
#[cfg(test)]
pub(crate) mod tests;
mod worker;

#[cfg(feature = "afpacket")]
pub use afpacket::AfPacket;
#[cfg(feature = "pcap")]
pub use bpf::BpfFilters;
pub use bpf::{BpfFilter, BpfInstruction, BpfProgram};
pub use capture::{Capture, CaptureReport};
pub use error::CaptureError;
pub use file::{FileProgress, PcapFile};
pub use handle::{CaptureHandle, PendingFlows, PendingReport};
pub use options::{CaptureOptions, DEFAULT_HEADER_SIZE, link_type_of_encap};
pub use replay::{Replay, ReplayedFlows};
pub use source::{Batch, CaptureStats, PacketSource, Waker};
