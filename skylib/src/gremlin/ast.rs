//! Abstract syntax tree of a query: steps and their parameters, with `Display` in query syntax.

use std::fmt;

use crate::flow::SortOrder;
use crate::value::Text;

/// One step of a query, with parameters that were checked as far as possible before it runs.
///
/// Its `Display` output parses to the same step.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// `G`: returns to the graph.
    G,
    /// `V([id])`: all nodes, or the node with an id.
    V(Option<Text>),
    /// `E([id])`: all edges, or the edge with an id.
    E(Option<Text>),
    /// `At(instant[, duration])`, also written `Context`: the graph at another time.
    At(Vec<Param>),
    /// `Changes()`: the changes in a time slice. Its parameters are ignored.
    Changes(Vec<Param>),
    /// `Has(key[, value, …])`: elements that satisfy all conditions.
    Has(Vec<Param>),
    /// `HasEither(key[, value, …])`: elements that satisfy at least one condition.
    HasEither(Vec<Param>),
    /// `HasKey(key)`: elements that have a key.
    HasKey(Text),
    /// `HasNot(key)`: elements that do not have a key.
    HasNot(Text),
    /// `Out`, `InE`, `BothV`, and the other six, with a filter on the elements reached.
    Walk(Walk, Vec<Param>),
    /// `Dedup([key, …])`: removes duplicates.
    Dedup(Vec<Text>),
    /// `Limit(count)`: the first results.
    Limit(Param),
    /// `Range(from, to)`: results by position.
    Range(Param, Param),
    /// `Sort([[order,] key])`: orders by a key.
    Sort(Option<SortOrder>, Option<Text>),
    /// `Count()`: the number of results.
    Count,
    /// `Values(key)`: the values of a key.
    Values(Text),
    /// `ValueMap(key, …)`: the values of several keys, as objects.
    ValueMap(Vec<Text>),
    /// `Keys()`: the names of keys. Its parameters are ignored.
    Keys(Vec<Param>),
    /// `Sum([key])`: the sum of a key.
    Sum(Vec<Param>),
    /// `Qualified()`: adds the namespace and the host to the values of the previous step.
    Qualified,
    /// `As(name)`: marks nodes with a name.
    As(Text),
    /// `Select(name, …)`: the nodes marked with names.
    Select(Vec<Param>),
    /// `SubGraph([edge filter])`: narrows the graph.
    SubGraph(Vec<Param>),
    /// `ShortestPathTo(Metadata(…)[, Metadata(…)])`: target, and filter of edges.
    ShortestPathTo(Param, Option<Param>),
    /// `Descendants`, `Ascendants`, `Neighbors`: pairs of the edge filter, and maximum depth.
    Hierarchy(Hierarchy, Vec<Param>, Option<i64>),
    /// `Flows([key, value, …])`: flows, optionally filtered.
    Flows(Vec<Param>),
    /// `Hops`, `Nodes`, `CaptureNode`: nodes of flows, with a filter on the nodes.
    FlowNodes(FlowNodes, Vec<Param>),
    /// `GroupBy(key, …)`: totals of flows by the values of keys.
    GroupBy(Vec<Text>),
    /// `Rate([counter, …])`: adds rates to the totals of groups.
    Rate(Vec<Text>),
    /// `Group([key])`: flows by tracking ID. Its parameters are ignored.
    Group(Vec<Param>),
    /// `MoreThan([count])`: groups of more than one flow. Its parameters are ignored.
    MoreThan(Vec<Param>),
    /// `Metrics([field])`: counters over time.
    Metrics(Option<Text>),
    /// `Aggregates([seconds])`: metrics added up in slots of equal length.
    Aggregates(Vec<Param>),
    /// `RawPackets()`: packets stored with flows.
    RawPackets(Vec<Param>),
    /// `BPF(filter)`: packets that match a capture filter.
    Bpf(Vec<Param>),
    /// `Sockets()`: sockets of processes.
    Sockets(Vec<Param>),
    /// `NextHop(address)`: next hop of each node for a destination address.
    NextHop(Text),
    /// `PathTo(address)`, `PathTo(id)`, `PathTo(Metadata(…))`: path of a packet to an address or a
    /// node.
    PathTo(Param),
    /// `Workflow(name, argument, …)`: runs a stored workflow.
    Workflow(Text, Vec<Param>),
}

/// Direction and kind of elements of a step that follows edges.
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

/// Step that collects the nodes up to a number of edges away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hierarchy {
    /// From parents to children.
    Descendants,
    /// From children to parents.
    Ascendants,
    /// In both directions.
    Neighbors,
}

/// Step from flows to the nodes they belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlowNodes {
    /// The node that each flow was captured on.
    Hops,
    /// The node that each flow was captured on, and the owners of its link-layer addresses.
    Nodes,
    /// The node that each flow was captured on; also written `Node`.
    CaptureNode,
}

/// Parameter of a step or a predicate.
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
    /// `Metadata(key, value, …)`: pairs of a key and a value.
    Metadata(Vec<(Text, Self)>),
    /// A predicate with its parameters.
    Predicate(Predicate, Vec<Self>),
}

/// Predicate, which can be used wherever a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Predicate {
    /// The key is present and its value differs.
    Ne,
    /// The value differs, or the key is absent.
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
    /// Between two bounds, the first included and the second excluded.
    Between,
    /// Equal to one of the values.
    Within,
    /// Equal to none of the values.
    Without,
    /// The entire string matches a regular expression.
    Regex,
    /// An address inside an IPv4 network.
    Ipv4Range,
    /// An address inside an IPv6 network.
    Ipv6Range,
}

impl Walk {
    /// Returns whether the step produces edges.
    #[must_use]
    pub const fn gives_edges(self) -> bool {
        matches!(self, Self::OutE | Self::InE | Self::BothE)
    }

    /// Returns whether the step starts from edges.
    #[must_use]
    pub const fn takes_edges(self) -> bool {
        matches!(self, Self::OutV | Self::InV | Self::BothV)
    }

    /// Returns the name as written in a query.
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
    /// Returns the name as written in a query.
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
    /// Returns the name as written in a query.
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
    /// Returns the name as written in a query.
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
            Self::Ipv6Range => "Ipv6Range",
        }
    }
}

impl Step {
    /// Returns the name as written in a query.
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
            Self::Changes(_) => "Changes",
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
            Self::Qualified => "Qualified",
            Self::As(_) => "As",
            Self::Select(_) => "Select",
            Self::SubGraph(_) => "SubGraph",
            Self::ShortestPathTo(..) => "ShortestPathTo",
            Self::Hierarchy(hierarchy, ..) => hierarchy.name(),
            Self::Flows(_) => "Flows",
            Self::FlowNodes(nodes, _) => nodes.name(),
            Self::GroupBy(_) => "GroupBy",
            Self::Rate(_) => "Rate",
            Self::Group(_) => "Group",
            Self::MoreThan(_) => "MoreThan",
            Self::Metrics(_) => "Metrics",
            Self::Aggregates(_) => "Aggregates",
            Self::RawPackets(_) => "RawPackets",
            Self::Bpf(_) => "BPF",
            Self::Sockets(_) => "Sockets",
            Self::NextHop(_) => "NextHop",
            Self::PathTo(_) => "PathTo",
            Self::Workflow(..) => "Workflow",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::G => f.write_str(name),
            Self::Count | Self::Qualified => write!(f, "{name}()"),
            Self::V(text) | Self::E(text) | Self::Metrics(text) => {
                call(f, name, text.iter().map(Quoted))
            }
            Self::HasKey(text)
            | Self::HasNot(text)
            | Self::Values(text)
            | Self::As(text)
            | Self::NextHop(text) => call(f, name, [Quoted(text)]),
            Self::Dedup(keys) | Self::ValueMap(keys) | Self::GroupBy(keys) | Self::Rate(keys) => {
                call(f, name, keys.iter().map(Quoted))
            }
            Self::At(params)
            | Self::Changes(params)
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
            Self::PathTo(target) => call(f, name, [target]),
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
            // The lexer knows no exponent, and a number without a dot parses as an integer.
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

/// A string between quotes. The language cannot express a string that contains a quote.
struct Quoted<'a>(&'a Text);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0)
    }
}

/// Writes `name(param, …)`.
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
