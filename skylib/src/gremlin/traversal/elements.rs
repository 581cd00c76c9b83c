//! Steps of nodes and edges alike, of edges, of paths and of values.

use super::Traversal;
use super::conditions::{Conditions, Only};
use super::markers::{self, Elements};
use crate::gremlin::ast::{Param, Step, Walk};
use crate::value::Text;

/// Nodes and edges alike.
///
/// ```
/// use skylib::Traversal;
/// use skylib::gremlin::{Conditions, Predicate};
/// let v = || Traversal::new().v();
/// for (traversal, text) in [
///     (v().has("Type", "veth").to_string(), "G.V().Has('Type', 'veth')"),
///     (
///         v().has_all(Conditions::of("Type", "veth").and("MTU", Predicate::lt(1500))).to_string(),
///         "G.V().Has('Type', 'veth', 'MTU', Lt(1500))",
///     ),
///     (
///         v().has_either(Conditions::of("Type", "veth").and("Type", "tun")).to_string(),
///         "G.V().HasEither('Type', 'veth', 'Type', 'tun')",
///     ),
///     (v().has_key("MAC").to_string(), "G.V().HasKey('MAC')"),
///     (v().has_not("MAC").to_string(), "G.V().HasNot('MAC')"),
///     (v().dedup().to_string(), "G.V().Dedup()"),
///     (v().dedup_by(["Type", "MTU"]).to_string(), "G.V().Dedup('Type', 'MTU')"),
///     (v().limit(5).to_string(), "G.V().Limit(5)"),
///     (v().range(5, 10).to_string(), "G.V().Range(5, 10)"),
///     (v().count().to_string(), "G.V().Count()"),
///     (v().g().e().to_string(), "G.V().G.E()"),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<K: Elements, S> Traversal<K, S> {
    /// `Has(key, value)`: a key is equal to a value, or satisfies a predicate.
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

    /// `HasKey(key)`: a key is there.
    pub fn has_key(self, key: impl Into<Text>) -> Self {
        self.then(Step::HasKey(key.into()))
    }

    /// `HasNot(key)`: a key is not there.
    pub fn has_not(self, key: impl Into<Text>) -> Self {
        self.then(Step::HasNot(key.into()))
    }

    /// `Dedup()`: each element once.
    pub fn dedup(self) -> Self {
        self.then(Step::Dedup(Vec::new()))
    }

    /// `Dedup(key, …)`: the first element of each combination of values.
    pub fn dedup_by<T: Into<Text>>(self, keys: impl IntoIterator<Item = T>) -> Self {
        self.then(Step::Dedup(keys.into_iter().map(Into::into).collect()))
    }

    /// `Limit(count)`: the first so many. Right behind `v`, `e` or a walk it counts what passes the
    /// filter that follows.
    pub fn limit(self, count: u32) -> Self {
        self.then(Step::Limit(count.into()))
    }

    /// `Range(from, to)`: from one position, the first is 0, up to another, which is left out.
    pub fn range(self, from: u32, to: u32) -> Self {
        self.then(Step::Range(from.into(), to.into()))
    }

    /// `Count()`: how many.
    pub fn count(self) -> Traversal<markers::Number, S> {
        self.then(Step::Count)
    }

    /// `G`: back to the graph.
    pub fn g(self) -> Traversal<markers::Graph, S> {
        self.then(Step::G)
    }
}

/// From edges. The parent is where an edge starts, the child where it leads.
///
/// ```
/// use skylib::Traversal;
/// let e = || Traversal::new().e();
/// for (traversal, text) in [
///     (e().in_v().to_string(), "G.E().InV()"),
///     (e().out_v().to_string(), "G.E().OutV()"),
///     (e().both_v().to_string(), "G.E().BothV()"),
///     (e().in_v_where(("Type", "bridge")).to_string(), "G.E().InV('Type', 'bridge')"),
///     (e().out_v_where("MAC").to_string(), "G.E().OutV('MAC')"),
///     (e().both_v_where("MAC").to_string(), "G.E().BothV('MAC')"),
///     (e().sub_graph().v().to_string(), "G.E().SubGraph().V()"),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<S> Traversal<markers::Edges, S> {
    /// `InV()`: the parent of each edge (the reverse of TinkerPop).
    pub fn in_v(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::InV, Vec::new()))
    }

    /// `InV(key, value, …)`: the parents that pass.
    pub fn in_v_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::InV, only.into().into_params()))
    }

    /// `OutV()`: the child of each edge (the reverse of TinkerPop).
    pub fn out_v(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::OutV, Vec::new()))
    }

    /// `OutV(key, value, …)`: the children that pass.
    pub fn out_v_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::OutV, only.into().into_params()))
    }

    /// `BothV()`: parent and child of each edge.
    pub fn both_v(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::BothV, Vec::new()))
    }

    /// `BothV(key, value, …)`: the parents and children that pass.
    pub fn both_v_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::BothV, only.into().into_params()))
    }

    /// `SubGraph()`: these edges and their ends as a graph of their own.
    pub fn sub_graph(self) -> Traversal<markers::Graph, S> {
        self.then(Step::SubGraph(Vec::new()))
    }
}

/// From paths.
///
/// ```
/// use skylib::Traversal;
/// let path = || Traversal::new().v_id("a").shortest_path_to(("Name", "b"));
/// let text = "G.V('a').ShortestPathTo(Metadata('Name', 'b'))";
/// assert_eq!(path().dedup().to_string(), format!("{text}.Dedup()"));
/// assert_eq!(path().dedup_by(["Type"]).to_string(), format!("{text}.Dedup('Type')"));
/// assert_eq!(path().flows().to_string(), format!("{text}.Flows()"));
/// assert_eq!(path().flows_where(("Transport", 80)).to_string(), format!("{text}.Flows('Transport', 80)"));
/// assert_eq!(path().sub_graph().to_string(), format!("{text}.SubGraph()"));
/// ```
impl<S> Traversal<markers::Paths, S> {
    /// `Dedup()`: the nodes of all paths, each once.
    pub fn dedup(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::Dedup(Vec::new()))
    }

    /// `Dedup(key, …)`: the first node of each combination of values.
    pub fn dedup_by<T: Into<Text>>(
        self,
        keys: impl IntoIterator<Item = T>,
    ) -> Traversal<markers::Nodes, S> {
        self.then(Step::Dedup(keys.into_iter().map(Into::into).collect()))
    }

    /// `Flows()`: the flows captured on the nodes.
    pub fn flows(self) -> Traversal<markers::Flows, S> {
        self.then(Step::Flows(Vec::new()))
    }

    /// `Flows(key, value, …)`: those of them that satisfy conditions.
    pub fn flows_where(self, conditions: impl Into<Conditions>) -> Traversal<markers::Flows, S> {
        self.then(Step::Flows(conditions.into().into_params()))
    }

    /// `SubGraph()`: the nodes and all edges among them as a graph of their own.
    pub fn sub_graph(self) -> Traversal<markers::Graph, S> {
        self.then(Step::SubGraph(Vec::new()))
    }
}

/// From values.
///
/// ```
/// use skylib::Traversal;
/// let values = || Traversal::new().v().values("Routes");
/// for (traversal, text) in [
///     (values().has("Id", 254).to_string(), "G.V().Values('Routes').Has('Id', 254)"),
///     (values().has_all(("Id", 254)).to_string(), "G.V().Values('Routes').Has('Id', 254)"),
///     (values().dedup().to_string(), "G.V().Values('Routes').Dedup()"),
///     (values().limit(1).to_string(), "G.V().Values('Routes').Limit(1)"),
///     (values().range(1, 2).to_string(), "G.V().Values('Routes').Range(1, 2)"),
///     (values().count().to_string(), "G.V().Values('Routes').Count()"),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<S> Traversal<markers::Values, S> {
    /// `Has(key, value)`: the objects in which a key satisfies a condition.
    pub fn has(self, key: impl Into<Text>, value: impl Into<Param>) -> Self {
        self.has_all(Conditions::of(key, value))
    }

    /// `Has(key, value, …)`: the objects that satisfy all conditions.
    pub fn has_all(self, conditions: impl Into<Conditions>) -> Self {
        self.then(Step::Has(conditions.into().into_params()))
    }

    /// `Dedup()`: each value once.
    pub fn dedup(self) -> Self {
        self.then(Step::Dedup(Vec::new()))
    }

    /// `Limit(count)`: the first so many.
    pub fn limit(self, count: u32) -> Self {
        self.then(Step::Limit(count.into()))
    }

    /// `Range(from, to)`: from one position up to another, which is left out.
    pub fn range(self, from: u32, to: u32) -> Self {
        self.then(Step::Range(from.into(), to.into()))
    }

    /// `Count()`: how many.
    pub fn count(self) -> Traversal<markers::Number, S> {
        self.then(Step::Count)
    }
}
