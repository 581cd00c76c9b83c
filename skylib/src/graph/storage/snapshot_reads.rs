//! What views read.

use std::sync::Arc;

use super::{EdgeIndex, NodeIndex, Storage, Walker, number};
use crate::graph::{Edge, EdgeId, Metadata, Node, NodeId};

/// The graph as of a sequence number at which a view is open.
impl Storage {
    pub(in crate::graph) fn node_at(&self, index: NodeIndex, sequence: u64) -> Option<&Arc<Node>> {
        let slot = self.graph.node_weight(index)?;
        if slot.mark.is_seen_at(sequence) {
            return Some(&slot.node);
        }
        self.node_past
            .at(number(index.index()), slot.mark, &slot.node, sequence)
    }

    /// [`Storage::node_at`] with the node's metadata, which are reached without the node where it
    /// is the newest revision.
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
        let living = self.find_node(id).ok().map(|(index, _)| index);
        let gone = self
            .node_past
            .gone(id)
            .iter()
            .map(|index| NodeIndex::new(*index as usize));
        living
            .into_iter()
            .chain(gone)
            .find_map(|i| Some((i, self.node_at(i, sequence)?)))
    }

    pub(in crate::graph) fn find_edge_at(
        &self,
        id: &EdgeId,
        sequence: u64,
    ) -> Option<(EdgeIndex, &Arc<Edge>)> {
        let living = self.find_edge(id).ok().map(|(index, _)| index);
        let gone = self
            .edge_past
            .gone(id)
            .iter()
            .map(|index| EdgeIndex::new(*index as usize));
        living
            .into_iter()
            .chain(gone)
            .find_map(|i| Some((i, self.edge_at(i, sequence)?)))
    }

    /// Whether a view sees a node's newest revision, which is the one that is indexed.
    pub(in crate::graph) fn is_newest_at(&self, index: NodeIndex, sequence: u64) -> bool {
        self.graph
            .node_weight(index)
            .is_some_and(|slot| slot.mark.is_seen_at(sequence))
    }

    /// The change that brought a node.
    pub(in crate::graph) fn born(&self, index: NodeIndex) -> u64 {
        self.graph.node_weight(index).map_or(0, |slot| slot.born)
    }

    /// Whether an edge came after `sequence`, and so every one that follows in the order.
    ///
    /// A change of an edge that a view can see leaves a former revision, so an edge with none that
    /// changed after the view was opened was not there.
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

    /// The nodes that changed or went after `sequence`, each as often as it did.
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

    /// Steps over the edges on one side of a node, newest first; see [`Storage::step`].
    pub(in crate::graph) fn walker(&self, index: NodeIndex, side: petgraph::Direction) -> Walker {
        self.graph.neighbors_directed(index, side).detach()
    }

    /// The next edge and the node at its other end, of all edges that are held.
    pub(in crate::graph) fn step(&self, walker: &mut Walker) -> Option<(EdgeIndex, NodeIndex)> {
        walker.next(&self.graph)
    }
}
