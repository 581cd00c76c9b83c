//! Reads of a snapshot at its sequence number.

use std::sync::Arc;

use super::{EdgeIndex, NodeIndex, Storage, Walker, number};
use crate::graph::{Edge, EdgeId, Metadata, Node, NodeId};

/// Reading methods for a sequence number at which a view is open.
impl Storage {
    pub(in crate::graph) fn node_at(&self, index: NodeIndex, sequence: u64) -> Option<&Arc<Node>> {
        let slot = self.graph.node_weight(index)?;
        if slot.mark.is_seen_at(sequence) {
            return Some(&slot.node);
        }
        self.node_past
            .at(number(index.index()), slot.mark, &slot.node, sequence)
    }

    /// Returns the result of [`Storage::node_at`] with the metadata of the node. For the newest
    /// revision, the metadata is read without loading the node.
    #[inline]
    pub(in crate::graph) fn node_and_metadata_at(
        &self,
        index: NodeIndex,
        sequence: u64,
    ) -> Option<(&Arc<Node>, &Metadata)> {
        let slot = self.graph.node_weight(index)?;
        if slot.mark.is_seen_at(sequence) {
            return Some((&slot.node, &slot.metadata));
        }
        let node = self.node_at(index, sequence)?;
        Some((node, &node.metadata))
    }

    pub(in crate::graph) fn edge_at(&self, index: EdgeIndex, sequence: u64) -> Option<&Arc<Edge>> {
        let mark = *self.graph.edge_weight(index)?;
        let newest = self.newest_edge(index)?;
        if mark.is_seen_at(sequence) {
            return Some(newest);
        }
        self.edge_past
            .at(number(index.index()), mark, newest, sequence)
    }

    pub(in crate::graph) fn has_edge_at(&self, index: EdgeIndex, sequence: u64) -> bool {
        match self.graph.edge_weight(index) {
            Some(mark) if mark.is_seen_at(sequence) => true,
            _ => self.edge_at(index, sequence).is_some(),
        }
    }

    pub(in crate::graph) fn find_node_at(
        &self,
        id: &NodeId,
        sequence: u64,
    ) -> Option<(NodeIndex, &Arc<Node>)> {
        let existing = self.find_node(id).ok().map(|(index, _)| index);
        let deleted = self
            .node_past
            .deleted(id)
            .iter()
            .map(|index| NodeIndex::new(*index as usize));
        existing
            .into_iter()
            .chain(deleted)
            .find_map(|i| Some((i, self.node_at(i, sequence)?)))
    }

    pub(in crate::graph) fn find_edge_at(
        &self,
        id: &EdgeId,
        sequence: u64,
    ) -> Option<(EdgeIndex, &Arc<Edge>)> {
        let existing = self.find_edge(id).ok().map(|(index, _)| index);
        let deleted = self
            .edge_past
            .deleted(id)
            .iter()
            .map(|index| EdgeIndex::new(*index as usize));
        existing
            .into_iter()
            .chain(deleted)
            .find_map(|i| Some((i, self.edge_at(i, sequence)?)))
    }

    /// Returns whether a view sees the newest revision of a node, which is the indexed one.
    pub(in crate::graph) fn is_newest_at(&self, index: NodeIndex, sequence: u64) -> bool {
        self.graph
            .node_weight(index)
            .is_some_and(|slot| slot.mark.is_seen_at(sequence))
    }

    /// Returns the sequence number of the insertion of a node.
    pub(in crate::graph) fn born(&self, index: NodeIndex) -> u64 {
        self.graph.node_weight(index).map_or(0, |slot| slot.born)
    }

    /// Returns whether an edge, and therefore every later edge in insertion order, was inserted
    /// after `sequence`.
    ///
    /// A change to an edge that a view can see stores an old revision. Therefore, an edge that
    /// changed after the view was opened and has no old revision did not exist at that time.
    pub(in crate::graph) fn is_edge_younger(&self, index: EdgeIndex, sequence: u64) -> bool {
        self.graph
            .edge_weight(index)
            .is_some_and(|mark| !mark.is_seen_at(sequence))
            && !self.edge_past.has(number(index.index()))
    }

    pub(in crate::graph) fn node_after(&self, index: Option<NodeIndex>) -> Option<NodeIndex> {
        self.node_order
            .after(index.map(NodeIndex::index))
            .map(NodeIndex::new)
    }

    pub(in crate::graph) fn edge_after(&self, index: Option<EdgeIndex>) -> Option<EdgeIndex> {
        self.edge_order
            .after(index.map(EdgeIndex::index))
            .map(EdgeIndex::new)
    }

    /// Returns the nodes that changed or were deleted after `sequence`, once for each change.
    pub(in crate::graph) fn nodes_changed_after(
        &self,
        sequence: u64,
    ) -> impl Iterator<Item = NodeIndex> {
        self.node_past
            .changed_after(sequence)
            .map(|index| NodeIndex::new(index as usize))
    }

    pub(in crate::graph) fn ends(&self, index: EdgeIndex) -> Option<(NodeIndex, NodeIndex)> {
        self.graph.edge_endpoints(index)
    }

    /// Returns a cursor over the edges on one side of a node, newest first; see [`Storage::step`].
    pub(in crate::graph) fn walker(&self, index: NodeIndex, side: petgraph::Direction) -> Walker {
        self.graph.neighbors_directed(index, side).detach()
    }

    /// Advances the cursor; returns the next edge, which may be deleted, and the node at its other end.
    pub(in crate::graph) fn step(&self, walker: &mut Walker) -> Option<(EdgeIndex, NodeIndex)> {
        walker.next(&self.graph)
    }
}
