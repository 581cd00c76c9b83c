//! `PeeringProcessor`: links an interface to the interface at the other end of its cable, also on
//! another host.
//!
//! A node with `PeerIntfMAC` is linked to each node with this `MAC`. Both are matched as text. The
//! processor keeps an index of the nodes with `PeerIntfMAC` only, so an event of any other node costs
//! one lookup.

use std::collections::{BTreeMap, HashMap};

use crate::graph::{
    Direction, Edge, EdgeId, Graph, GraphEvent, Metadata, Node, NodeId, Origin, Processor,
};
use crate::time::Timestamp;
use crate::value::{Text, Value};

/// Links nodes whose `PeerIntfMAC` and `MAC` are equal.
///
/// ```
/// use skylib::graph::{Graph, Metadata, Node, Origin, Processor};
/// use skylib::time::Timestamp;
/// use skylib::topology::PeeringProcessor;
///
/// let mut graph = Graph::new().with_journal();
/// let now = Timestamp::from_ms(1);
/// let tap = Metadata::from_iter([("Name", "tap0"), ("PeerIntfMAC", "02:00:00:00:00:01")]);
/// graph.add_node(Node::new("tap0", tap, now))?;
/// let nic = Metadata::from_iter([("Name", "eth0"), ("MAC", "02:00:00:00:00:01")]);
/// graph.add_node(Node::new("eth0", nic, now))?;
/// let mut peering = PeeringProcessor::new(Origin::new("analyzer", "ctl-1"));
/// for event in graph.take_events() {
///     peering.process(&mut graph, &event, now);
/// }
/// assert_eq!(graph.edge_count(), 1);
/// # Ok::<(), skylib::graph::GraphError>(())
/// ```
#[derive(Debug)]
pub struct PeeringProcessor {
    origin: Origin,
    /// Address that each node is linked to, and its inverse.
    wanted: HashMap<NodeId, Text>,
    by_mac: HashMap<Text, BTreeMap<String, NodeId>>,
}

impl PeeringProcessor {
    /// Returns a processor whose edges have this origin.
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        Self {
            // COMPAT: every client; the edges of metadata linkers have no host.
            origin: origin.with_host(""),
            wanted: HashMap::new(),
            by_mac: HashMap::new(),
        }
    }

    /// Updates the edges of a node that refers to another one.
    fn update_wanted(&mut self, graph: &mut Graph, node: &Node, now: Timestamp) {
        let mac = text(node, "PeerIntfMAC");
        if self.wanted.get(&node.id).map(Text::as_str) == mac {
            return;
        }
        self.forget(&node.id);
        self.unlink(graph, &node.id, Direction::Out, now);
        let Some(mac) = mac else { return };
        self.wanted.insert(node.id.clone(), mac.into());
        let nodes = self.by_mac.entry(mac.into()).or_default();
        nodes.insert(node.id.to_string(), node.id.clone());
        let found: Vec<NodeId> = graph
            .find_nodes("MAC", &Value::from(mac))
            .map(|found| found.id.clone())
            .collect();
        for other in found {
            self.link(graph, &node.id, &other, now);
        }
    }

    /// Updates the edges of a node that others may refer to.
    fn update_target(&self, graph: &mut Graph, node: &Node, now: Timestamp) {
        if self.by_mac.is_empty() {
            return;
        }
        let referring = text(node, "MAC").and_then(|mac| self.by_mac.get(mac));
        let is_linked = |edge: &Edge| {
            let mut referring = referring.into_iter().flatten();
            referring.any(|(_, other)| *other == edge.parent)
        };
        let stale: Vec<EdgeId> = graph
            .edges_of(&node.id, Direction::In)
            .filter(|(edge, _)| self.is_own(edge) && !is_linked(edge))
            .map(|(edge, _)| edge.id.clone())
            .collect();
        for id in stale {
            let _deleted = graph.delete_edge(&id, now);
        }
        for other in referring.into_iter().flatten().map(|(_, other)| other) {
            self.link(graph, other, &node.id, now);
        }
    }

    fn forget(&mut self, id: &NodeId) {
        let Some(mac) = self.wanted.remove(id) else {
            return;
        };
        if let Some(nodes) = self.by_mac.get_mut(&mac) {
            nodes.remove(&id.to_string());
            if nodes.is_empty() {
                self.by_mac.remove(&mac);
            }
        }
    }

    fn unlink(&self, graph: &mut Graph, id: &NodeId, direction: Direction, now: Timestamp) {
        let own: Vec<EdgeId> = graph
            .edges_of(id, direction)
            .filter(|(edge, _)| self.is_own(edge))
            .map(|(edge, _)| edge.id.clone())
            .collect();
        for id in own {
            let _deleted = graph.delete_edge(&id, now);
        }
    }

    /// Adds an edge, unless it exists.
    fn link(&self, graph: &mut Graph, parent: &NodeId, child: &NodeId, now: Timestamp) {
        let id = peering_id(parent, child);
        if parent == child || graph.edge(&id).is_some() {
            return;
        }
        let metadata = Metadata::from_iter([("RelationType", Edge::LAYER2)]);
        let edge = Edge::new(id, parent.clone(), child.clone(), metadata, now);
        // Both nodes exist, so only a limit on the graph can reject the edge.
        let _added = graph.add_edge(edge.with_origin(self.origin.clone()));
    }

    fn is_own(&self, edge: &Edge) -> bool {
        *edge.origin == *self.origin.as_str() && edge.id == peering_id(&edge.parent, &edge.child)
    }
}

/// Returns the id of the edge between two peers.
fn peering_id(parent: &NodeId, child: &NodeId) -> EdgeId {
    EdgeId::derived(&format!("{parent}/{child}"))
}

impl Processor for PeeringProcessor {
    fn process(&mut self, graph: &mut Graph, event: &GraphEvent, now: Timestamp) {
        match event {
            GraphEvent::NodeAdded(node) | GraphEvent::NodeUpdated { node, .. } => {
                self.update_wanted(graph, node, now);
                self.update_target(graph, node, now);
            }
            GraphEvent::NodeDeleted(node) => self.forget(&node.id),
            _ => {}
        }
    }
}

fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    let value = node.metadata.get(key).and_then(Value::as_text);
    value.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::MetadataOp;

    const NOW: Timestamp = Timestamp::from_ms(1000);

    struct Fixture {
        graph: Graph,
        peering: PeeringProcessor,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                graph: Graph::new().with_journal(),
                peering: PeeringProcessor::new(Origin::new("analyzer", "ctl-1")),
            }
        }

        fn settle(&mut self) {
            for event in self.graph.take_events() {
                self.peering.process(&mut self.graph, &event, NOW);
            }
        }

        fn add(&mut self, id: &str, key: &'static str, mac: &str) {
            let metadata = Metadata::from_iter([("Name", id), (key, mac)]);
            self.graph.add_node(Node::new(id, metadata, NOW)).unwrap();
            self.settle();
        }

        fn set(&mut self, id: &str, key: &str, mac: &str) {
            let op = MetadataOp::set(key, mac);
            self.graph
                .patch_node(&NodeId::from(id), &[op], NOW)
                .unwrap();
            self.settle();
        }

        fn edges(&self) -> Vec<String> {
            let mut edges: Vec<String> = self
                .graph
                .edges()
                .map(|e| format!("{}>{}", e.parent, e.child))
                .collect();
            edges.sort();
            edges
        }
    }

    #[test]
    fn peers_are_linked_in_any_order_of_appearance() {
        let mut f = Fixture::new();
        f.add("tap", "PeerIntfMAC", "m1");
        f.add("vm1", "MAC", "m1");
        f.add("vm2", "MAC", "m2");
        f.add("tap2", "PeerIntfMAC", "m2");
        f.add("vm3", "MAC", "m2");
        assert_eq!(f.edges(), ["tap2>vm2", "tap2>vm3", "tap>vm1"]);
        let edge = f
            .graph
            .edges()
            .find(|e| e.child == NodeId::from("vm1"))
            .unwrap();
        assert_eq!(edge.id, EdgeId::derived("tap/vm1"));
        assert_eq!(
            (edge.host.as_str(), edge.origin.as_str()),
            ("", "analyzer.ctl-1")
        );
    }

    #[test]
    fn edges_follow_the_addresses_of_both_ends() {
        let mut f = Fixture::new();
        f.add("tap", "PeerIntfMAC", "m1");
        f.add("vm1", "MAC", "m1");
        f.set("vm1", "MAC", "m9");
        assert!(f.edges().is_empty());
        f.set("tap", "PeerIntfMAC", "m9");
        assert_eq!(f.edges(), ["tap>vm1"]);
        f.set("tap", "PeerIntfMAC", "");
        assert!(f.edges().is_empty());
        assert!(f.peering.by_mac.is_empty());
    }

    #[test]
    fn deleted_nodes_and_edges_of_others_are_left_alone() {
        let mut f = Fixture::new();
        f.add("tap", "PeerIntfMAC", "m1");
        f.add("vm1", "MAC", "m1");
        let foreign = Edge::between("tap", "vm1", Metadata::new(), NOW);
        f.graph.add_edge(foreign).unwrap();
        f.set("vm1", "MAC", "m2");
        assert_eq!(f.edges().len(), 1);
        f.graph.delete_node(&NodeId::from("tap"), NOW).unwrap();
        f.settle();
        assert!(f.peering.wanted.is_empty() && f.peering.by_mac.is_empty());
        f.add("vm2", "MAC", "m1");
        assert!(f.edges().is_empty());
    }
}
