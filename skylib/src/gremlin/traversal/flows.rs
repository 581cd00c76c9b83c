//! Steps of flows, and of what comes of them: metrics, groups, packets, sockets.

use super::Traversal;
use super::conditions::{Conditions, Only};
use super::markers;
use crate::flow::SortOrder;
use crate::gremlin::ast::{FlowNodes, Param, Step, Walk};
use crate::value::Text;

/// Which flows: filters, order, deduplication and one page, in whichever order they are written,
/// act in this order.
///
/// ```
/// use skylib::Traversal;
/// use skylib::gremlin::Conditions;
/// let f = || Traversal::new().flows();
/// for (traversal, text) in [
///     (f().has("Application", "DNS").to_string(), "G.Flows().Has('Application', 'DNS')"),
///     (f().has_all(("Transport", 53)).to_string(), "G.Flows().Has('Transport', 53)"),
///     (
///         f().has_either(Conditions::of("Transport", 53).and("Transport", 853)).to_string(),
///         "G.Flows().HasEither('Transport', 53, 'Transport', 853)",
///     ),
///     (f().dedup().to_string(), "G.Flows().Dedup()"),
///     (f().dedup_by("Network.A").to_string(), "G.Flows().Dedup('Network.A')"),
///     (f().sort().to_string(), "G.Flows().Sort()"),
///     (f().sort_by("Start").to_string(), "G.Flows().Sort('Start')"),
///     (f().sort_desc("Metric.ABBytes").to_string(), "G.Flows().Sort(DESC, 'Metric.ABBytes')"),
///     (f().limit(10).to_string(), "G.Flows().Limit(10)"),
///     (f().range(10, 20).to_string(), "G.Flows().Range(10, 20)"),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<S> Traversal<markers::Flows, S> {
    /// `Has(key, value)`: a field is equal to a value, or satisfies a predicate.
    pub fn has(self, key: impl Into<Text>, value: impl Into<Param>) -> Self {
        self.has_all(Conditions::of(key, value))
    }

    /// `Has(key, value, …)`: all conditions hold.
    pub fn has_all(self, conditions: impl Into<Conditions>) -> Self {
        self.then(Step::Has(conditions.into().into_params()))
    }

    /// `HasEither(key, value, …)`: one of the conditions holds.
    pub fn has_either(self, conditions: impl Into<Conditions>) -> Self {
        self.then(Step::HasEither(conditions.into().into_params()))
    }

    /// `Dedup()`: one flow of each `TrackingID`.
    pub fn dedup(self) -> Self {
        self.then(Step::Dedup(Vec::new()))
    }

    /// `Dedup(key)`: one flow of each value of a field.
    pub fn dedup_by(self, key: impl Into<Text>) -> Self {
        self.then(Step::Dedup(vec![key.into()]))
    }

    /// `Sort()`: by the time of the last packet.
    pub fn sort(self) -> Self {
        self.then(Step::Sort(None, None))
    }

    /// `Sort(key)`: smallest first.
    pub fn sort_by(self, key: impl Into<Text>) -> Self {
        self.then(Step::Sort(None, Some(key.into())))
    }

    /// `Sort(DESC, key)`: largest first.
    pub fn sort_desc(self, key: impl Into<Text>) -> Self {
        self.then(Step::Sort(Some(SortOrder::Descending), Some(key.into())))
    }

    /// `Limit(count)`: the first so many; a query has one page of flows.
    pub fn limit(self, count: u32) -> Self {
        self.then(Step::Limit(count.into()))
    }

    /// `Range(from, to)`: from one position up to another, which is left out.
    pub fn range(self, from: u32, to: u32) -> Self {
        self.then(Step::Range(from.into(), to.into()))
    }
}

/// What flows tell.
///
/// ```
/// use skylib::Traversal;
/// let f = || Traversal::new().flows();
/// for (traversal, text) in [
///     (f().count().to_string(), "G.Flows().Count()"),
///     (f().values("Network.A").to_string(), "G.Flows().Values('Network.A')"),
///     (f().keys().to_string(), "G.Flows().Keys()"),
///     (f().sum("Metric.ABBytes").to_string(), "G.Flows().Sum('Metric.ABBytes')"),
///     (f().out().to_string(), "G.Flows().Out()"),
///     (f().out_where("State").to_string(), "G.Flows().Out('State')"),
///     (f().in_().to_string(), "G.Flows().In()"),
///     (f().in_where("State").to_string(), "G.Flows().In('State')"),
///     (f().both().to_string(), "G.Flows().Both()"),
///     (f().both_where("State").to_string(), "G.Flows().Both('State')"),
///     (f().nodes().to_string(), "G.Flows().Nodes()"),
///     (f().nodes_where("State").to_string(), "G.Flows().Nodes('State')"),
///     (f().hops().to_string(), "G.Flows().Hops()"),
///     (f().hops_where("State").to_string(), "G.Flows().Hops('State')"),
///     (f().capture_node().to_string(), "G.Flows().CaptureNode()"),
///     (f().capture_node_where("State").to_string(), "G.Flows().CaptureNode('State')"),
///     (f().group().more_than_one().to_string(), "G.Flows().Group().MoreThan()"),
///     (f().metrics().to_string(), "G.Flows().Metrics()"),
///     (f().raw_packets().to_string(), "G.Flows().RawPackets()"),
///     (f().raw_packets().bpf("udp").to_string(), "G.Flows().RawPackets().BPF('udp')"),
///     (f().sockets().to_string(), "G.Flows().Sockets()"),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<S> Traversal<markers::Flows, S> {
    /// `Count()`: how many.
    pub fn count(self) -> Traversal<markers::Number, S> {
        self.then(Step::Count)
    }

    /// `Values(key)`: a field of each flow; running fails if one lacks it.
    pub fn values(self, key: impl Into<Text>) -> Traversal<markers::Values, S> {
        self.then(Step::Values(key.into()))
    }

    /// `Keys()`: the names of all fields.
    pub fn keys(self) -> Traversal<markers::Values, S> {
        self.then(Step::Keys(Vec::new()))
    }

    /// `Sum(key)`: a field of `Metric` or `LastUpdateMetric`, added up.
    pub fn sum(self, key: impl Into<Text>) -> Traversal<markers::Number, S> {
        self.then(Step::Sum(vec![Param::Text(key.into())]))
    }

    /// `Out()`: the node at the B end of each flow's link layer.
    pub fn out(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::Out, Vec::new()))
    }

    /// `Out(key, value, …)`: those of them that pass.
    pub fn out_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::Out, only.into().into_params()))
    }

    /// `In()`: the node at the A end of each flow's link layer.
    pub fn in_(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::In, Vec::new()))
    }

    /// `In(key, value, …)`: those of them that pass.
    pub fn in_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::In, only.into().into_params()))
    }

    /// `Both()`: the nodes at both ends.
    pub fn both(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::Both, Vec::new()))
    }

    /// `Both(key, value, …)`: those of them that pass.
    pub fn both_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::Both, only.into().into_params()))
    }

    /// `Nodes()`: the node each flow was captured on, and those at its ends.
    pub fn nodes(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::FlowNodes(FlowNodes::Nodes, Vec::new()))
    }

    /// `Nodes(key, value, …)`: those of them that pass.
    pub fn nodes_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        self.then(Step::FlowNodes(FlowNodes::Nodes, only.into().into_params()))
    }

    /// `Hops()`: the node each flow was captured on.
    pub fn hops(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::FlowNodes(FlowNodes::Hops, Vec::new()))
    }

    /// `Hops(key, value, …)`: those of them that pass.
    pub fn hops_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        self.then(Step::FlowNodes(FlowNodes::Hops, only.into().into_params()))
    }

    /// `CaptureNode()`: the node each flow was captured on.
    pub fn capture_node(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::FlowNodes(FlowNodes::CaptureNode, Vec::new()))
    }

    /// `CaptureNode(key, value, …)`: those of them that pass.
    pub fn capture_node_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        let only = only.into().into_params();
        self.then(Step::FlowNodes(FlowNodes::CaptureNode, only))
    }

    /// `Group()`: flows by `TrackingID`.
    pub fn group(self) -> Traversal<markers::Groups, S> {
        self.then(Step::Group(Vec::new()))
    }

    /// `Metrics()`: the counters of the flows.
    pub fn metrics(self) -> Traversal<markers::Metrics, S> {
        self.then(Step::Metrics(None))
    }

    /// `RawPackets()`: the packets kept with the flows.
    pub fn raw_packets(self) -> Traversal<markers::RawPackets, S> {
        self.then(Step::RawPackets(Vec::new()))
    }

    /// `Sockets()`: the connections that the flows belong to.
    pub fn sockets(self) -> Traversal<markers::Sockets, S> {
        self.then(Step::Sockets(Vec::new()))
    }
}

impl<S> Traversal<markers::Groups, S> {
    /// `MoreThan()`: the groups of more than one flow.
    pub fn more_than_one(self) -> Self {
        self.then(Step::MoreThan(Vec::new()))
    }
}

impl<S> Traversal<markers::RawPackets, S> {
    /// `BPF(filter)`: the packets that a capture filter lets through.
    pub fn bpf(self, filter: impl Into<Text>) -> Self {
        self.then(Step::Bpf(vec![Param::Text(filter.into())]))
    }
}

/// From metrics.
///
/// ```
/// use skylib::Traversal;
/// let m = || Traversal::new().v().metrics();
/// for (traversal, text) in [
///     (m().aggregates().to_string(), "G.V().Metrics().Aggregates()"),
///     (m().aggregates_of(10).to_string(), "G.V().Metrics().Aggregates(10)"),
///     (m().sum().to_string(), "G.V().Metrics().Sum()"),
///     (m().sum_of("RxBytes").to_string(), "G.V().Metrics().Sum('RxBytes')"),
///     (m().count().to_string(), "G.V().Metrics().Count()"),
///     (m().keys().to_string(), "G.V().Metrics().Keys()"),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<S> Traversal<markers::Metrics, S> {
    /// `Aggregates()`: added up in slots of 30 seconds.
    pub fn aggregates(self) -> Self {
        self.then(Step::Aggregates(Vec::new()))
    }

    /// `Aggregates(seconds)`: added up in slots of so many seconds.
    pub fn aggregates_of(self, seconds: u32) -> Self {
        self.then(Step::Aggregates(vec![seconds.into()]))
    }

    /// `Sum()`: every counter added up, as one metric.
    pub fn sum(self) -> Traversal<markers::Number, S> {
        self.then(Step::Sum(Vec::new()))
    }

    /// `Sum(key)`: one counter added up.
    pub fn sum_of(self, key: impl Into<Text>) -> Traversal<markers::Number, S> {
        self.then(Step::Sum(vec![Param::Text(key.into())]))
    }

    /// `Count()`: how many nodes or flows have metrics.
    pub fn count(self) -> Traversal<markers::Number, S> {
        self.then(Step::Count)
    }

    /// `Keys()`: the names of the counters.
    pub fn keys(self) -> Traversal<markers::Values, S> {
        self.then(Step::Keys(Vec::new()))
    }
}

/// From sockets.
///
/// ```
/// use skylib::Traversal;
/// use skylib::gremlin::Conditions;
/// let s = || Traversal::new().v().sockets();
/// let either = Conditions::of("LocalPort", 22).and("RemotePort", 22);
/// for (traversal, text) in [
///     (s().has("LocalPort", 22).to_string(), "G.V().Sockets().Has('LocalPort', 22)"),
///     (s().has_all(("LocalPort", 22)).to_string(), "G.V().Sockets().Has('LocalPort', 22)"),
///     (
///         s().has_either(either).to_string(),
///         "G.V().Sockets().HasEither('LocalPort', 22, 'RemotePort', 22)",
///     ),
///     (s().values("Process").to_string(), "G.V().Sockets().Values('Process')"),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<S> Traversal<markers::Sockets, S> {
    /// `Has(key, value)`: the connections in which a field satisfies a condition.
    pub fn has(self, key: impl Into<Text>, value: impl Into<Param>) -> Self {
        self.has_all(Conditions::of(key, value))
    }

    /// `Has(key, value, …)`: the connections that satisfy all conditions.
    pub fn has_all(self, conditions: impl Into<Conditions>) -> Self {
        self.then(Step::Has(conditions.into().into_params()))
    }

    /// `HasEither(key, value, …)`: the connections that satisfy one of the conditions.
    pub fn has_either(self, conditions: impl Into<Conditions>) -> Self {
        self.then(Step::HasEither(conditions.into().into_params()))
    }

    /// `Values(key)`: a field of each connection.
    pub fn values(self, key: impl Into<Text>) -> Traversal<markers::Values, S> {
        self.then(Step::Values(key.into()))
    }
}
