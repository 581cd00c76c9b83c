//! Kept edges whose ends are not in the graph yet.

use std::collections::HashMap;

use crate::graph::{Edge, EdgeId, NodeId};

/// Edges by their ends.
#[derive(Debug, Default)]
pub(super) struct WaitingEdges {
    edges: HashMap<EdgeId, Edge>,
    by_end: HashMap<NodeId, Vec<EdgeId>>,
}

impl WaitingEdges {
    /// Lets an edge wait for its ends.
    pub(super) fn add(&mut self, edge: Edge) {
        for end in [&edge.parent, &edge.child] {
            let waiting = self.by_end.entry(end.clone()).or_default();
            waiting.push(edge.id.clone());
        }
        self.edges.insert(edge.id.clone(), edge);
    }

    /// It waits no more.
    pub(super) fn remove(&mut self, id: &EdgeId) {
        self.edges.remove(id);
        if self.edges.is_empty() {
            self.by_end = HashMap::new();
        }
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// Those with this end.
    pub(super) fn of(&self, end: &NodeId) -> Vec<Edge> {
        let ids = self.by_end.get(end).into_iter().flatten();
        ids.filter_map(|id| self.edges.get(id)).cloned().collect()
    }

    /// Lets none wait any more.
    pub(super) fn take_all(&mut self) -> Vec<EdgeId> {
        let edges = std::mem::take(self).edges;
        edges.into_keys().collect()
    }
}
