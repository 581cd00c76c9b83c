//! Targets of captures: receivers of flows (NetFlow 5) or packets (ERSPAN) instead of the flow
//! table.

mod counters;
#[cfg(feature = "afpacket")]
mod erspan;
mod netflow5;

pub use counters::{TargetCounters, TargetStats};
#[cfg(feature = "afpacket")]
pub use erspan::ErspanForwarder;
pub use netflow5::{NetFlow5Encoder, NetFlow5Sink};
