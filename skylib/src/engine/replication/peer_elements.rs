//! `PeerElements`: the elements that came from other analyzers.
//!
//! An analyzer sends each peer only elements of its own: those of its agents, publishers, and
//! clients. So it must know which elements it has from a peer, also to remove those that a peer no
//! longer has. An element becomes the analyzer's own when another writer adds or deletes it here, for
//! example an agent that has changed to this analyzer.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use crate::graph::{EdgeId, Graph, GraphEvent, NodeId};
use crate::value::Text;

/// Elements by the peer that sent them.
#[derive(Debug, Default)]
pub(super) struct PeerElements {
    nodes: HashMap<NodeId, Source>,
    edges: HashMap<EdgeId, Source>,
}

/// Peer that sent an element.
#[derive(Clone, Debug)]
struct Source {
    peer: Text,
    /// Sequence number of the graph when the element was added. Events with a lower number are
    /// ignored.
    sequence: u64,
}

impl PeerElements {
    /// Records a node that a peer added.
    pub(super) fn add_node(&mut self, id: NodeId, peer: &Text, sequence: u64) {
        let peer = peer.clone();
        self.nodes.insert(id, Source { peer, sequence });
    }

    /// Records an edge that a peer added.
    pub(super) fn add_edge(&mut self, id: EdgeId, peer: &Text, sequence: u64) {
        let peer = peer.clone();
        self.edges.insert(id, Source { peer, sequence });
    }

    /// Returns the peer from which a node came.
    pub(super) fn source_of_node(&self, id: &NodeId) -> Option<&str> {
        self.nodes.get(id).map(|source| source.peer.as_str())
    }

    /// Returns the peer from which an edge came.
    pub(super) fn source_of_edge(&self, id: &EdgeId) -> Option<&str> {
        self.edges.get(id).map(|source| source.peer.as_str())
    }

    /// Handles a change that another writer made.
    pub(super) fn graph_event(&mut self, event: &GraphEvent, sequence: u64) {
        match event {
            GraphEvent::NodeAdded(node) | GraphEvent::NodeDeleted(node) => {
                forget(&mut self.nodes, &node.id, sequence);
            }
            GraphEvent::EdgeAdded(edge) | GraphEvent::EdgeDeleted(edge) => {
                forget(&mut self.edges, &edge.id, sequence);
            }
            GraphEvent::NodeUpdated { .. } | GraphEvent::EdgeUpdated { .. } => {}
        }
    }

    /// Removes a node that a peer deleted.
    pub(super) fn remove_node(&mut self, id: &NodeId) {
        self.nodes.remove(id);
    }

    /// Removes an edge that a peer deleted.
    pub(super) fn remove_edge(&mut self, id: &EdgeId) {
        self.edges.remove(id);
    }

    /// Returns the elements of a peer that are not in its new graph.
    pub(super) fn missing(
        &self,
        peer: &str,
        nodes: &HashSet<NodeId>,
        edges: &HashSet<EdgeId>,
    ) -> (Vec<NodeId>, Vec<EdgeId>) {
        (
            missing(&self.nodes, peer, nodes),
            missing(&self.edges, peer, edges),
        )
    }

    /// Returns the nodes of a peer whose origins `is_selected` selects.
    pub(super) fn nodes_of(
        &self,
        graph: &Graph,
        peer: &str,
        is_selected: impl Fn(&str) -> bool,
    ) -> Vec<NodeId> {
        let of_peer = self
            .nodes
            .iter()
            .filter(|(_, source)| *source.peer == *peer);
        of_peer
            .filter(|(id, _)| graph.node(id).is_some_and(|node| is_selected(&node.origin)))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Returns whether there are no elements of peers.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.edges.is_empty()
    }

    /// Returns the number of nodes and edges of peers.
    pub(super) fn len(&self) -> usize {
        self.nodes.len() + self.edges.len()
    }
}

fn forget<I: Eq + Hash>(known: &mut HashMap<I, Source>, id: &I, sequence: u64) {
    if known
        .get(id)
        .is_some_and(|source| source.sequence < sequence)
    {
        known.remove(id);
    }
}

fn missing<I: Eq + Hash + Clone>(
    known: &HashMap<I, Source>,
    peer: &str,
    present: &HashSet<I>,
) -> Vec<I> {
    let of_peer = known.iter().filter(|(_, source)| *source.peer == *peer);
    let absent = of_peer.filter(|(id, _)| !present.contains(*id));
    absent.map(|(id, _)| id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::graph::{Metadata, Node};
    use crate::time::Timestamp;

    fn event(id: &str) -> GraphEvent {
        GraphEvent::NodeAdded(Arc::new(Node::new(id, Metadata::new(), Timestamp::ZERO)))
    }

    #[test]
    fn a_later_change_of_another_writer_makes_an_element_own() {
        let mut elements = PeerElements::default();
        let id = NodeId::from("n");
        elements.add_node(id.clone(), &"b".into(), 10);
        elements.graph_event(&event("n"), 9);
        elements.graph_event(&event("n"), 10);
        assert!(
            elements.source_of_node(&id).is_some(),
            "the events precede it"
        );
        elements.graph_event(&event("n"), 11);
        assert!(elements.source_of_node(&id).is_none() && elements.is_empty());
    }

    #[test]
    fn elements_that_a_peer_no_longer_has_are_found() {
        let mut elements = PeerElements::default();
        for (id, peer) in [("n1", "b"), ("n2", "b"), ("n3", "c")] {
            elements.add_node(id.into(), &peer.into(), 1);
        }
        elements.add_edge("e1".into(), &"b".into(), 1);
        let nodes = HashSet::from(["n1".into()]);
        let (nodes, edges) = elements.missing("b", &nodes, &HashSet::new());
        assert_eq!((nodes, edges), (vec!["n2".into()], vec!["e1".into()]));
        assert_eq!(elements.len(), 4);
    }
}
