//! Query steps that can be applied to nodes.

use std::net::IpAddr;

use super::Traversal;
use super::conditions::{Conditions, Only};
use super::markers;
use crate::gremlin::ast::{Hierarchy, Param, Step, Walk};
use crate::value::Text;

/// Walks from nodes to nodes and edges.
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
    /// Walks to the children of the nodes, one result per edge (`Out()`).
    pub fn out(self) -> Self {
        self.then(Step::Walk(Walk::Out, Vec::new()))
    }

    /// Walks to the children that match (`Out(key, value, …)`).
    pub fn out_where(self, only: impl Into<Only>) -> Self {
        self.then(Step::Walk(Walk::Out, only.into().into_params()))
    }

    /// Walks to the parents of the nodes, one result per edge (`In()`).
    pub fn in_(self) -> Self {
        self.then(Step::Walk(Walk::In, Vec::new()))
    }

    /// Walks to the parents that match (`In(key, value, …)`).
    pub fn in_where(self, only: impl Into<Only>) -> Self {
        self.then(Step::Walk(Walk::In, only.into().into_params()))
    }

    /// Walks to the children and parents of the nodes, one result per edge (`Both()`).
    pub fn both(self) -> Self {
        self.then(Step::Walk(Walk::Both, Vec::new()))
    }

    /// Walks to the children and parents that match (`Both(key, value, …)`).
    pub fn both_where(self, only: impl Into<Only>) -> Self {
        self.then(Step::Walk(Walk::Both, only.into().into_params()))
    }

    /// Walks to the edges that lead to children (`OutE()`).
    pub fn out_e(self) -> Traversal<markers::Edges, S> {
        self.then(Step::Walk(Walk::OutE, Vec::new()))
    }

    /// Walks to the edges to children that match (`OutE(key, value, …)`).
    pub fn out_e_where(self, only: impl Into<Only>) -> Traversal<markers::Edges, S> {
        self.then(Step::Walk(Walk::OutE, only.into().into_params()))
    }

    /// Walks to the edges that lead from parents (`InE()`).
    pub fn in_e(self) -> Traversal<markers::Edges, S> {
        self.then(Step::Walk(Walk::InE, Vec::new()))
    }

    /// Walks to the edges from parents that match (`InE(key, value, …)`).
    pub fn in_e_where(self, only: impl Into<Only>) -> Traversal<markers::Edges, S> {
        self.then(Step::Walk(Walk::InE, only.into().into_params()))
    }

    /// Walks to all edges of the nodes (`BothE()`).
    pub fn both_e(self) -> Traversal<markers::Edges, S> {
        self.then(Step::Walk(Walk::BothE, Vec::new()))
    }

    /// Walks to the edges that match (`BothE(key, value, …)`).
    pub fn both_e_where(self, only: impl Into<Only>) -> Traversal<markers::Edges, S> {
        self.then(Step::Walk(Walk::BothE, only.into().into_params()))
    }

    /// Adds the nodes that the nodes own, one `ownership` edge away (`Descendants()`).
    pub fn descendants(self) -> Self {
        self.then(Step::Hierarchy(Hierarchy::Descendants, Vec::new(), None))
    }

    /// Adds the nodes that the nodes own, up to `depth` edges away; 0 means no limit
    /// (`Descendants(depth)`).
    pub fn descendants_within(self, depth: u32) -> Self {
        self.then(within(Hierarchy::Descendants, Vec::new(), depth))
    }

    /// Adds the nodes reached by following edges to children that satisfy one of the conditions, up
    /// to `depth` edges away; 0 means no limit (`Descendants(key, value, …, depth)`).
    pub fn descendants_over(self, edges: impl Into<Conditions>, depth: u32) -> Self {
        let edges = edges.into().into_params();
        self.then(within(Hierarchy::Descendants, edges, depth))
    }

    /// Adds the owners of the nodes, one `ownership` edge away (`Ascendants()`).
    pub fn ascendants(self) -> Self {
        self.then(Step::Hierarchy(Hierarchy::Ascendants, Vec::new(), None))
    }

    /// Adds the owners of the nodes, up to `depth` edges away; 0 means no limit
    /// (`Ascendants(depth)`).
    pub fn ascendants_within(self, depth: u32) -> Self {
        self.then(within(Hierarchy::Ascendants, Vec::new(), depth))
    }

    /// Adds the nodes reached by following edges to parents that satisfy one of the conditions, up
    /// to `depth` edges away; 0 means no limit (`Ascendants(key, value, …, depth)`).
    pub fn ascendants_over(self, edges: impl Into<Conditions>, depth: u32) -> Self {
        let edges = edges.into().into_params();
        self.then(within(Hierarchy::Ascendants, edges, depth))
    }

    /// Adds the owners of the nodes and the nodes that they own (`Neighbors()`).
    pub fn neighbors(self) -> Self {
        self.then(Step::Hierarchy(Hierarchy::Neighbors, Vec::new(), None))
    }

    /// Adds the nodes up to `depth` `ownership` edges away in either direction; 0 adds none
    /// (`Neighbors(depth)`).
    pub fn neighbors_within(self, depth: u32) -> Self {
        self.then(within(Hierarchy::Neighbors, Vec::new(), depth))
    }

    /// Adds the nodes up to `depth` edges away, following edges that satisfy one of the conditions
    /// in either direction; 0 adds none (`Neighbors(key, value, …, depth)`).
    pub fn neighbors_over(self, edges: impl Into<Conditions>, depth: u32) -> Self {
        let edges = edges.into().into_params();
        self.then(within(Hierarchy::Neighbors, edges, depth))
    }

    /// Finds the shortest path from each node to the nearest node that satisfies all conditions
    /// (`ShortestPathTo(Metadata(…))`).
    ///
    /// The conditions must be plain values: a predicate matches no node.
    pub fn shortest_path_to(self, target: impl Into<Conditions>) -> Traversal<markers::Paths, S> {
        self.then(Step::ShortestPathTo(target.into().into_metadata(), None))
    }

    /// Finds the shortest path from each node to the nearest node that satisfies all conditions,
    /// following only edges that satisfy conditions (`ShortestPathTo(Metadata(…), Metadata(…))`).
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

/// Values, marks, and all other steps that start from nodes.
///
/// ```
/// use skylib::Traversal;
/// let v = || Traversal::new().v();
/// for (traversal, text) in [
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
    /// Lists the value of a key of each node that has it (`Values(key)`).
    pub fn values(self, key: impl Into<Text>) -> Traversal<markers::Values, S> {
        self.then(Step::Values(key.into()))
    }

    /// Lists the values of several keys as one object per node (`ValueMap(key, …)`).
    pub fn value_map<T: Into<Text>>(
        self,
        keys: impl IntoIterator<Item = T>,
    ) -> Traversal<markers::Values, S> {
        self.then(Step::ValueMap(keys.into_iter().map(Into::into).collect()))
    }

    /// Lists the names of all keys of the nodes (`Keys()`).
    pub fn keys(self) -> Traversal<markers::Values, S> {
        self.then(Step::Keys(Vec::new()))
    }

    /// Adds up the values of a key (`Sum(key)`). Nodes without the key count as 0.
    pub fn sum(self, key: impl Into<Text>) -> Traversal<markers::Number, S> {
        self.then(Step::Sum(vec![Param::Text(key.into())]))
    }

    /// Marks the nodes with a name for [`select`](Self::select) (`As(name)`).
    pub fn mark(self, name: impl Into<Text>) -> Self {
        self.then(Step::As(name.into()))
    }

    /// Returns to the nodes marked with any of the names (`Select(name, …)`).
    pub fn select<T: Into<Text>>(self, names: impl IntoIterator<Item = T>) -> Self {
        let names = names.into_iter().map(|name| Param::Text(name.into()));
        self.then(Step::Select(names.collect()))
    }

    /// Narrows the graph to the nodes and all edges between them (`SubGraph()`).
    pub fn sub_graph(self) -> Traversal<markers::Graph, S> {
        self.then(Step::SubGraph(Vec::new()))
    }

    /// Narrows the graph to the nodes and the edges between them that match
    /// (`SubGraph(key, value, …)`).
    pub fn sub_graph_where(self, edges: impl Into<Only>) -> Traversal<markers::Graph, S> {
        self.then(Step::SubGraph(edges.into().into_params()))
    }

    /// Moves to the counters of interfaces during the last update interval (`Metrics()`).
    pub fn metrics(self) -> Traversal<markers::Metrics, S> {
        self.then(Step::Metrics(None))
    }

    /// Moves to the counters that sFlow agents reported (`Metrics('SFlow')`).
    pub fn sflow_metrics(self) -> Traversal<markers::Metrics, S> {
        self.then(Step::Metrics(Some("SFlow".into())))
    }

    /// Moves to the counters of Open vSwitch (`Metrics('Ovs')`).
    pub fn ovs_metrics(self) -> Traversal<markers::Metrics, S> {
        self.then(Step::Metrics(Some("Ovs".into())))
    }

    /// Moves to the sockets of the nodes (`Sockets()`).
    pub fn sockets(self) -> Traversal<markers::Sockets, S> {
        self.then(Step::Sockets(Vec::new()))
    }

    /// Finds the next hop of each node for a destination address (`NextHop(address)`).
    pub fn next_hop(self, address: impl Into<IpAddr>) -> Traversal<markers::NextHops, S> {
        self.then(Step::NextHop(address.into().to_string().into()))
    }
}
