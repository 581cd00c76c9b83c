//! `ResultKind`: the type of a step's input, the steps that accept it, and the errors of steps that
//! do not.

use super::ast::Step;
use super::step_params;
use super::steps::time;
use crate::nearest::nearest;

/// Kind of the result that a step receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResultKind {
    Graph,
    Nodes,
    Edges,
    Paths,
    /// A list of values.
    List,
    /// A single number or object.
    Scalar,
    Flows,
    Metrics,
    Groups,
    /// Objects with named columns: totals of flows or paths of packets.
    Rows,
    RawPackets,
    Sockets,
    NextHops,
}

impl ResultKind {
    /// Returns the kind in words, for help messages.
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
            Self::Rows => "rows",
            Self::RawPackets => "raw packets",
            Self::Sockets => "sockets",
            Self::NextHops => "next hops",
        }
    }

    /// Returns the names of the steps that can follow this kind.
    pub(super) const fn followers(self) -> &'static [&'static str] {
        match self {
            Self::Graph => &["V", "E", "At", "Context", "Flows", "Changes", "Workflow"],
            Self::Nodes => &NODE_STEPS,
            Self::Edges => &EDGE_STEPS,
            Self::Paths => &["SubGraph", "Dedup", "Flows"],
            Self::List => &["Has", "Dedup", "Limit", "Range", "Count"],
            Self::Scalar => &["Has", "Dedup"],
            Self::Flows => &FLOW_STEPS,
            Self::Metrics => &["Aggregates", "Sum", "Count", "Keys"],
            Self::Groups => &["MoreThan"],
            Self::Rows => &ROW_STEPS,
            Self::RawPackets => &["BPF"],
            Self::Sockets => &["Has", "HasEither", "Values"],
            Self::NextHops => &[],
        }
    }

    /// Returns the help message for a failed step: its usage if it can follow this kind, otherwise
    /// the steps that can.
    pub(super) fn help(self, step: &Step) -> String {
        let (name, kind, followers) = (step.name(), self.words(), self.followers());
        if self == Self::Flows && matches!(step, Step::Limit(_) | Step::Range(..)) {
            return "flows can have only one `Limit` or `Range`".to_owned();
        }
        if followers.contains(&name) {
            let usage = step_params::usage(name).unwrap_or(name);
            let help = format!("in `{name}`, which gets {kind}; expected `{usage}`");
            return match step {
                Step::At(_) => format!("{help}, with an instant such as {}", time::EXAMPLES),
                _ => help,
            };
        }
        let cannot = format!("`{name}` cannot follow {kind}");
        match (nearest(name, followers.iter().copied()), followers) {
            (Some(near), _) => format!("{cannot}; did you mean `{near}`?"),
            (None, []) => format!("{cannot}; expected the end of the query"),
            (None, followers) => format!("{cannot}; expected one of {}", followers.join(", ")),
        }
    }

    /// Returns the error message for a step that cannot follow this kind.
    ///
    /// COMPAT: Skydive looked up some steps by name on its Go types, and its messages show both.
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
            Self::List | Self::Scalar | Self::Rows => "GraphTraversalValue",
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

/// Steps that can follow nodes.
const NODE_STEPS: [&str; 32] = [
    "Has",
    "HasKey",
    "HasNot",
    "HasEither",
    "Out",
    "In",
    "Both",
    "OutE",
    "InE",
    "BothE",
    "Dedup",
    "Limit",
    "Range",
    "Sort",
    "Count",
    "Values",
    "ValueMap",
    "Keys",
    "Sum",
    "As",
    "Select",
    "SubGraph",
    "ShortestPathTo",
    "Descendants",
    "Ascendants",
    "Neighbors",
    "Flows",
    "Metrics",
    "Sockets",
    "NextHop",
    "PathTo",
    "G",
];

/// Steps that can follow edges.
const EDGE_STEPS: [&str; 13] = [
    "Has",
    "HasKey",
    "HasNot",
    "HasEither",
    "InV",
    "OutV",
    "BothV",
    "Dedup",
    "Limit",
    "Range",
    "Count",
    "SubGraph",
    "G",
];

/// Steps that can follow rows; `Sum`, `Rate`, and `Sort` directly follow `GroupBy`.
const ROW_STEPS: [&str; 9] = [
    "Sum", "Rate", "Count", "Sort", "Limit", "Range", "Has", "Dedup", "Values",
];

/// Steps that can follow flows.
const FLOW_STEPS: [&str; 22] = [
    "Has",
    "HasEither",
    "Dedup",
    "Sort",
    "Limit",
    "Range",
    "Count",
    "Values",
    "Keys",
    "Sum",
    "Out",
    "In",
    "Both",
    "Nodes",
    "Hops",
    "CaptureNode",
    "Node",
    "Group",
    "GroupBy",
    "Metrics",
    "RawPackets",
    "Sockets",
];
