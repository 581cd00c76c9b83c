//! Packet sources (live interfaces and capture files), packet filters, and the conversion of
//! packets to flows, live ([`Capture`]) or offline ([`Replay`]).
//!
//! ```no_run
//! use skylib::capture::{PcapFile, Replay};
//!
//! let mut file = PcapFile::open("trace.pcap")?;
//! for flow in Replay::default().flows(&mut file)? {
//!     println!("{} {}", flow.uuid, flow.layers_path);
//! }
//! # Ok::<(), skylib::capture::CaptureError>(())
//! ```

#[cfg(feature = "afpacket")]
mod afpacket;
mod bpf;
#[expect(clippy::module_inception, reason = "the file of the type `Capture`")]
mod capture;
mod error;
mod file;
mod files;
mod handle;
mod options;
mod pcap_socket;
mod replay;
mod sflow_source;
mod source;
mod steady_clock;
mod target;
#[cfg(test)]
pub(crate) mod tests;
mod worker;

#[cfg(feature = "afpacket")]
pub use afpacket::AfPacket;
#[cfg(feature = "pcap")]
pub use bpf::BpfCompiler;
pub use bpf::{BpfFilter, BpfInstruction, BpfProgram};
pub use capture::{Capture, CaptureReport};
pub use error::CaptureError;
pub use file::{FileProgress, PcapFile};
pub use files::{CaptureFileSet, CaptureFiles, expand_paths};
pub use handle::{CaptureHandle, PendingFlows, PendingReport};
pub use options::{CaptureOptions, DEFAULT_HEADER_SIZE, Fanout, link_type_of_encap};
pub use pcap_socket::PcapSocket;
pub use replay::{Replay, ReplayError, ReplayedFlows};
#[cfg(feature = "engine")]
pub(crate) use sflow_source::is_harmless_receive_error;
pub use sflow_source::{CounterHandler, SflowSource};
pub use source::{Batch, CaptureStats, PacketSource, Waker};
#[cfg(feature = "afpacket")]
pub use target::ErspanForwarder;
pub use target::{NetFlow5Encoder, NetFlow5Sink, TargetCounters, TargetStats};
