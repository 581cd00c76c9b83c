//! What a query says: steps and their parameters, as typed values that print as query text.

use std::fmt;

use crate::flow::SortOrder;
use crate::value::Text;

/// One step of a query, its parameters checked as far as they can be before the query runs.
///
/// Printing gives text that parses to the same step.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// `G`: back to the graph.
    G,
    /// `V([id])`: all nodes, or one.
    V(Option<Text>),
    /// `E([id])`: all edges, or one.
    E(Option<Text>),
    /// `At(instant[, duration])`, also spelled `Context`.
    At(Vec<Param>),
    /// `Has(key[, value, …])`: all pairs hold.
    Has(Vec<Param>),
    /// `HasEither(key[, value, …])`: one pair holds.
    HasEither(Vec<Param>),
    /// `HasKey(key)`
    HasKey(Text),
    /// `HasNot(key)`
    HasNot(Text),
    /// `Out`, `InE`, `BothV` and the other six, with a filter on what is reached.
    Walk(Walk, Vec<Param>),
    /// `Dedup([key, …])`
    Dedup(Vec<Text>),
    /// `Limit(count)`
    Limit(Param),
    /// `Range(from, to)`
    Range(Param, Param),
    /// `Sort([[order,] key])`
    Sort(Option<SortOrder>, Option<Text>),
    /// `Count()`
    Count,
    /// `Values(key)`
    Values(Text),
    /// `ValueMap(key, …)`
    ValueMap(Vec<Text>),
    /// `Keys()`, whatever stands in its parentheses.
    Keys(Vec<Param>),
    /// `Sum([key])`
    Sum(Vec<Param>),
    /// `As(name)`
    As(Text),
    /// `Select(name, …)`
    Select(Vec<Param>),
    /// `SubGraph([edge filter])`
    SubGraph(Vec<Param>),
    /// `ShortestPathTo(Metadata(…)[, Metadata(…)])`
    ShortestPathTo(Param, Option<Param>),
    /// `Descendants`, `Ascendants`, `Neighbors`: pairs of an edge filter, and how far to go.
    Hierarchy(Hierarchy, Vec<Param>, Option<i64>),
    /// `Flows([key, value, …])`
    Flows(Vec<Param>),
    /// `Hops`, `Nodes`, `CaptureNode`, with a filter on the nodes.
    FlowNodes(FlowNodes, Vec<Param>),
    /// `Group([key])`
    Group(Vec<Param>),
    /// `MoreThan([count])`
    MoreThan(Vec<Param>),
    /// `Metrics([field])`
    Metrics(Option<Text>),
    /// `Aggregates([seconds])`
    Aggregates(Vec<Param>),
    /// `RawPackets()`
    RawPackets(Vec<Param>),
    /// `BPF(filter)`
    Bpf(Vec<Param>),
    /// `Sockets()`
    Sockets(Vec<Param>),
    /// `NextHop(address)`
    NextHop(Text),
    /// `Workflow(name, argument, …)`
    Workflow(Text, Vec<Param>),
}

/// Where a walking step goes from each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Walk {
    /// From a node to the child ends of its edges.
    Out,
    /// From a node to the parent ends of its edges.
    In,
    /// From a node to the other ends of all its edges.
    Both,
    /// From a node to the edges it is the parent of.
    OutE,
    /// From a node to the edges it is the child of.
    InE,
    /// From a node to all its edges.
    BothE,
    /// From an edge to its child (the reverse of TinkerPop).
    OutV,
    /// From an edge to its parent (the reverse of TinkerPop).
    InV,
    /// From an edge to its parent and its child.
    BothV,
}

/// Steps that gather nodes over many edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hierarchy {
    /// From parents to children.
    Descendants,
    /// From children to parents.
    Ascendants,
    /// Both ways.
    Neighbors,
}

/// Steps from flows to the nodes they belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlowNodes {
    /// The nodes a flow was seen at.
    Hops,
    /// The node a flow was captured at and the ends of its link layer.
    Nodes,
    /// The node a flow was captured at, also spelled `Node`.
    CaptureNode,
}

/// A parameter of a step, or of a predicate.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Param {
    /// `'text'`
    Text(Text),
    /// `42`
    Int(i64),
    /// `1.5`
    Float(f64),
    /// `true`, `false`
    Bool(bool),
    /// `ASC`, `DESC`
    Order(SortOrder),
    /// `NOW`
    Now,
    /// `FOREVER`
    Forever,
    /// `Metadata(key, value, …)`
    Metadata(Vec<(Text, Self)>),
    /// A test of a value.
    Predicate(Predicate, Vec<Self>),
}

/// Tests that take the place of a plain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Predicate {
    /// Not equal; the key is there.
    Ne,
    /// Not equal, or no such key.
    Nee,
    /// Less than.
    Lt,
    /// Less than or equal.
    Lte,
    /// Greater than.
    Gt,
    /// Greater than or equal.
    Gte,
    /// Between two bounds, both excluded.
    Inside,
    /// Below the first or above the second bound.
    Outside,
    /// Between two bounds, the second excluded.
    Between,
    /// One of these.
    Within,
    /// None of these.
    Without,
    /// A regular expression for the whole text.
    Regex,
    /// An IPv4 network.
    Ipv4Range,
}

impl Walk {
    /// Whether the step ends at edges.
    #[must_use]
    pub const fn gives_edges(self) -> bool {
        matches!(self, Self::OutE | Self::InE | Self::BothE)
    }

    /// Whether the step starts from edges.
    #[must_use]
    pub const fn takes_edges(self) -> bool {
        matches!(self, Self::OutV | Self::InV | Self::BothV)
    }

    /// The word in the query.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Out => "Out",
            Self::In => "In",
            Self::Both => "Both",
            Self::OutE => "OutE",
            Self::InE => "InE",
            Self::BothE => "BothE",
            Self::OutV => "OutV",
            Self::InV => "InV",
            Self::BothV => "BothV",
        }
    }
}

impl Hierarchy {
    /// The word in the query.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Descendants => "Descendants",
            Self::Ascendants => "Ascendants",
            Self::Neighbors => "Neighbors",
        }
    }
}

impl FlowNodes {
    /// The word in the query.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hops => "Hops",
            Self::Nodes => "Nodes",
            Self::CaptureNode => "CaptureNode",
        }
    }
}

impl Predicate {
    /// The word in the query.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ne => "Ne",
            Self::Nee => "Nee",
            Self::Lt => "Lt",
            Self::Lte => "Lte",
            Self::Gt => "Gt",
            Self::Gte => "Gte",
            Self::Inside => "Inside",
            Self::Outside => "Outside",
            Self::Between => "Between",
            Self::Within => "Within",
            Self::Without => "Without",
            Self::Regex => "Regex",
            Self::Ipv4Range => "Ipv4Range",
        }
    }
}

impl Step {
    /// The word in the query.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::G => "G",
            Self::V(_) => "V",
            Self::E(_) => "E",
            Self::At(_) => "At",
            Self::Has(_) => "Has",
            Self::HasEither(_) => "HasEither",
            Self::HasKey(_) => "HasKey",
            Self::HasNot(_) => "HasNot",
            Self::Walk(walk, _) => walk.name(),
            Self::Dedup(_) => "Dedup",
            Self::Limit(_) => "Limit",
            Self::Range(..) => "Range",
            Self::Sort(..) => "Sort",
            Self::Count => "Count",
            Self::Values(_) => "Values",
            Self::ValueMap(_) => "ValueMap",
            Self::Keys(_) => "Keys",
            Self::Sum(_) => "Sum",
            Self::As(_) => "As",
            Self::Select(_) => "Select",
            Self::SubGraph(_) => "SubGraph",
            Self::ShortestPathTo(..) => "ShortestPathTo",
            Self::Hierarchy(hierarchy, ..) => hierarchy.name(),
            Self::Flows(_) => "Flows",
            Self::FlowNodes(nodes, _) => nodes.name(),
            Self::Group(_) => "Group",
            Self::MoreThan(_) => "MoreThan",
            Self::Metrics(_) => "Metrics",
            Self::Aggregates(_) => "Aggregates",
            Self::RawPackets(_) => "RawPackets",
            Self::Bpf(_) => "BPF",
            Self::Sockets(_) => "Sockets",
            Self::NextHop(_) => "NextHop",
            Self::Workflow(..) => "Workflow",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::G => f.write_str(name),
            Self::Count => write!(f, "{name}()"),
            Self::V(text) | Self::E(text) | Self::Metrics(text) => {
                call(f, name, text.iter().map(Quoted))
            }
            Self::HasKey(text)
            | Self::HasNot(text)
            | Self::Values(text)
            | Self::As(text)
            | Self::NextHop(text) => call(f, name, [Quoted(text)]),
            Self::Dedup(keys) | Self::ValueMap(keys) => call(f, name, keys.iter().map(Quoted)),
            Self::At(params)
            | Self::Has(params)
            | Self::HasEither(params)
            | Self::Walk(_, params)
            | Self::Keys(params)
            | Self::Sum(params)
            | Self::Select(params)
            | Self::SubGraph(params)
            | Self::Flows(params)
            | Self::FlowNodes(_, params)
            | Self::Group(params)
            | Self::MoreThan(params)
            | Self::Aggregates(params)
            | Self::RawPackets(params)
            | Self::Bpf(params)
            | Self::Sockets(params) => call(f, name, params),
            Self::Limit(count) => call(f, name, [count]),
            Self::Range(from, to) => call(f, name, [from, to]),
            Self::ShortestPathTo(target, edges) => call(f, name, [target].into_iter().chain(edges)),
            Self::Sort(order, key) => {
                let order = order.map(Param::Order);
                let key = key.clone().map(Param::Text);
                call(f, name, order.into_iter().chain(key))
            }
            Self::Hierarchy(_, pairs, depth) => {
                call(f, name, pairs.iter().cloned().chain(depth.map(Param::Int)))
            }
            Self::Workflow(workflow, arguments) => {
                let workflow = Param::Text(workflow.clone());
                call(f, name, [&workflow].into_iter().chain(arguments))
            }
        }
    }
}

impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => Quoted(text).fmt(f),
            Self::Int(number) => write!(f, "{number}"),
            // Never an exponent, always a dot: that is what reads back as this number.
            Self::Float(number) if number.fract() == 0.0 => write!(f, "{number}.0"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Bool(bool) => write!(f, "{bool}"),
            Self::Order(SortOrder::Ascending) => f.write_str("ASC"),
            Self::Order(SortOrder::Descending) => f.write_str("DESC"),
            Self::Now => f.write_str("NOW"),
            Self::Forever => f.write_str("FOREVER"),
            Self::Metadata(pairs) => {
                let params = pairs
                    .iter()
                    .flat_map(|(k, v)| [Self::Text(k.clone()), v.clone()]);
                call(f, "Metadata", params)
            }
            Self::Predicate(predicate, params) => call(f, predicate.name(), params),
        }
    }
}

/// A string between quotes; one that holds a quote cannot be written in the language at all.
struct Quoted<'a>(&'a Text);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0)
    }
}

fn call<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    params: impl IntoIterator<Item = T>,
) -> fmt::Result {
    write!(f, "{name}(")?;
    for (i, param) in params.into_iter().enumerate() {
        write!(f, "{}{param}", if i == 0 { "" } else { ", " })?;
    }
    f.write_str(")")
}
