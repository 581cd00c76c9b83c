//! `OrphanEdges`: stored edges whose nodes are not in the graph, with an index by node.

use std::collections::HashMap;

use crate::graph::{Edge, EdgeId, NodeId};

/// Edges that wait for their nodes.
///
/// `by_node` contains exactly the parents and children of `edges`.
#[derive(Debug, Default)]
pub(super) struct OrphanEdges {
    edges: HashMap<EdgeId, Edge>,
    /// Ids of the edges that start or end at a node.
    by_node: HashMap<NodeId, Vec<EdgeId>>,
}

impl OrphanEdges {
    /// Adds an edge.
    pub(super) fn add(&mut self, edge: Edge) {
        for node in [&edge.parent, &edge.child] {
            let edges = self.by_node.entry(node.clone()).or_default();
            edges.push(edge.id.clone());
        }
        self.edges.insert(edge.id.clone(), edge);
    }

    /// Removes an edge. Returns whether it was present.
    pub(super) fn remove(&mut self, id: &EdgeId) -> bool {
        let Some(edge) = self.edges.remove(id) else {
            return false;
        };
        for node in [&edge.parent, &edge.child] {
            if let Some(edges) = self.by_node.get_mut(node) {
                edges.retain(|other| other != id);
                if edges.is_empty() {
                    self.by_node.remove(node);
                }
            }
        }
        true
    }

    /// Returns the number of edges.
    pub(super) fn len(&self) -> usize {
        self.edges.len()
    }

    /// Returns whether there are no edges.
    pub(super) fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// Returns the edges that start or end at a node.
    pub(super) fn of(&self, node: &NodeId) -> Vec<Edge> {
        let ids = self.by_node.get(node).into_iter().flatten();
        ids.filter_map(|id| self.edges.get(id)).cloned().collect()
    }
}
