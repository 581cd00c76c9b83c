//! `ClusterLinks`: links the nodes of a cluster to what the probes of its machines have found.
//!
//! A host is linked to the `node` of Kubernetes with its name, and a container of a pod to the
//! container of the runtime (Docker, runc) with the same identifier.

use std::collections::{BTreeSet, HashMap};

use super::edges::relation;
use super::kind::Kind;
use super::object::MANAGER;
use crate::graph::{Edge, EdgeId, Graph, GraphEvent, Node, NodeId, Origin, Processor};
use crate::time::Timestamp;
use crate::value::{Text, Value};

/// Links nodes of Kubernetes to hosts and containers of agents.
///
/// ```
/// use skylib::graph::{Graph, Metadata, Node, Origin, Processor};
/// use skylib::time::Timestamp;
/// use skylib::topology::k8s::ClusterLinks;
///
/// let mut graph = Graph::new().with_journal();
/// let now = Timestamp::from_ms(1);
/// let host = Metadata::from_iter([("Type", "host"), ("Hostname", "w1")]);
/// graph.add_node(Node::new("h", host, now))?;
/// let mut node = Metadata::from_iter([("Type", "node"), ("Manager", "k8s")]);
/// node.set_path("K8s.Name", "w1");
/// graph.add_node(Node::new("n", node, now))?;
/// let mut links = ClusterLinks::new(Origin::new("analyzer", "ctl-1"));
/// for event in graph.take_events() {
///     links.process(&mut graph, &event, now);
/// }
/// assert_eq!(graph.edge_count(), 1);
/// # Ok::<(), skylib::graph::GraphError>(())
/// ```
#[derive(Debug)]
pub struct ClusterLinks {
    origin: Origin,
    ends: HashMap<NodeId, End>,
    by_end: HashMap<End, BTreeSet<NodeId>>,
}

/// A possible end of an edge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct End {
    /// Kind that names the relation.
    relation: Kind,
    is_parent: bool,
    /// Text that both ends have.
    value: Text,
}

impl End {
    /// Returns the end that a node can be; `None` for other nodes.
    fn of(node: &Node) -> Option<Self> {
        let text = |key: &str| node.metadata.get(key).and_then(Value::as_text);
        let is_kubernetes = text("Manager") == Some(MANAGER);
        let (relation, is_parent, key) = match text("Type")? {
            "host" => (Kind::Node, true, "Hostname"),
            "node" if is_kubernetes => (Kind::Node, false, "K8s.Name"),
            "container" if is_kubernetes => (Kind::Container, true, "K8s.ContainerID"),
            "container" => (Kind::Container, false, "Container.ID"),
            _ => return None,
        };
        let value = node.metadata.get_path(key).and_then(Value::as_text)?;
        (!value.is_empty()).then(|| Self {
            relation,
            is_parent,
            value: value.into(),
        })
    }

    /// Returns the other end.
    fn other(&self) -> Self {
        Self {
            is_parent: !self.is_parent,
            ..self.clone()
        }
    }
}

impl ClusterLinks {
    /// Returns a processor whose edges have this origin.
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        Self {
            // COMPAT: every client; the edges of metadata linkers have no host.
            origin: origin.with_host(""),
            ends: HashMap::new(),
            by_end: HashMap::new(),
        }
    }

    /// Updates the edges of a node.
    fn update(&mut self, graph: &mut Graph, node: &Node, now: Timestamp) {
        let end = End::of(node);
        if self.ends.get(&node.id) == end.as_ref() {
            return;
        }
        if let Some(former) = self.forget(&node.id) {
            for other in self.by_end.get(&former.other()).into_iter().flatten() {
                let (parent, child) = ordered(&former, &node.id, other);
                // Fails without effect if another analyzer has deleted the edge.
                let _deleted = graph.delete_edge(&link_id(parent, child), now);
            }
        }
        let Some(end) = end else { return };
        for other in self.by_end.get(&end.other()).into_iter().flatten() {
            let (parent, child) = ordered(&end, &node.id, other);
            let id = link_id(parent, child);
            if graph.edge(&id).is_none() {
                let (parent, child) = (parent.clone(), child.clone());
                let edge = Edge::new(id, parent, child, relation(end.relation), now);
                // Both nodes exist, so only a limit on the graph can reject the edge.
                let _added = graph.add_edge(edge.with_origin(self.origin.clone()));
            }
        }
        self.by_end
            .entry(end.clone())
            .or_default()
            .insert(node.id.clone());
        self.ends.insert(node.id.clone(), end);
    }

    /// Removes a node; returns the end it was.
    fn forget(&mut self, id: &NodeId) -> Option<End> {
        let end = self.ends.remove(id)?;
        if let Some(nodes) = self.by_end.get_mut(&end) {
            nodes.remove(id);
            if nodes.is_empty() {
                self.by_end.remove(&end);
            }
        }
        Some(end)
    }
}

impl Processor for ClusterLinks {
    fn process(&mut self, graph: &mut Graph, event: &GraphEvent, now: Timestamp) {
        match event {
            GraphEvent::NodeAdded(node) | GraphEvent::NodeUpdated { node, .. } => {
                self.update(graph, node, now);
            }
            GraphEvent::NodeDeleted(node) => drop(self.forget(&node.id)),
            _ => {}
        }
    }
}

/// Returns the parent and the child of an edge between a node and another one.
const fn ordered<'a>(end: &End, id: &'a NodeId, other: &'a NodeId) -> (&'a NodeId, &'a NodeId) {
    match end.is_parent {
        true => (id, other),
        false => (other, id),
    }
}

fn link_id(parent: &NodeId, child: &NodeId) -> EdgeId {
    EdgeId::derived(&format!("{parent}/{child}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Metadata, MetadataOp};

    const NOW: Timestamp = Timestamp::from_ms(1000);

    struct Fixture {
        graph: Graph,
        links: ClusterLinks,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                graph: Graph::new().with_journal(),
                links: ClusterLinks::new(Origin::new("analyzer", "ctl-1")),
            }
        }

        fn settle(&mut self) {
            for event in self.graph.take_events() {
                self.links.process(&mut self.graph, &event, NOW);
            }
        }

        fn add(&mut self, id: &str, kind: &str, manager: &str, path: &str, value: &str) {
            let mut metadata = Metadata::from_iter([("Type", kind), ("Manager", manager)]);
            metadata.set_path(path, value);
            self.graph.add_node(Node::new(id, metadata, NOW)).unwrap();
            self.settle();
        }

        fn edges(&self) -> Vec<String> {
            let edges = self.graph.edges().map(|edge| {
                let relation = edge.metadata.get("RelationType").unwrap();
                format!(
                    "{} {} {}",
                    edge.parent,
                    relation.as_text().unwrap(),
                    edge.child
                )
            });
            let mut edges: Vec<String> = edges.collect();
            edges.sort();
            edges
        }
    }

    #[test]
    fn hosts_and_containers_are_linked_in_any_order() {
        let mut f = Fixture::new();
        f.add("n1", "node", "k8s", "K8s.Name", "w1");
        f.add("h1", "host", "", "Hostname", "w1");
        f.add("h2", "host", "", "Hostname", "w2");
        f.add("n2", "node", "k8s", "K8s.Name", "w2");
        f.add("c1", "container", "k8s", "K8s.ContainerID", "ab");
        f.add("r1", "container", "docker", "Container.ID", "ab");
        f.add("x", "node", "other", "K8s.Name", "w1");
        assert_eq!(f.edges(), ["c1 container r1", "h1 node n1", "h2 node n2"]);
        let edge = f
            .graph
            .edges()
            .find(|edge| edge.child == NodeId::from("n1"))
            .unwrap();
        assert_eq!(edge.id, EdgeId::derived("h1/n1"));
        assert_eq!(
            (edge.host.as_str(), edge.origin.as_str()),
            ("", "analyzer.ctl-1")
        );
    }

    #[test]
    fn edges_follow_both_ends() {
        let mut f = Fixture::new();
        f.add("c1", "container", "k8s", "K8s.Image", "i");
        f.add("r1", "container", "runc", "Container.ID", "ab");
        assert!(f.edges().is_empty());
        let set = |f: &mut Fixture, id: &str| {
            let op = MetadataOp::set("K8s.ContainerID", id);
            f.graph.patch_node(&NodeId::from("c1"), &[op], NOW).unwrap();
            f.settle();
        };
        set(&mut f, "ab");
        assert_eq!(f.edges(), ["c1 container r1"]);
        set(&mut f, "cd");
        assert!(f.edges().is_empty());
        set(&mut f, "ab");
        f.graph.delete_node(&NodeId::from("r1"), NOW).unwrap();
        f.settle();
        f.graph.delete_node(&NodeId::from("c1"), NOW).unwrap();
        f.settle();
        assert!(f.links.ends.is_empty() && f.links.by_end.is_empty());
    }
}
