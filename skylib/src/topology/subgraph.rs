//! `Subgraph` and `SubgraphWriter`: the part of the graph that a probe maintains.
//!
//! A probe describes the elements that should exist now, and the writer applies the difference to
//! what it has written before. So a probe needs no code for changes and deletions, and nothing is
//! left behind when its source disappears. The cost of an update is proportional to the elements of
//! the probe, not to the graph.

use std::collections::HashMap;

use super::ProbeTarget;
use crate::graph::{Direction, Edge, EdgeId, Graph, Metadata, MetadataOp, Node, NodeId, Origin};
use crate::time::Timestamp;
use crate::value::{Text, Value};

/// Nodes and edges that a probe wants in the graph.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use skylib::graph::{Graph, Metadata, NodeId};
/// use skylib::topology::{ProbeTarget, Subgraph, SubgraphWriter};
///
/// let graph = Arc::new(Mutex::new(Graph::new()));
/// let target = ProbeTarget::for_host(graph.clone(), "edge-01")?;
/// let mut writer = SubgraphWriter::new(target.clone());
/// let mut wanted = Subgraph::new();
/// let disk = NodeId::derived("sda");
/// wanted.add_node(disk.clone(), Metadata::from_iter([("Name", "sda"), ("Type", "disk")]));
/// wanted.own(&target.root, &disk);
/// writer.apply(wanted);
/// assert_eq!(graph.lock().expect("no thread panics").node_count(), 2);
/// writer.apply(Subgraph::new());
/// assert_eq!(graph.lock().expect("no thread panics").node_count(), 1);
/// # Ok::<(), skylib::graph::GraphError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subgraph {
    nodes: HashMap<NodeId, Metadata>,
    edges: HashMap<EdgeId, WantedEdge>,
    /// Metadata added to nodes of other probes.
    annotations: HashMap<NodeId, Metadata>,
}

#[derive(Clone, Debug, PartialEq)]
struct WantedEdge {
    parent: NodeId,
    child: NodeId,
    metadata: Metadata,
}

impl Subgraph {
    /// Returns a subgraph without elements.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node.
    pub fn add_node(&mut self, id: NodeId, metadata: Metadata) {
        self.nodes.insert(id, metadata);
    }

    /// Adds an ownership edge. A node has at most one owner, so this edge replaces any other
    /// ownership edge of the child.
    pub fn own(&mut self, parent: &NodeId, child: &NodeId) {
        self.link(parent, child, Edge::OWNERSHIP, Metadata::new());
    }

    /// Adds an edge with a `RelationType` and further metadata. It appears in the graph as soon as
    /// both nodes exist, unless they have an edge of this relation in any direction.
    pub fn link(&mut self, parent: &NodeId, child: &NodeId, relation: &str, extra: Metadata) {
        let mut metadata = extra;
        metadata.set("RelationType", relation);
        let id = EdgeId::derived(&format!("{parent}{child}{relation}"));
        let edge = WantedEdge {
            parent: parent.clone(),
            child: child.clone(),
            metadata,
        };
        self.edges.insert(id, edge);
    }

    /// Sets keys on a node of another probe of this host. When the keys are no longer wanted, the
    /// values that they replaced are restored.
    pub fn annotate(&mut self, node: &NodeId, metadata: &Metadata) {
        let keys = self.annotations.entry(node.clone()).or_default();
        for (key, value) in metadata.iter() {
            keys.set(key, value.clone());
        }
    }

    /// Returns whether the subgraph contains a node.
    #[must_use]
    pub fn contains(&self, node: &NodeId) -> bool {
        self.nodes.contains_key(node)
    }
}

/// Applies successive states of a [`Subgraph`] to the graph.
#[derive(Debug)]
pub struct SubgraphWriter {
    target: ProbeTarget,
    shown: Subgraph,
    /// Values that annotations have replaced; `None` for keys that did not exist.
    replaced: HashMap<NodeId, Vec<(Text, Option<Value>)>>,
}

impl SubgraphWriter {
    /// Returns a writer that has written nothing yet.
    #[must_use]
    pub fn new(target: ProbeTarget) -> Self {
        Self {
            target,
            shown: Subgraph::new(),
            replaced: HashMap::new(),
        }
    }

    /// Returns the graph and the host that the writer belongs to.
    #[must_use]
    pub const fn target(&self) -> &ProbeTarget {
        &self.target
    }

    /// Returns whether the writer has nothing in the graph.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shown == Subgraph::new()
    }

    /// Makes the graph contain exactly the wanted elements, in one transaction. Elements that
    /// another writer has deleted are added again.
    pub fn apply(&mut self, wanted: Subgraph) {
        let target = self.target.clone();
        target.update(|graph, now| self.replace(graph, wanted, now));
    }

    /// Makes the graph contain exactly the wanted elements.
    fn replace(&mut self, graph: &mut Graph, wanted: Subgraph, now: Timestamp) {
        self.remove_unwanted(graph, &wanted, now);
        for (id, metadata) in &wanted.nodes {
            self.show_node(graph, id, metadata, now);
        }
        for (id, metadata) in &wanted.annotations {
            self.show_annotation(graph, id, metadata, now);
        }
        for (id, edge) in &wanted.edges {
            show_edge(graph, id, edge, &self.target.origin, now);
        }
        self.shown = wanted;
    }

    /// Deletes elements that were shown and are no longer wanted.
    fn remove_unwanted(&mut self, graph: &mut Graph, wanted: &Subgraph, now: Timestamp) {
        // Deletions of elements that another writer has deleted fail without effect.
        for (id, edge) in &self.shown.edges {
            if wanted.edges.get(id) != Some(edge) {
                let _deleted = graph.delete_edge(id, now);
            }
        }
        let shown = std::mem::take(&mut self.shown.annotations);
        for (id, metadata) in &shown {
            let keys = wanted.annotations.get(id);
            let is_unwanted = |key: &str| keys.is_none_or(|keys| keys.get(key).is_none());
            self.restore(graph, id, metadata, is_unwanted, now);
        }
        for id in self.shown.nodes.keys() {
            if !wanted.nodes.contains_key(id) && is_own(graph, id, &self.target.origin) {
                let _deleted = graph.delete_node(id, now);
            }
        }
    }

    /// Restores the values that annotations have replaced at some keys of a node.
    fn restore(
        &mut self,
        graph: &mut Graph,
        id: &NodeId,
        shown: &Metadata,
        is_unwanted: impl Fn(&str) -> bool,
        now: Timestamp,
    ) {
        let Some(replaced) = self.replaced.get_mut(id) else {
            return;
        };
        let mut ops = Vec::new();
        replaced.retain(|(key, former)| {
            if !is_unwanted(key) {
                return true;
            }
            let current = graph.node(id).and_then(|node| node.metadata.get(key));
            // A value that its own probe has changed since is more recent than the former one.
            if current == shown.get(key) {
                ops.push(match former {
                    Some(value) => MetadataOp::set(key.clone(), value.clone()),
                    None => MetadataOp::delete(key.clone()),
                });
            }
            false
        });
        if replaced.is_empty() {
            self.replaced.remove(id);
        }
        // Fails if the node was deleted together with its annotations.
        let _restored = graph.patch_node(id, &ops, now);
    }

    fn show_node(&self, graph: &mut Graph, id: &NodeId, metadata: &Metadata, now: Timestamp) {
        let origin = &self.target.origin;
        if graph.node(id).is_none() {
            let node = Node::new(id.clone(), metadata.clone(), now).with_origin(origin.clone());
            let _added = graph.add_node(node);
        } else if is_own(graph, id, origin) {
            let nothing = Metadata::new();
            let shown = self.shown.nodes.get(id).unwrap_or(&nothing);
            let ops = difference(shown, metadata);
            let _changed = graph.patch_node(id, &ops, now);
        }
    }

    fn show_annotation(
        &mut self,
        graph: &mut Graph,
        id: &NodeId,
        metadata: &Metadata,
        now: Timestamp,
    ) {
        let Some(node) = graph.node(id) else {
            self.replaced.remove(id);
            return;
        };
        let replaced = self.replaced.entry(id.clone()).or_default();
        let mut ops = Vec::new();
        for (key, value) in metadata.iter() {
            let current = node.metadata.get(key);
            if !replaced.iter().any(|(known, _)| **known == **key) {
                replaced.push((Text::from(key.as_str()), current.cloned()));
            }
            if current != Some(value) {
                ops.push(MetadataOp::set(key.as_str(), value.clone()));
            }
        }
        let _changed = graph.patch_node(id, &ops, now);
    }
}

/// Returns the operations that change one state into another; other keys are not affected.
pub(super) fn difference(old: &Metadata, new: &Metadata) -> Vec<MetadataOp> {
    let set = new
        .iter()
        .filter(|(key, value)| old.get(key) != Some(value));
    let removed = old.iter().filter(|(key, _)| new.get(key).is_none());
    let set = set.map(|(key, value)| MetadataOp::set(key.as_str(), value.clone()));
    removed
        .map(|(key, _)| MetadataOp::delete(key.as_str()))
        .chain(set)
        .collect()
}

/// Returns whether a node is in the graph and belongs to an origin.
pub(super) fn is_own(graph: &Graph, id: &NodeId, origin: &Origin) -> bool {
    graph
        .node(id)
        .is_some_and(|node| *node.origin == *origin.as_str())
}

/// Adds an edge if both of its nodes exist and have no edge of this relation.
fn show_edge(graph: &mut Graph, id: &EdgeId, edge: &WantedEdge, origin: &Origin, now: Timestamp) {
    if graph.edge(id).is_some() {
        return;
    }
    let relation = edge.metadata.get("RelationType");
    let is_linked = graph
        .edges_of(&edge.child, Direction::Both)
        .any(|(other, node)| {
            node.id == edge.parent && other.metadata.get("RelationType") == relation
        });
    if is_linked || graph.node(&edge.parent).is_none() || graph.node(&edge.child).is_none() {
        return;
    }
    if relation.and_then(Value::as_text) == Some(Edge::OWNERSHIP) {
        let former: Vec<EdgeId> = graph
            .edges_of(&edge.child, Direction::In)
            .filter(|(other, _)| other.is_ownership())
            .map(|(other, _)| other.id.clone())
            .collect();
        for id in former {
            let _deleted = graph.delete_edge(&id, now);
        }
    }
    let (parent, child) = (edge.parent.clone(), edge.child.clone());
    let added = Edge::new(id.clone(), parent, child, edge.metadata.clone(), now);
    let _added = graph.add_edge(added.with_origin(origin.clone()));
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Fixture {
        graph: Arc<Mutex<Graph>>,
        writer: SubgraphWriter,
    }

    impl Fixture {
        fn new() -> Self {
            let graph = Arc::new(Mutex::new(Graph::new()));
            let target = ProbeTarget::for_host(graph.clone(), "edge-01").unwrap();
            Self {
                graph,
                writer: SubgraphWriter::new(target),
            }
        }

        fn add_foreign(&self, id: &str, metadata: Metadata) {
            let node = Node::new(id, metadata, Timestamp::from_ms(1));
            let node = node.with_origin(self.writer.target.origin.clone());
            self.graph.lock().unwrap().add_node(node).unwrap();
        }

        fn text(&self, id: &str, key: &str) -> Option<String> {
            let graph = self.graph.lock().unwrap();
            let value = graph.node(&NodeId::from(id))?.metadata.get_path(key)?;
            Some(serde_json::to_string(value).unwrap())
        }

        fn counts(&self) -> (usize, usize) {
            let graph = self.graph.lock().unwrap();
            (graph.node_count(), graph.edge_count())
        }
    }

    fn named(name: &str) -> Metadata {
        Metadata::from_iter([("Name", name), ("Type", "thing")])
    }

    #[test]
    fn successive_states_differ_by_what_is_wanted() {
        let mut f = Fixture::new();
        let (a, b) = (NodeId::from("a"), NodeId::from("b"));
        let root = f.writer.target().root.clone();
        let mut wanted = Subgraph::new();
        wanted.add_node(a.clone(), named("a"));
        wanted.add_node(b.clone(), named("b"));
        wanted.own(&root, &a);
        wanted.link(&a, &b, "layer2", Metadata::from_iter([("Type", "patch")]));
        f.writer.apply(wanted.clone());
        assert_eq!(f.counts(), (3, 2));
        f.writer.apply(wanted);
        assert_eq!(f.counts(), (3, 2));
        let mut less = Subgraph::new();
        less.add_node(a.clone(), named("renamed"));
        f.writer.apply(less);
        assert_eq!(f.counts(), (2, 0));
        assert_eq!(f.text("a", "Name").as_deref(), Some("\"renamed\""));
    }

    #[test]
    fn an_edge_waits_for_its_nodes_and_is_never_doubled() {
        let mut f = Fixture::new();
        let a = NodeId::from("a");
        let mut wanted = Subgraph::new();
        wanted.add_node(a.clone(), named("a"));
        wanted.link(&a, &NodeId::from("late"), "layer2", Metadata::new());
        wanted.link(&NodeId::from("late"), &a, "layer2", Metadata::new());
        f.writer.apply(wanted.clone());
        assert_eq!(f.counts(), (2, 0));
        f.add_foreign("late", named("late"));
        f.writer.apply(wanted);
        assert_eq!(f.counts(), (3, 1), "one edge for both directions");
    }

    #[test]
    fn a_new_owner_replaces_the_former_one() {
        let mut f = Fixture::new();
        f.add_foreign("ns", named("ns"));
        let (a, root) = (NodeId::from("a"), f.writer.target().root.clone());
        let mut wanted = Subgraph::new();
        wanted.add_node(a.clone(), named("a"));
        wanted.own(&root, &a);
        f.writer.apply(wanted);
        let mut moved = Subgraph::new();
        moved.add_node(a.clone(), named("a"));
        moved.own(&NodeId::from("ns"), &a);
        f.writer.apply(moved);
        let graph = f.graph.lock().unwrap();
        let owners: Vec<String> = graph
            .edges_of(&a, Direction::In)
            .map(|(_, owner)| owner.id.to_string())
            .collect();
        assert_eq!(owners, ["ns"]);
    }

    #[test]
    fn annotations_are_undone_unless_the_owner_changed_the_value() {
        let mut f = Fixture::new();
        f.add_foreign(
            "tap",
            Metadata::from_iter([("Type", "tun"), ("MTU", "1500")]),
        );
        let tap = NodeId::from("tap");
        let mut wanted = Subgraph::new();
        let keys = [("Type", "internal"), ("UUID", "u"), ("MTU", "9000")];
        wanted.annotate(&tap, &Metadata::from_iter(keys));
        f.writer.apply(wanted.clone());
        f.writer.apply(wanted);
        assert_eq!(f.text("tap", "Type").as_deref(), Some("\"internal\""));
        let op = MetadataOp::set("MTU", "1400");
        let now = Timestamp::from_ms(2);
        f.graph
            .lock()
            .unwrap()
            .patch_node(&tap, &[op], now)
            .unwrap();
        f.writer.apply(Subgraph::new());
        assert_eq!(f.text("tap", "Type").as_deref(), Some("\"tun\""));
        assert_eq!(f.text("tap", "UUID"), None);
        assert_eq!(f.text("tap", "MTU").as_deref(), Some("\"1400\""));
    }

    #[test]
    fn a_node_of_another_writer_is_neither_changed_nor_deleted() {
        let mut f = Fixture::new();
        let node = Node::new("a", named("theirs"), Timestamp::from_ms(1));
        f.graph.lock().unwrap().add_node(node).unwrap();
        let mut wanted = Subgraph::new();
        wanted.add_node(NodeId::from("a"), named("ours"));
        f.writer.apply(wanted);
        f.writer.apply(Subgraph::new());
        assert_eq!(f.text("a", "Name").as_deref(), Some("\"theirs\""));
    }
}
