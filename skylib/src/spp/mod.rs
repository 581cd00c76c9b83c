//! Recording of interfaces to rotated, compressed capture files, compatible with the capture
//! process of SPP (Soft Patch Panel) and its REST API.
//!
//! [`SppCtl`] corresponds to SPP's `spp-ctl`: a table of processes by id. A process is an instance
//! of this library ([`PcapProcess`]) or a connected SPP process ([`SecondaryServer`]). A running
//! instance has a thread and a packet ring per writer, among which the kernel distributes the
//! flows.
//!
//! ```
//! use std::sync::Arc;
//! use skylib::spp::{PcapSpec, Ports, SppCtl};
//! use skylib::time::SystemClock;
//!
//! let ctl = SppCtl::new(Ports::new(["eth0"]), Arc::new(SystemClock));
//! ctl.add(PcapSpec::new(1, "phy:0".parse()?))?;
//! assert_eq!(ctl.processes().len(), 1);
//! assert!(ctl.pcap("1")?.get().contains(r#""status":"idle""#));
//! let refused = ctl.capture("1", br#"{"action": "restart"}"#).unwrap_err();
//! assert_eq!(refused.to_string(), "invalid key(action): restart.");
//! # Ok::<(), skylib::spp::SppError>(())
//! ```

mod block_file;
mod command;
mod cpu;
mod ctl;
mod error;
mod pcap_process;
mod pcap_spec;
mod port;
mod primary;
mod recorder;
mod recording;
mod reply;
mod secondary;
mod secondary_server;
#[cfg(test)]
mod tests;
mod writer;
mod writer_stats;

pub use command::{Action, Launch};
pub use cpu::{CoreLayout, SocketLayout};
pub use ctl::{CpuUsage, ProcessEntry, SppCtl};
pub use error::SppError;
pub use pcap_process::{CoreStatus, PcapProcess, PcapStatus, RunStats, RxPort};
pub use pcap_spec::PcapSpec;
pub use port::{PortId, PortKind, Ports};
pub use primary::{PhyPort, PrimaryStatus, Queues};
pub use reply::{Reply, ReplyBuffer};
pub use secondary_server::SecondaryServer;
pub use writer_stats::PcapStats;

use std::path::Path;

use crate::capture::PacketSource;

/// Consumer of the packets of instances, in addition to their files.
pub trait FlowTap: Send + Sync {
    /// Reads the packet source of an interface to its end, on the calling thread or another thread.
    fn drive(&self, interface: &str, netns: Option<&Path>, source: Box<dyn PacketSource>);
}

/// Returns client input truncated for use in error messages.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Maximum number of characters of client input in an error message.
const LONGEST_SHOWN: usize = 64;
