//! Kinds of results of a [`Traversal`](super::Traversal): uninhabited types that mark what the
//! steps so far produce.

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        $($(#[$doc])* #[derive(Clone, Copy, Debug)] #[non_exhaustive] pub enum $name {})*
    };
}

kinds! {
    /// The graph, or a subgraph.
    Graph,
    /// A list of nodes.
    Nodes,
    /// A list of edges.
    Edges,
    /// A list of paths, each a list of nodes.
    Paths,
    /// A list of values.
    Values,
    /// A single number or object.
    Number,
    /// A list of flows.
    Flows,
    /// Flows grouped by tracking ID.
    Groups,
    /// Totals of flows by keys.
    Totals,
    /// Metrics of nodes or flows.
    Metrics,
    /// Raw packets of flows.
    RawPackets,
    /// Sockets of nodes or flows.
    Sockets,
    /// Next hops of nodes.
    NextHops,
}

macro_rules! marker_traits {
    ($($(#[$doc:meta])* $name:ident for $($kind:ident),*;)*) => {
        $(
            $(#[$doc])*
            pub trait $name {}
            $(impl $name for $kind {})*
        )*
    };
}

marker_traits! {
    /// Kinds that are elements of the graph.
    Elements for Nodes, Edges;
    /// Kinds that can be filtered by conditions.
    Filtered for Nodes, Edges, Values, Flows, Totals, Sockets;
    /// Kinds that can be filtered by alternative conditions.
    FilteredByEither for Nodes, Edges, Flows, Sockets;
    /// Kinds from which a page can be selected.
    Paged for Nodes, Edges, Values, Flows, Totals;
    /// Kinds that can be counted.
    Counted for Nodes, Edges, Values, Flows, Metrics;
    /// Kinds from which flows can be reached.
    WithFlows for Graph, Nodes, Paths;
    /// Kinds that can be sorted.
    Sorted for Nodes, Flows, Totals;
}
