//! Steps on flows and on data derived from them: groups, packets, metrics, and sockets.

use super::Traversal;
use super::conditions::Only;
use super::markers;
use crate::gremlin::ast::{FlowNodes, Param, Step, Walk};
use crate::value::Text;

/// Deduplication of flows.
///
/// Filters, sorting, deduplication, and one page are always applied in this order, even if they are
/// written in another order.
///
/// ```
/// use skylib::Traversal;
/// let f = || Traversal::new().flows();
/// assert_eq!(f().dedup().to_string(), "G.Flows().Dedup()");
/// assert_eq!(f().dedup_by("Network.A").to_string(), "G.Flows().Dedup('Network.A')");
/// ```
impl<S> Traversal<markers::Flows, S> {
    /// Selects one flow for each `TrackingID` (`Dedup()`).
    pub fn dedup(self) -> Self {
        self.then(Step::Dedup(Vec::new()))
    }

    /// Selects one flow for each value of a field (`Dedup(key)`).
    pub fn dedup_by(self, key: impl Into<Text>) -> Self {
        self.then(Step::Dedup(vec![key.into()]))
    }
}

/// Values, nodes, groups, metrics, and packets of flows.
///
/// ```
/// use skylib::Traversal;
/// let f = || Traversal::new().flows();
/// for (traversal, text) in [
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
    /// Lists the value of a field of each flow (`Values(key)`). Running the query fails if a flow
    /// lacks the field.
    pub fn values(self, key: impl Into<Text>) -> Traversal<markers::Values, S> {
        self.then(Step::Values(key.into()))
    }

    /// Lists the names of all fields (`Keys()`).
    pub fn keys(self) -> Traversal<markers::Values, S> {
        self.then(Step::Keys(Vec::new()))
    }

    /// Adds up a field of `Metric` or `LastUpdateMetric` (`Sum(key)`).
    pub fn sum(self, key: impl Into<Text>) -> Traversal<markers::Number, S> {
        self.then(Step::Sum(vec![Param::Text(key.into())]))
    }

    /// Moves to the node that owns the link-layer address of end B of each flow (`Out()`).
    pub fn out(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::Out, Vec::new()))
    }

    /// Moves to the nodes at end B that match (`Out(key, value, …)`).
    pub fn out_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::Out, only.into().into_params()))
    }

    /// Moves to the node that owns the link-layer address of end A of each flow (`In()`).
    pub fn in_(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::In, Vec::new()))
    }

    /// Moves to the nodes at end A that match (`In(key, value, …)`).
    pub fn in_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::In, only.into().into_params()))
    }

    /// Moves to the nodes that own the link-layer addresses of both ends (`Both()`).
    pub fn both(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::Both, Vec::new()))
    }

    /// Moves to the nodes at both ends that match (`Both(key, value, …)`).
    pub fn both_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::Both, only.into().into_params()))
    }

    /// Moves to the node that each flow was captured on and the nodes at its ends (`Nodes()`).
    pub fn nodes(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::FlowNodes(FlowNodes::Nodes, Vec::new()))
    }

    /// Moves to the capture nodes and end nodes that match (`Nodes(key, value, …)`).
    pub fn nodes_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        self.then(Step::FlowNodes(FlowNodes::Nodes, only.into().into_params()))
    }

    /// Moves to the node that each flow was captured on (`Hops()`).
    pub fn hops(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::FlowNodes(FlowNodes::Hops, Vec::new()))
    }

    /// Moves to the capture nodes that match (`Hops(key, value, …)`).
    pub fn hops_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        self.then(Step::FlowNodes(FlowNodes::Hops, only.into().into_params()))
    }

    /// Moves to the node that each flow was captured on (`CaptureNode()`).
    pub fn capture_node(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::FlowNodes(FlowNodes::CaptureNode, Vec::new()))
    }

    /// Moves to the capture nodes that match (`CaptureNode(key, value, …)`).
    pub fn capture_node_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        let only = only.into().into_params();
        self.then(Step::FlowNodes(FlowNodes::CaptureNode, only))
    }

    /// Groups the flows by `TrackingID` (`Group()`).
    pub fn group(self) -> Traversal<markers::Groups, S> {
        self.then(Step::Group(Vec::new()))
    }

    /// Groups the flows by the values of keys (`GroupBy(key, …)`). Keys are fields, networks such
    /// as `Network.A/24`, layers such as `Network` for either end, `Port`, or nodes such as
    /// `Namespace.A`.
    pub fn group_by<T: Into<Text>>(
        self,
        keys: impl IntoIterator<Item = T>,
    ) -> Traversal<markers::Totals, S> {
        self.then(Step::GroupBy(keys.into_iter().map(Into::into).collect()))
    }

    /// Moves to the counters of the flows (`Metrics()`).
    pub fn metrics(self) -> Traversal<markers::Metrics, S> {
        self.then(Step::Metrics(None))
    }

    /// Moves to the raw packets stored with the flows (`RawPackets()`).
    pub fn raw_packets(self) -> Traversal<markers::RawPackets, S> {
        self.then(Step::RawPackets(Vec::new()))
    }

    /// Moves to the sockets of the connections to which the flows belong (`Sockets()`).
    pub fn sockets(self) -> Traversal<markers::Sockets, S> {
        self.then(Step::Sockets(Vec::new()))
    }
}

/// Query steps that can be applied to groups of flows.
impl<S> Traversal<markers::Groups, S> {
    /// Selects the groups of more than one flow (`MoreThan()`).
    pub fn more_than_one(self) -> Self {
        self.then(Step::MoreThan(Vec::new()))
    }
}

/// Totals of groups of flows.
///
/// ```
/// use skylib::Traversal;
/// let pairs = || Traversal::new().flows().group_by(["Network.A", "Network.B"]);
/// for (traversal, text) in [
///     (pairs().sum("Bytes").limit(10), ".Sum('Bytes').Limit(10)"),
///     (pairs().rate("ABBytes"), ".Rate('ABBytes')"),
///     (pairs().sort_by("Network.A"), ".Sort('Network.A')"),
///     (pairs().has("Connections", 2), ".Has('Connections', 2)"),
/// ] {
///     let text = format!("G.Flows().GroupBy('Network.A', 'Network.B'){text}");
///     assert_eq!(traversal.to_string(), text);
/// }
/// ```
impl<S> Traversal<markers::Totals, S> {
    /// Adds up a number of the flows of each group (`Sum(key)`).
    pub fn sum(self, key: impl Into<Text>) -> Self {
        self.then(Step::Sum(vec![Param::Text(key.into())]))
    }

    /// Adds up the rates of a counter in the last update interval, per second (`Rate(counter)`).
    pub fn rate(self, counter: impl Into<Text>) -> Self {
        self.then(Step::Rate(vec![counter.into()]))
    }
}

/// Query steps that can be applied to raw packets.
impl<S> Traversal<markers::RawPackets, S> {
    /// Selects the packets that match a BPF capture filter (`BPF(filter)`).
    pub fn bpf(self, filter: impl Into<Text>) -> Self {
        self.then(Step::Bpf(vec![Param::Text(filter.into())]))
    }
}

/// Query steps that can be applied to metrics.
///
/// ```
/// use skylib::Traversal;
/// let m = || Traversal::new().v().metrics();
/// for (traversal, text) in [
///     (m().aggregates().to_string(), "G.V().Metrics().Aggregates()"),
///     (m().aggregates_of(10).to_string(), "G.V().Metrics().Aggregates(10)"),
///     (m().sum().to_string(), "G.V().Metrics().Sum()"),
///     (m().sum_of("RxBytes").to_string(), "G.V().Metrics().Sum('RxBytes')"),
///     (m().keys().to_string(), "G.V().Metrics().Keys()"),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<S> Traversal<markers::Metrics, S> {
    /// Adds up all metrics in slots of 30 seconds (`Aggregates()`).
    pub fn aggregates(self) -> Self {
        self.then(Step::Aggregates(Vec::new()))
    }

    /// Adds up all metrics in slots of the given length (`Aggregates(seconds)`).
    pub fn aggregates_of(self, seconds: u32) -> Self {
        self.then(Step::Aggregates(vec![seconds.into()]))
    }

    /// Adds up every counter into one metric (`Sum()`).
    pub fn sum(self) -> Traversal<markers::Number, S> {
        self.then(Step::Sum(Vec::new()))
    }

    /// Adds up one counter (`Sum(key)`).
    pub fn sum_of(self, key: impl Into<Text>) -> Traversal<markers::Number, S> {
        self.then(Step::Sum(vec![Param::Text(key.into())]))
    }

    /// Lists the names of the counters (`Keys()`).
    pub fn keys(self) -> Traversal<markers::Values, S> {
        self.then(Step::Keys(Vec::new()))
    }
}

/// Values of sockets.
///
/// ```
/// use skylib::Traversal;
/// let sockets = Traversal::new().v().sockets();
/// assert_eq!(sockets.values("Process").to_string(), "G.V().Sockets().Values('Process')");
/// ```
impl<S> Traversal<markers::Sockets, S> {
    /// Lists the value of a field of each socket (`Values(key)`).
    pub fn values(self, key: impl Into<Text>) -> Traversal<markers::Values, S> {
        self.then(Step::Values(key.into()))
    }
}
