//! Implementations of the steps, one file per family.

pub(super) mod changes;
mod fib;
pub(super) mod filter;
pub(super) mod flows;
pub(super) mod group_by;
pub(super) mod hierarchy;
pub(super) mod metrics;
pub(super) mod next_hop;
mod owners;
pub(super) mod packet_path;
pub(super) mod path;
pub(super) mod qualified;
pub(super) mod raw_packets;
pub(super) mod sockets;
pub(super) mod subgraph;
pub(super) mod time;
pub(super) mod values;
pub(super) mod walk;
