//! API resources of an engine: created, read, changed and deleted by clients.

pub(super) mod collection;
pub(super) mod graph_elements;
pub(super) mod registry;
pub(super) mod resources;
