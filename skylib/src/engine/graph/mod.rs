//! Graph of an engine: shared between threads, filled by probes, and persisted by write-behind.

mod namespace_of;
mod orphan_edges;
mod persistence;
mod probes;
mod shared_graph;
mod status_list;

pub use shared_graph::{LOG_BYTES, LOG_LIMIT, LoggedEvent, SharedGraph};

pub(super) use namespace_of::namespace_of;
pub(super) use persistence::{GraphPersister, OrphanEdgeProcessor};
pub(super) use probes::{HostOptions, start_analyzer_probes, start_probes};
pub(super) use status_list::{StatusList, id_of};
