//! Graph of an engine: shared between threads, filled by probes, and persisted by write-behind.

mod orphan_edges;
mod persistence;
mod probes;
mod shared_graph;

pub use shared_graph::{LOG_BYTES, LOG_LIMIT, LoggedEvent, SharedGraph};

pub(super) use persistence::{GraphPersister, OrphanEdgeProcessor};
pub(super) use probes::{HostOptions, start_probes};
