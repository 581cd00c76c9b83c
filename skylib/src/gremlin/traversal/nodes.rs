//! Steps of nodes.

use std::net::IpAddr;

use super::Traversal;
use super::conditions::{Conditions, Only};
use super::markers;
use crate::flow::SortOrder;
use crate::gremlin::ast::{Hierarchy, Param, Step, Walk};
use crate::value::Text;

/// Walks from nodes.
///
/// ```
/// use skylib::Traversal;
/// let v = || Traversal::new().v();
/// for (traversal, text) in [
///     (v().out().to_string(), "G.V().Out()"),
///     (v().out_where(("Type", "veth")).to_string(), "G.V().Out('Type', 'veth')"),
///     (v().in_().to_string(), "G.V().In()"),
///     (v().in_where(("Type", "veth")).to_string(), "G.V().In('Type', 'veth')"),
///     (v().both().to_string(), "G.V().Both()"),
///     (v().both_where("MAC").to_string(), "G.V().Both('MAC')"),
///     (v().out_e().to_string(), "G.V().OutE()"),
///     (v().out_e_where(("RelationType", "layer2")).to_string(), "G.V().OutE('RelationType', 'layer2')"),
///     (v().in_e().to_string(), "G.V().InE()"),
///     (v().in_e_where("RelationType").to_string(), "G.V().InE('RelationType')"),
///     (v().both_e().to_string(), "G.V().BothE()"),
///     (v().both_e_where("RelationType").to_string(), "G.V().BothE('RelationType')"),
///     (v().descendants().to_string(), "G.V().Descendants()"),
///     (v().descendants_within(3).to_string(), "G.V().Descendants(3)"),
///     (v().ascendants().to_string(), "G.V().Ascendants()"),
///     (v().ascendants_within(0).to_string(), "G.V().Ascendants(0)"),
///     (v().neighbors().to_string(), "G.V().Neighbors()"),
///     (v().neighbors_within(2).to_string(), "G.V().Neighbors(2)"),
///     (
///         v().descendants_over(("RelationType", "layer2"), 2).to_string(),
///         "G.V().Descendants('RelationType', 'layer2', 2)",
///     ),
///     (
///         v().ascendants_over(("RelationType", "layer2"), 2).to_string(),
///         "G.V().Ascendants('RelationType', 'layer2', 2)",
///     ),
///     (
///         v().neighbors_over(("RelationType", "layer2"), 2).to_string(),
///         "G.V().Neighbors('RelationType', 'layer2', 2)",
///     ),
///     (
///         v().shortest_path_to(("Name", "b")).to_string(),
///         "G.V().ShortestPathTo(Metadata('Name', 'b'))",
///     ),
///     (
///         v().shortest_path_over(("Name", "b"), ("RelationType", "layer2")).to_string(),
///         "G.V().ShortestPathTo(Metadata('Name', 'b'), Metadata('RelationType', 'layer2'))",
///     ),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<S> Traversal<markers::Nodes, S> {
    /// `Out()`: the child ends of the nodes' edges, one for each edge.
    pub fn out(self) -> Self {
        self.then(Step::Walk(Walk::Out, Vec::new()))
    }

    /// `Out(key, value, …)`: the children that pass.
    pub fn out_where(self, only: impl Into<Only>) -> Self {
        self.then(Step::Walk(Walk::Out, only.into().into_params()))
    }

    /// `In()`: the parent ends of the nodes' edges, one for each edge.
    pub fn in_(self) -> Self {
        self.then(Step::Walk(Walk::In, Vec::new()))
    }

    /// `In(key, value, …)`: the parents that pass.
    pub fn in_where(self, only: impl Into<Only>) -> Self {
        self.then(Step::Walk(Walk::In, only.into().into_params()))
    }

    /// `Both()`: the other ends of the nodes' edges, one for each edge.
    pub fn both(self) -> Self {
        self.then(Step::Walk(Walk::Both, Vec::new()))
    }

    /// `Both(key, value, …)`: the other ends that pass.
    pub fn both_where(self, only: impl Into<Only>) -> Self {
        self.then(Step::Walk(Walk::Both, only.into().into_params()))
    }

    /// `OutE()`: the edges that lead to children.
    pub fn out_e(self) -> Traversal<markers::Edges, S> {
        self.then(Step::Walk(Walk::OutE, Vec::new()))
    }

    /// `OutE(key, value, …)`: those of them that pass.
    pub fn out_e_where(self, only: impl Into<Only>) -> Traversal<markers::Edges, S> {
        self.then(Step::Walk(Walk::OutE, only.into().into_params()))
    }

    /// `InE()`: the edges that come from parents.
    pub fn in_e(self) -> Traversal<markers::Edges, S> {
        self.then(Step::Walk(Walk::InE, Vec::new()))
    }

    /// `InE(key, value, …)`: those of them that pass.
    pub fn in_e_where(self, only: impl Into<Only>) -> Traversal<markers::Edges, S> {
        self.then(Step::Walk(Walk::InE, only.into().into_params()))
    }

    /// `BothE()`: all edges of the nodes.
    pub fn both_e(self) -> Traversal<markers::Edges, S> {
        self.then(Step::Walk(Walk::BothE, Vec::new()))
    }

    /// `BothE(key, value, …)`: those of them that pass.
    pub fn both_e_where(self, only: impl Into<Only>) -> Traversal<markers::Edges, S> {
        self.then(Step::Walk(Walk::BothE, only.into().into_params()))
    }

    /// `Descendants()`: the nodes and what they own.
    pub fn descendants(self) -> Self {
        self.then(Step::Hierarchy(Hierarchy::Descendants, Vec::new(), None))
    }

    /// `Descendants(depth)`: the nodes and what they own, so many edges deep; 0: however deep.
    pub fn descendants_within(self, depth: u32) -> Self {
        self.then(within(Hierarchy::Descendants, Vec::new(), depth))
    }

    /// `Descendants(key, value, …, depth)`: over edges that satisfy one of the conditions.
    pub fn descendants_over(self, edges: impl Into<Conditions>, depth: u32) -> Self {
        let edges = edges.into().into_params();
        self.then(within(Hierarchy::Descendants, edges, depth))
    }

    /// `Ascendants()`: the nodes and their owners.
    pub fn ascendants(self) -> Self {
        self.then(Step::Hierarchy(Hierarchy::Ascendants, Vec::new(), None))
    }

    /// `Ascendants(depth)`: the nodes and their owners, so many edges up; 0: however many.
    pub fn ascendants_within(self, depth: u32) -> Self {
        self.then(within(Hierarchy::Ascendants, Vec::new(), depth))
    }

    /// `Ascendants(key, value, …, depth)`: over edges that satisfy one of the conditions.
    pub fn ascendants_over(self, edges: impl Into<Conditions>, depth: u32) -> Self {
        let edges = edges.into().into_params();
        self.then(within(Hierarchy::Ascendants, edges, depth))
    }

    /// `Neighbors()`: the nodes, what they own and their owners.
    pub fn neighbors(self) -> Self {
        self.then(Step::Hierarchy(Hierarchy::Neighbors, Vec::new(), None))
    }

    /// `Neighbors(depth)`: the nodes and those around them, so many edges away; 0: the nodes alone.
    pub fn neighbors_within(self, depth: u32) -> Self {
        self.then(within(Hierarchy::Neighbors, Vec::new(), depth))
    }

    /// `Neighbors(key, value, …, depth)`: over edges that satisfy one of the conditions.
    pub fn neighbors_over(self, edges: impl Into<Conditions>, depth: u32) -> Self {
        let edges = edges.into().into_params();
        self.then(within(Hierarchy::Neighbors, edges, depth))
    }

    /// `ShortestPathTo(Metadata(…))`: from each node to the nearest that satisfies all conditions,
    /// which are plain values.
    pub fn shortest_path_to(self, target: impl Into<Conditions>) -> Traversal<markers::Paths, S> {
        self.then(Step::ShortestPathTo(target.into().into_metadata(), None))
    }

    /// `ShortestPathTo(Metadata(…), Metadata(…))`: over edges that satisfy conditions as well.
    pub fn shortest_path_over(
        self,
        target: impl Into<Conditions>,
        edges: impl Into<Conditions>,
    ) -> Traversal<markers::Paths, S> {
        let edges = edges.into().into_metadata();
        self.then(Step::ShortestPathTo(
            target.into().into_metadata(),
            Some(edges),
        ))
    }
}

fn within(hierarchy: Hierarchy, edges: Vec<Param>, depth: u32) -> Step {
    Step::Hierarchy(hierarchy, edges, Some(depth.into()))
}

/// What else nodes can tell.
///
/// ```
/// use skylib::Traversal;
/// let v = || Traversal::new().v();
/// for (traversal, text) in [
///     (v().sort().to_string(), "G.V().Sort()"),
///     (v().sort_by("Name").to_string(), "G.V().Sort('Name')"),
///     (v().sort_desc("MTU").to_string(), "G.V().Sort(DESC, 'MTU')"),
///     (v().values("Name").to_string(), "G.V().Values('Name')"),
///     (v().value_map(["Name", "MTU"]).to_string(), "G.V().ValueMap('Name', 'MTU')"),
///     (v().keys().to_string(), "G.V().Keys()"),
///     (v().sum("MTU").to_string(), "G.V().Sum('MTU')"),
///     (v().mark("a").both().select(["a"]).to_string(), "G.V().As('a').Both().Select('a')"),
///     (v().sub_graph().to_string(), "G.V().SubGraph()"),
///     (
///         v().sub_graph_where(("RelationType", "layer2")).to_string(),
///         "G.V().SubGraph('RelationType', 'layer2')",
///     ),
///     (v().flows().to_string(), "G.V().Flows()"),
///     (v().flows_where(("Transport", 80)).to_string(), "G.V().Flows('Transport', 80)"),
///     (v().metrics().to_string(), "G.V().Metrics()"),
///     (v().sflow_metrics().to_string(), "G.V().Metrics('SFlow')"),
///     (v().ovs_metrics().to_string(), "G.V().Metrics('Ovs')"),
///     (v().sockets().to_string(), "G.V().Sockets()"),
///     (v().next_hop([192, 0, 2, 1]).to_string(), "G.V().NextHop('192.0.2.1')"),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<S> Traversal<markers::Nodes, S> {
    /// `Sort()`: oldest first.
    pub fn sort(self) -> Self {
        self.then(Step::Sort(None, None))
    }

    /// `Sort(key)`: smallest value first.
    pub fn sort_by(self, key: impl Into<Text>) -> Self {
        self.then(Step::Sort(None, Some(key.into())))
    }

    /// `Sort(DESC, key)`: largest value first.
    pub fn sort_desc(self, key: impl Into<Text>) -> Self {
        self.then(Step::Sort(Some(SortOrder::Descending), Some(key.into())))
    }

    /// `Values(key)`: what each node holds at a key.
    pub fn values(self, key: impl Into<Text>) -> Traversal<markers::Values, S> {
        self.then(Step::Values(key.into()))
    }

    /// `ValueMap(key, …)`: what each node holds at some keys, as objects.
    pub fn value_map<T: Into<Text>>(
        self,
        keys: impl IntoIterator<Item = T>,
    ) -> Traversal<markers::Values, S> {
        self.then(Step::ValueMap(keys.into_iter().map(Into::into).collect()))
    }

    /// `Keys()`: the names of all keys.
    pub fn keys(self) -> Traversal<markers::Values, S> {
        self.then(Step::Keys(Vec::new()))
    }

    /// `Sum(key)`: what the nodes hold at a key, added up.
    pub fn sum(self, key: impl Into<Text>) -> Traversal<markers::Number, S> {
        self.then(Step::Sum(vec![Param::Text(key.into())]))
    }

    /// `As(name)`: remembers the nodes.
    pub fn mark(self, name: impl Into<Text>) -> Self {
        self.then(Step::As(name.into()))
    }

    /// `Select(name, …)`: the nodes remembered by these names.
    pub fn select<T: Into<Text>>(self, names: impl IntoIterator<Item = T>) -> Self {
        let names = names.into_iter().map(|name| Param::Text(name.into()));
        self.then(Step::Select(names.collect()))
    }

    /// `SubGraph()`: the nodes and all edges among them as a graph of their own.
    pub fn sub_graph(self) -> Traversal<markers::Graph, S> {
        self.then(Step::SubGraph(Vec::new()))
    }

    /// `SubGraph(key, value, …)`: the nodes and those edges among them that pass.
    pub fn sub_graph_where(self, edges: impl Into<Only>) -> Traversal<markers::Graph, S> {
        self.then(Step::SubGraph(edges.into().into_params()))
    }

    /// `Flows()`: the flows captured on the nodes.
    pub fn flows(self) -> Traversal<markers::Flows, S> {
        self.then(Step::Flows(Vec::new()))
    }

    /// `Flows(key, value, …)`: those of them that satisfy conditions.
    pub fn flows_where(self, conditions: impl Into<Conditions>) -> Traversal<markers::Flows, S> {
        self.then(Step::Flows(conditions.into().into_params()))
    }

    /// `Metrics()`: the counters of interfaces, since the update before the last.
    pub fn metrics(self) -> Traversal<markers::Metrics, S> {
        self.then(Step::Metrics(None))
    }

    /// `Metrics('SFlow')`: the counters that sFlow agents reported.
    pub fn sflow_metrics(self) -> Traversal<markers::Metrics, S> {
        self.then(Step::Metrics(Some("SFlow".into())))
    }

    /// `Metrics('Ovs')`: the counters of Open vSwitch.
    pub fn ovs_metrics(self) -> Traversal<markers::Metrics, S> {
        self.then(Step::Metrics(Some("Ovs".into())))
    }

    /// `Sockets()`: the connections of the nodes.
    pub fn sockets(self) -> Traversal<markers::Sockets, S> {
        self.then(Step::Sockets(Vec::new()))
    }

    /// `NextHop(address)`: where each node would send a packet for an address.
    pub fn next_hop(self, address: impl Into<IpAddr>) -> Traversal<markers::NextHops, S> {
        self.then(Step::NextHop(address.into().to_string().into()))
    }
}
