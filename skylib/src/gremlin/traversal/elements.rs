//! Query steps that can be applied to elements (nodes and edges alike), edges, paths, and values.

use super::Traversal;
use super::conditions::Only;
use super::markers::{self, Elements};
use crate::gremlin::ast::{Step, Walk};
use crate::value::Text;

/// Query steps that can be applied to nodes and edges.
///
/// ```
/// use skylib::Traversal;
/// let v = || Traversal::new().v();
/// for (traversal, text) in [
///     (v().has_key("MAC").to_string(), "G.V().HasKey('MAC')"),
///     (v().has_not("MAC").to_string(), "G.V().HasNot('MAC')"),
///     (v().dedup().to_string(), "G.V().Dedup()"),
///     (v().dedup_by(["Type", "MTU"]).to_string(), "G.V().Dedup('Type', 'MTU')"),
///     (v().g().e().to_string(), "G.V().G.E()"),
/// ] {
///     assert_eq!(traversal, text);
/// }
/// ```
impl<K: Elements, S> Traversal<K, S> {
    /// Selects the elements that have a key (`HasKey(key)`).
    pub fn has_key(self, key: impl Into<Text>) -> Self {
        self.then(Step::HasKey(key.into()))
    }

    /// Selects the elements that do not have a key (`HasNot(key)`).
    pub fn has_not(self, key: impl Into<Text>) -> Self {
        self.then(Step::HasNot(key.into()))
    }

    /// Removes duplicate elements (`Dedup()`).
    pub fn dedup(self) -> Self {
        self.then(Step::Dedup(Vec::new()))
    }

    /// Selects the first element for each combination of values (`Dedup(key, …)`).
    pub fn dedup_by<T: Into<Text>>(self, keys: impl IntoIterator<Item = T>) -> Self {
        self.then(Step::Dedup(keys.into_iter().map(Into::into).collect()))
    }

    /// Returns to the graph (`G`).
    pub fn g(self) -> Traversal<markers::Graph, S> {
        self.then(Step::G)
    }
}

/// Query steps that can be applied to edges. An edge leads from its parent to its child.
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
    /// Moves to the parent of each edge (`InV()`; the reverse of TinkerPop).
    pub fn in_v(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::InV, Vec::new()))
    }

    /// Moves to the parents that match (`InV(key, value, …)`).
    pub fn in_v_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::InV, only.into().into_params()))
    }

    /// Moves to the child of each edge (`OutV()`; the reverse of TinkerPop).
    pub fn out_v(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::OutV, Vec::new()))
    }

    /// Moves to the children that match (`OutV(key, value, …)`).
    pub fn out_v_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::OutV, only.into().into_params()))
    }

    /// Moves to the parent and the child of each edge (`BothV()`).
    pub fn both_v(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::BothV, Vec::new()))
    }

    /// Moves to the parents and children that match (`BothV(key, value, …)`).
    pub fn both_v_where(self, only: impl Into<Only>) -> Traversal<markers::Nodes, S> {
        self.then(Step::Walk(Walk::BothV, only.into().into_params()))
    }

    /// Narrows the graph to the edges and the nodes at their ends (`SubGraph()`).
    pub fn sub_graph(self) -> Traversal<markers::Graph, S> {
        self.then(Step::SubGraph(Vec::new()))
    }
}

/// Query steps that can be applied to paths.
///
/// ```
/// use skylib::Traversal;
/// let path = || Traversal::new().v_id("a").shortest_path_to(("Name", "b"));
/// let text = "G.V('a').ShortestPathTo(Metadata('Name', 'b'))";
/// assert_eq!(path().dedup().to_string(), format!("{text}.Dedup()"));
/// assert_eq!(path().dedup_by(["Type"]).to_string(), format!("{text}.Dedup('Type')"));
/// assert_eq!(path().sub_graph().to_string(), format!("{text}.SubGraph()"));
/// ```
impl<S> Traversal<markers::Paths, S> {
    /// Moves to the nodes of all paths, without duplicates (`Dedup()`).
    pub fn dedup(self) -> Traversal<markers::Nodes, S> {
        self.then(Step::Dedup(Vec::new()))
    }

    /// Moves to the first node for each combination of values (`Dedup(key, …)`).
    pub fn dedup_by<T: Into<Text>>(
        self,
        keys: impl IntoIterator<Item = T>,
    ) -> Traversal<markers::Nodes, S> {
        self.then(Step::Dedup(keys.into_iter().map(Into::into).collect()))
    }

    /// Narrows the graph to the nodes of all paths and all edges between them (`SubGraph()`).
    pub fn sub_graph(self) -> Traversal<markers::Graph, S> {
        self.then(Step::SubGraph(Vec::new()))
    }
}

/// Query steps that can be applied to values.
///
/// ```
/// use skylib::Traversal;
/// let values = Traversal::new().v().values("Routes");
/// assert_eq!(values.dedup().to_string(), "G.V().Values('Routes').Dedup()");
/// ```
impl<S> Traversal<markers::Values, S> {
    /// Removes duplicate values (`Dedup()`).
    pub fn dedup(self) -> Self {
        self.then(Step::Dedup(Vec::new()))
    }
}
