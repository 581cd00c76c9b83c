//! Captures of an engine: selected by queries, opened on nodes, reconciled by one thread.

pub(super) mod mailbox;
mod node_capture;
mod node_status;
mod observer;
pub(super) mod opener;
pub(super) mod reconciler;
mod selector;
#[cfg(feature = "spp")]
mod spp_tap;
mod target;
pub(super) mod totals;
