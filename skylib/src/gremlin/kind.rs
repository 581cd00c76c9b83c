//! The kinds of result that steps pass on, and what a kind answers a step it has no use for.

use super::ast::Step;

/// What a step gets to work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Graph,
    Nodes,
    Edges,
    Paths,
    /// A list of values.
    List,
    /// One number.
    Scalar,
    Flows,
    Metrics,
    Groups,
    RawPackets,
    Sockets,
    NextHops,
}

impl Kind {
    /// For people.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Graph => "the graph",
            Self::Nodes => "nodes",
            Self::Edges => "edges",
            Self::Paths => "paths",
            Self::List => "values",
            Self::Scalar => "one value",
            Self::Flows => "flows",
            Self::Metrics => "metrics",
            Self::Groups => "groups of flows",
            Self::RawPackets => "raw packets",
            Self::Sockets => "sockets",
            Self::NextHops => "next hops",
        }
    }

    /// The error of a step that cannot follow this kind.
    ///
    /// COMPAT: the original looked some steps up by name on its Go types, and its texts show both.
    pub(super) fn refuses(self, step: &Step) -> String {
        let method = match step {
            Step::Values(_) => "PropertyValues",
            Step::ValueMap(_) => "PropertyValueMap",
            Step::Keys(_) => "PropertyKeys",
            Step::G
            | Step::Has(_)
            | Step::HasKey(_)
            | Step::HasNot(_)
            | Step::HasEither(_)
            | Step::Dedup(_)
            | Step::Count
            | Step::Range(..)
            | Step::Limit(_)
            | Step::Sort(..)
            | Step::Sum(_)
            | Step::As(_)
            | Step::Select(_) => step.name(),
            Step::Walk(walk, _) if !walk.gives_edges() && !walk.takes_edges() => walk.name(),
            _ => return "Error while executing the query".to_owned(),
        };
        let kind = match self {
            Self::Graph => "GraphTraversal",
            Self::Nodes => "GraphTraversalV",
            Self::Edges => "GraphTraversalE",
            Self::Paths => "GraphTraversalShortestPath",
            Self::List | Self::Scalar => "GraphTraversalValue",
            Self::Flows => "FlowTraversalStep",
            Self::Metrics => "MetricsTraversalStep",
            Self::Groups => "GroupTraversalStep",
            Self::RawPackets => "RawPacketsTraversalStep",
            Self::Sockets => "SocketsTraversalStep",
            Self::NextHops => "NextHopTraversalStep",
        };
        format!("Invalid step '{method}' on '*traversal.{kind}'")
    }
}
