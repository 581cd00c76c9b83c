//! What a [`Traversal`](super::Traversal) has found so far; no values, only names of kinds.

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        $($(#[$doc])* #[derive(Clone, Copy, Debug)] #[non_exhaustive] pub enum $name {})*
    };
}

kinds! {
    /// The graph, whole or in part.
    Graph,
    /// Nodes.
    Nodes,
    /// Edges.
    Edges,
    /// Paths of nodes.
    Paths,
    /// A list of values.
    Values,
    /// One number, or one object.
    Number,
    /// Flows.
    Flows,
    /// Flows by tracking id.
    Groups,
    /// Metrics of nodes or flows.
    Metrics,
    /// Packets of flows.
    RawPackets,
    /// Connections of nodes or flows.
    Sockets,
    /// Next hops of nodes.
    NextHops,
}

/// Nodes or edges, for the steps they have in common.
pub trait Elements {}

impl Elements for Nodes {}
impl Elements for Edges {}
