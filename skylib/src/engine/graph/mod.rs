//! The engine's graph: shared between threads, written to the store, filled by probes.

mod orphan_edges;
pub(super) mod persistence;
pub(super) mod probes;
pub(super) mod shared_graph;
