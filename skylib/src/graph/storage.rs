//! Where the elements are: `petgraph` for the structure, lists for the order, tables for the ids.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use petgraph::stable_graph::StableDiGraph;
use petgraph::visit::EdgeRef as _;

use super::order::Order;
use super::{Direction, Edge, EdgeId, GraphError, Node, NodeId};

/// Number of a node; used again after the node has gone.
pub(super) type NodeIndex = petgraph::stable_graph::NodeIndex<u32>;
/// Number of an edge; used again after the edge has gone.
pub(super) type EdgeIndex = petgraph::stable_graph::EdgeIndex<u32>;

#[derive(Default)]
pub(super) struct Storage {
    graph: StableDiGraph<Arc<Node>, (), u32>,
    /// What the edges hold, apart from the structure that walks read.
    edges: Vec<Option<Arc<Edge>>>,
    hasher: DefaultHashBuilder,
    node_ids: HashTable<NodeIndex>,
    edge_ids: HashTable<EdgeIndex>,
    node_order: Order,
    edge_order: Order,
    sequence: u64,
}

impl Storage {
    pub(super) fn add_node(&mut self, node: Arc<Node>) -> Result<NodeIndex, GraphError> {
        if self.find_node(&node.id).is_ok() {
            return Err(GraphError::NodeConflict);
        }
        let hash = self.hasher.hash_one(&node.id);
        let index = self
            .graph
            .try_add_node(node)
            .map_err(|_| GraphError::Full)?;
        let (graph, hasher) = (&self.graph, &self.hasher);
        self.node_ids.insert_unique(hash, index, |i| {
            graph.node_weight(*i).map_or(0, |n| hasher.hash_one(&n.id))
        });
        self.node_order.push(index.index());
        self.sequence += 1;
        Ok(index)
    }

    pub(super) fn add_edge(&mut self, edge: Arc<Edge>) -> Result<EdgeIndex, GraphError> {
        if self.find_edge(&edge.id).is_ok() {
            return Err(GraphError::EdgeConflict);
        }
        let (parent, _) = self
            .find_node(&edge.parent)
            .map_err(|_| GraphError::ParentNotFound)?;
        let (child, _) = self
            .find_node(&edge.child)
            .map_err(|_| GraphError::ChildNotFound)?;
        let hash = self.hasher.hash_one(&edge.id);
        let index = self
            .graph
            .try_add_edge(parent, child, ())
            .map_err(|_| GraphError::Full)?;
        if self.edges.len() <= index.index() {
            self.edges.resize(index.index() + 1, None);
        }
        self.edges[index.index()] = Some(edge);
        let (edges, hasher) = (&self.edges, &self.hasher);
        self.edge_ids.insert_unique(hash, index, |i| {
            edges[i.index()]
                .as_ref()
                .map_or(0, |e| hasher.hash_one(&e.id))
        });
        self.edge_order.push(index.index());
        self.sequence += 1;
        Ok(index)
    }

    pub(super) fn revise_node(&mut self, index: NodeIndex, node: Arc<Node>) {
        if let Some(slot) = self.graph.node_weight_mut(index) {
            *slot = node;
            self.sequence += 1;
        }
    }

    pub(super) fn revise_edge(&mut self, index: EdgeIndex, edge: Arc<Edge>) {
        if let Some(slot) = self.edges.get_mut(index.index()) {
            *slot = Some(edge);
            self.sequence += 1;
        }
    }

    /// Removes a node and its edges; gives back the edges in the order of [`Storage::edges_of`].
    pub(super) fn delete_node(&mut self, index: NodeIndex) -> (Vec<Arc<Edge>>, Option<Arc<Node>>) {
        let edges = self.edge_indexes(index, Direction::Both);
        // The newest first: petgraph finds it at once, at this end at least.
        let mut gone: Vec<_> = edges
            .iter()
            .rev()
            .filter_map(|(edge, _)| self.delete_edge(*edge))
            .collect();
        gone.reverse();
        let node = self.graph.remove_node(index);
        if let Some(node) = &node {
            let hash = self.hasher.hash_one(&node.id);
            if let Ok(entry) = self.node_ids.find_entry(hash, |i| *i == index) {
                entry.remove();
            }
            self.node_order.remove(index.index());
            self.sequence += 1;
        }
        (gone, node)
    }

    pub(super) fn delete_edge(&mut self, index: EdgeIndex) -> Option<Arc<Edge>> {
        let edge = self.edges.get_mut(index.index())?.take()?;
        self.graph.remove_edge(index);
        let hash = self.hasher.hash_one(&edge.id);
        if let Ok(entry) = self.edge_ids.find_entry(hash, |i| *i == index) {
            entry.remove();
        }
        self.edge_order.remove(index.index());
        self.sequence += 1;
        Some(edge)
    }

    pub(super) fn find_node(&self, id: &NodeId) -> Result<(NodeIndex, &Arc<Node>), GraphError> {
        let hash = self.hasher.hash_one(id);
        let is_it = |i: &NodeIndex| self.graph.node_weight(*i).is_some_and(|n| n.id == *id);
        let index = *self
            .node_ids
            .find(hash, is_it)
            .ok_or(GraphError::NodeNotFound)?;
        Ok((
            index,
            self.graph
                .node_weight(index)
                .ok_or(GraphError::NodeNotFound)?,
        ))
    }

    pub(super) fn find_edge(&self, id: &EdgeId) -> Result<(EdgeIndex, &Arc<Edge>), GraphError> {
        let hash = self.hasher.hash_one(id);
        let is_it = |i: &EdgeIndex| self.edge(*i).is_some_and(|e| e.id == *id);
        let index = *self
            .edge_ids
            .find(hash, is_it)
            .ok_or(GraphError::EdgeNotFound)?;
        Ok((index, self.edge(index).ok_or(GraphError::EdgeNotFound)?))
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.node_order
            .iter()
            .filter_map(|i| self.graph.node_weight(NodeIndex::new(i)))
    }

    pub(super) fn edges(&self) -> impl Iterator<Item = &Arc<Edge>> {
        self.edge_order
            .iter()
            .filter_map(|i| self.edge(EdgeIndex::new(i)))
    }

    pub(super) fn node_count(&self) -> usize {
        self.node_ids.len()
    }

    pub(super) fn edge_count(&self) -> usize {
        self.edge_ids.len()
    }

    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn edges_of(
        &self,
        index: NodeIndex,
        direction: Direction,
    ) -> impl Iterator<Item = (&Arc<Edge>, &Arc<Node>)> {
        self.edge_indexes(index, direction)
            .into_iter()
            .filter_map(|(edge, node)| Some((self.edge(edge)?, self.graph.node_weight(node)?)))
    }

    fn edge(&self, index: EdgeIndex) -> Option<&Arc<Edge>> {
        self.edges.get(index.index())?.as_ref()
    }

    /// Edges and the nodes at their other ends; outgoing first, oldest first, loops once.
    fn edge_indexes(&self, index: NodeIndex, direction: Direction) -> Vec<(EdgeIndex, NodeIndex)> {
        let mut found = Vec::new();
        if direction != Direction::In {
            let out = self.graph.edges_directed(index, petgraph::Outgoing);
            found.extend(out.map(|e| (e.id(), e.target())));
            found.reverse();
        }
        if direction != Direction::Out {
            let from = found.len();
            let loops = direction == Direction::Both;
            let incoming = self.graph.edges_directed(index, petgraph::Incoming);
            let incoming = incoming.filter(|e| !(loops && e.source() == index));
            found.extend(incoming.map(|e| (e.id(), e.source())));
            found[from..].reverse();
        }
        found
    }
}
