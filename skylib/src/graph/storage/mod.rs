//! `Storage`: the structure in `petgraph`, the insertion order in linked lists, ids in hash tables,
//! secondary indexes, and the old revisions that open views need (MVCC).
//!
//! Reading or changing an element costs `O(1)`, plus the update of the indexes for changed
//! metadata.

mod snapshot_reads;

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use petgraph::stable_graph::{StableDiGraph, WalkNeighbors};

use crate::filter::Predicate;
use crate::graph::element::{Element as _, size};
use crate::graph::index::{DEFAULT_KEYS, Indexes, Nodes, Posting};
use crate::graph::insertion_order::InsertionOrder;
use crate::graph::mvcc::{Dropped, Mark, OldRevisions};
use crate::graph::open_views::OpenViews;
use crate::graph::pins::Pins;
use crate::graph::{Direction, Edge, EdgeId, GraphError, Metadata, Node, NodeId};
use crate::value::Text;

/// Index of a node; reused after the node has been removed.
pub(in crate::graph) type NodeIndex = petgraph::stable_graph::NodeIndex<u32>;
/// Index of an edge; reused after the edge has been removed.
pub(in crate::graph) type EdgeIndex = petgraph::stable_graph::EdgeIndex<u32>;

pub(in crate::graph) struct Storage {
    /// Structure, including the deleted elements that open views need. The weight of an edge is
    /// only eight bytes, so that walks read little memory.
    graph: StableDiGraph<Slot, Mark, u32>,
    /// Newest revision of each edge by its index; `None` for an index that is not in `graph`.
    edges: Vec<Option<Arc<Edge>>>,
    hasher: DefaultHashBuilder,
    /// Hash index of the ids of existing nodes, without deleted ones.
    node_ids: HashTable<NodeIndex>,
    /// Hash index of the ids of existing edges, without deleted ones.
    edge_ids: HashTable<EdgeIndex>,
    node_order: InsertionOrder,
    edge_order: InsertionOrder,
    indexes: Indexes,
    /// Sequence number of the last change.
    sequence: u64,
    node_past: OldRevisions<Node>,
    edge_past: OldRevisions<Edge>,
    views: Arc<OpenViews>,
    pins: Arc<Pins>,
    limits: PastLimits,
}

/// A node in the structure: its newest revision.
struct Slot {
    mark: Mark,
    /// Sequence number of its insertion, by which nodes are ordered.
    born: u64,
    node: Arc<Node>,
    /// Metadata of the node, so that a scan that tests only metadata need not load the node itself.
    metadata: Metadata,
}

/// Limits on the old revisions stored for open views.
#[derive(Clone, Copy, Debug)]
pub(in crate::graph) struct PastLimits {
    pub(in crate::graph) revisions: usize,
    pub(in crate::graph) bytes: usize,
}

/// Maximum number of old revisions that one change drops. One change adds fewer, except for the
/// deletion of a node with many edges.
const DROPS_PER_CHANGE: usize = 64;

impl Default for Storage {
    fn default() -> Self {
        Self::with_indexes(DEFAULT_KEYS)
    }
}

/// Writing methods.
impl Storage {
    pub(in crate::graph) fn with_indexes<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            graph: StableDiGraph::default(),
            edges: Vec::new(),
            hasher: DefaultHashBuilder::default(),
            node_ids: HashTable::new(),
            edge_ids: HashTable::new(),
            node_order: InsertionOrder::default(),
            edge_order: InsertionOrder::default(),
            indexes: Indexes::new(keys),
            sequence: 0,
            node_past: OldRevisions::default(),
            edge_past: OldRevisions::default(),
            views: Arc::default(),
            pins: Arc::default(),
            limits: PastLimits {
                // Enough for a publisher of 100 000 nodes that deletes and adds all of them.
                revisions: 1 << 18,
                bytes: 128 << 20,
            },
        }
    }

    pub(in crate::graph) const fn set_past_limits(&mut self, limits: PastLimits) {
        self.limits = limits;
    }

    pub(in crate::graph) fn add_node(&mut self, node: &Arc<Node>) -> Result<(), GraphError> {
        if self.find_node(&node.id).is_ok() {
            return Err(GraphError::NodeConflict);
        }
        let hash = self.hasher.hash_one(&node.id);
        let born = self.sequence + 1;
        let slot = Slot {
            mark: Mark::new(born),
            born,
            node: Arc::clone(node),
            metadata: node.metadata.clone(),
        };
        if self.graph.node_count() == self.graph.capacity().0 {
            self.graph
                .reserve_exact_nodes(room_for(self.graph.node_count())?);
        }
        let index = self
            .graph
            .try_add_node(slot)
            .map_err(|_| GraphError::Full)?;
        self.begin_change();
        let (graph, hasher) = (&self.graph, &self.hasher);
        self.node_ids.insert_unique(hash, index, |i| {
            graph
                .node_weight(*i)
                .map_or(0, |slot| hasher.hash_one(&slot.node.id))
        });
        self.node_order.push(index.index());
        self.indexes
            .add(number(index.index()), &node.metadata, &self.graph);
        Ok(())
    }

    pub(in crate::graph) fn add_edge(&mut self, edge: Arc<Edge>) -> Result<(), GraphError> {
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
        let mark = Mark::new(self.sequence + 1);
        if self.graph.edge_count() == self.graph.capacity().1 {
            self.graph
                .reserve_exact_edges(room_for(self.graph.edge_count())?);
        }
        let index = self
            .graph
            .try_add_edge(parent, child, mark)
            .map_err(|_| GraphError::Full)?;
        self.begin_change();
        make_room(&mut self.edges, index.index());
        self.edges[index.index()] = Some(edge);
        let (edges, hasher) = (&self.edges, &self.hasher);
        self.edge_ids.insert_unique(hash, index, |i| {
            edges[i.index()]
                .as_ref()
                .map_or(0, |edge| hasher.hash_one(&edge.id))
        });
        self.edge_order.push(index.index());
        Ok(())
    }

    pub(in crate::graph) fn revise_node(&mut self, index: NodeIndex, node: Arc<Node>) {
        let newest_view = self.begin_change();
        let Some(slot) = self.graph.node_weight_mut(index) else {
            return;
        };
        let mark = std::mem::replace(&mut slot.mark, Mark::new(self.sequence));
        let former = std::mem::replace(&mut slot.node, node);
        slot.metadata = slot.node.metadata.clone();
        let node = Arc::clone(&slot.node);
        let raw = number(index.index());
        self.pins.replaced(mark.sequence(), || size(&*former));
        self.indexes
            .update(raw, &former.metadata, &node.metadata, &self.graph);
        if newest_view.is_some_and(|view| mark.is_seen_at(view)) {
            self.node_past.store(raw, mark, former, self.sequence);
        }
    }

    pub(in crate::graph) fn revise_edge(&mut self, index: EdgeIndex, edge: Arc<Edge>) {
        let newest_view = self.begin_change();
        let Some(slot) = self.edges.get_mut(index.index()) else {
            return;
        };
        let Some(mark) = self.graph.edge_weight_mut(index) else {
            return;
        };
        let mark = std::mem::replace(mark, Mark::new(self.sequence));
        let Some(former) = slot.replace(edge) else {
            return;
        };
        self.pins.replaced(mark.sequence(), || size(&*former));
        if newest_view.is_some_and(|view| mark.is_seen_at(view)) {
            self.edge_past
                .store(number(index.index()), mark, former, self.sequence);
        }
    }

    /// Removes a node and its edges; returns the edges in the order of [`Storage::edges_of`].
    pub(in crate::graph) fn delete_node(
        &mut self,
        index: NodeIndex,
    ) -> (Vec<Arc<Edge>>, Option<Arc<Node>>) {
        let newest_view = self.begin_change();
        let edges = self.live_edges(index, Direction::Both);
        // Newest edges first: the newest edge is the head of petgraph's linked list, at least at
        // this end.
        let remove = |(edge, _): &_| self.remove_edge(*edge, newest_view);
        let mut deleted: Vec<_> = edges.iter().rev().filter_map(remove).collect();
        deleted.reverse();
        (deleted, self.remove_node(index, newest_view))
    }

    pub(in crate::graph) fn delete_edge(&mut self, index: EdgeIndex) -> Option<Arc<Edge>> {
        let newest_view = self.begin_change();
        self.remove_edge(index, newest_view)
    }

    /// Increments the sequence number and drops old revisions that no view needs; returns the
    /// sequence number of the newest open view.
    fn begin_change(&mut self) -> Option<u64> {
        self.sequence += 1;
        if self.node_past.len() + self.edge_past.len() == 0 {
            return self.views.range().map(|(_, newest)| newest);
        }
        loop {
            let range = self.views.range();
            let oldest = range.map_or(u64::MAX, |(oldest, _)| oldest);
            self.drop_past(oldest);
            if !self.is_past_full() || !self.is_needed(oldest) {
                return range.map(|(_, newest)| newest);
            }
            self.views.expire(oldest);
        }
    }

    /// Drops old revisions that the oldest view does not need, up to a limit.
    fn drop_past(&mut self, oldest_view: u64) {
        for _ in 0..DROPS_PER_CHANGE {
            // Edges first: petgraph removes the edges of a node together with the node.
            match self.edge_past.drop_one(oldest_view) {
                Dropped::Element(index) => self.free_edge(EdgeIndex::new(index as usize)),
                Dropped::Revision => {}
                Dropped::Nothing => match self.node_past.drop_one(oldest_view) {
                    Dropped::Element(index) => self.free_node(NodeIndex::new(index as usize)),
                    Dropped::Revision => {}
                    Dropped::Nothing => return,
                },
            }
        }
    }

    fn is_past_full(&self) -> bool {
        self.node_past.len() + self.edge_past.len() > self.limits.revisions
            || self.node_past.bytes() + self.edge_past.bytes() > self.limits.bytes
    }

    /// Returns whether the oldest view needs the revision that would be dropped next.
    fn is_needed(&self, oldest_view: u64) -> bool {
        let ends = [self.node_past.oldest_end(), self.edge_past.oldest_end()];
        ends.into_iter().flatten().all(|end| end > oldest_view)
    }

    fn remove_node(&mut self, index: NodeIndex, newest_view: Option<u64>) -> Option<Arc<Node>> {
        let raw = number(index.index());
        let slot = self
            .graph
            .node_weight_mut(index)
            .filter(|slot| !slot.mark.is_deleted())?;
        let (mark, node) = (slot.mark, Arc::clone(&slot.node));
        slot.mark = mark.deleted();
        self.pins.replaced(mark.sequence(), || size(&*node));
        let hash = self.hasher.hash_one(&node.id);
        if let Ok(entry) = self.node_ids.find_entry(hash, |i| *i == index) {
            entry.remove();
        }
        self.indexes.remove(raw, &node.metadata, &self.graph);
        let is_seen = newest_view.is_some_and(|view| mark.is_seen_at(view));
        if is_seen || self.node_past.has(raw) {
            self.node_past.store_deleted(raw, &node, self.sequence);
        } else {
            self.free_node(index);
        }
        Some(node)
    }

    fn remove_edge(&mut self, index: EdgeIndex, newest_view: Option<u64>) -> Option<Arc<Edge>> {
        let raw = number(index.index());
        let mark = self
            .graph
            .edge_weight_mut(index)
            .filter(|mark| !mark.is_deleted())?;
        let is_seen = newest_view.is_some_and(|view| mark.is_seen_at(view));
        *mark = mark.deleted();
        let edge = Arc::clone(self.edges.get(index.index())?.as_ref()?);
        self.pins.replaced(mark.sequence(), || size(&*edge));
        let hash = self.hasher.hash_one(&edge.id);
        if let Ok(entry) = self.edge_ids.find_entry(hash, |i| *i == index) {
            entry.remove();
        }
        if is_seen || self.edge_past.has(raw) {
            self.edge_past.store_deleted(raw, &edge, self.sequence);
        } else {
            self.free_edge(index);
        }
        Some(edge)
    }

    fn free_node(&mut self, index: NodeIndex) {
        if let Some(slot) = self.graph.remove_node(index) {
            self.node_past.forget(slot.node.id(), number(index.index()));
            self.node_order.remove(index.index());
        }
    }

    fn free_edge(&mut self, index: EdgeIndex) {
        self.graph.remove_edge(index);
        if let Some(edge) = self.edges.get_mut(index.index()).and_then(Option::take) {
            self.edge_past.forget(edge.id(), number(index.index()));
            self.edge_order.remove(index.index());
        }
    }
}

/// Reading methods for the present.
impl Storage {
    pub(in crate::graph) fn find_node(
        &self,
        id: &NodeId,
    ) -> Result<(NodeIndex, &Arc<Node>), GraphError> {
        let hash = self.hasher.hash_one(id);
        let is_it = |i: &NodeIndex| self.graph.node_weight(*i).is_some_and(|s| s.node.id == *id);
        let index = *self
            .node_ids
            .find(hash, is_it)
            .ok_or(GraphError::NodeNotFound)?;
        let slot = self
            .graph
            .node_weight(index)
            .ok_or(GraphError::NodeNotFound)?;
        Ok((index, &slot.node))
    }

    pub(in crate::graph) fn find_edge(
        &self,
        id: &EdgeId,
    ) -> Result<(EdgeIndex, &Arc<Edge>), GraphError> {
        let hash = self.hasher.hash_one(id);
        let is_it = |i: &EdgeIndex| self.newest_edge(*i).is_some_and(|edge| edge.id == *id);
        let index = *self
            .edge_ids
            .find(hash, is_it)
            .ok_or(GraphError::EdgeNotFound)?;
        Ok((
            index,
            self.newest_edge(index).ok_or(GraphError::EdgeNotFound)?,
        ))
    }

    pub(in crate::graph) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        let slots = self
            .node_order
            .iter()
            .filter_map(|i| self.graph.node_weight(NodeIndex::new(i)));
        slots
            .filter(|slot| !slot.mark.is_deleted())
            .map(|slot| &slot.node)
    }

    pub(in crate::graph) fn edges(&self) -> impl Iterator<Item = &Arc<Edge>> {
        let indexes = self.edge_order.iter().map(EdgeIndex::new);
        indexes
            .filter(|i| self.is_live_edge(*i))
            .filter_map(|i| self.newest_edge(i))
    }

    pub(in crate::graph) fn node_count(&self) -> usize {
        self.node_ids.len()
    }

    pub(in crate::graph) fn edge_count(&self) -> usize {
        self.edge_ids.len()
    }

    pub(in crate::graph) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Iterates over the indexed keys.
    pub(in crate::graph) fn indexed_keys(&self) -> impl Iterator<Item = &Text> {
        self.indexes.keys()
    }

    /// Returns the nodes whose value at a key equals a literal; `None` if no index covers the key.
    pub(in crate::graph) fn posting(
        &self,
        key: &str,
        predicate: &Predicate,
    ) -> Option<Option<Posting<'_>>> {
        self.indexes.find(key, predicate, &self.graph)
    }

    pub(in crate::graph) const fn pins(&self) -> &Arc<Pins> {
        &self.pins
    }

    pub(in crate::graph) const fn views(&self) -> &Arc<OpenViews> {
        &self.views
    }

    /// Returns the nodes of a posting list that were inserted after `birth`, with the sequence
    /// numbers of their insertion.
    pub(in crate::graph) fn posted<'a>(
        &'a self,
        posting: Posting<'a>,
        birth: u64,
    ) -> impl Iterator<Item = (u64, NodeIndex)> + use<'a> {
        let born = |index| self.graph.born(index);
        let (one, many) = match posting {
            Posting::One(index) => (Some(index).filter(|index| born(*index) > birth), None),
            Posting::Many(list) => (None, Some(list.after(birth, born))),
        };
        let indexes = one.into_iter().chain(many.into_iter().flatten());
        indexes.map(move |index| (born(index), NodeIndex::new(index as usize)))
    }

    pub(in crate::graph) fn edges_of(
        &self,
        index: NodeIndex,
        direction: Direction,
    ) -> impl Iterator<Item = (&Arc<Edge>, &Arc<Node>)> {
        let edges = self.live_edges(index, direction).into_iter();
        edges.filter_map(|(edge, node)| {
            Some((self.newest_edge(edge)?, &self.graph.node_weight(node)?.node))
        })
    }

    /// Returns the edges of a node and the nodes at their other ends: first the outgoing, then the
    /// incoming edges, oldest first; a loop is returned once.
    fn live_edges(&self, index: NodeIndex, direction: Direction) -> Vec<(EdgeIndex, NodeIndex)> {
        let mut found = Vec::new();
        for side in sides(direction) {
            let from = found.len();
            let mut walker = self.walker(index, *side);
            while let Some((edge, node)) = walker.next(&self.graph) {
                if self.is_live_edge(edge) && !is_repeated_loop(direction, *side, index, node) {
                    found.push((edge, node));
                }
            }
            found[from..].reverse();
        }
        found
    }

    fn newest_edge(&self, index: EdgeIndex) -> Option<&Arc<Edge>> {
        self.edges.get(index.index())?.as_ref()
    }

    fn is_live_edge(&self, index: EdgeIndex) -> bool {
        self.graph
            .edge_weight(index)
            .is_some_and(|mark| !mark.is_deleted())
    }
}

#[cfg(test)]
impl Storage {
    /// Returns the number of old revisions and deletions stored for views.
    pub(in crate::graph) fn stored_past(&self) -> usize {
        self.node_past.len() + self.edge_past.len()
    }

    /// Returns the number of nodes and edges in the structure, deleted ones included.
    pub(in crate::graph) fn stored_elements(&self) -> (usize, usize) {
        (self.graph.node_count(), self.graph.edge_count())
    }
}

pub(in crate::graph) type Walker = WalkNeighbors<u32>;

/// Returns the sides of a node that a direction includes, in the order of a walk.
pub(in crate::graph) const fn sides(direction: Direction) -> &'static [petgraph::Direction] {
    match direction {
        Direction::Out => &[petgraph::Outgoing],
        Direction::In => &[petgraph::Incoming],
        Direction::Both => &[petgraph::Outgoing, petgraph::Incoming],
    }
}

/// Returns whether an edge is a loop that the walk over the other side has already returned.
pub(in crate::graph) fn is_repeated_loop(
    direction: Direction,
    side: petgraph::Direction,
    from: NodeIndex,
    to: NodeIndex,
) -> bool {
    direction == Direction::Both && side == petgraph::Incoming && from == to
}

impl Nodes for StableDiGraph<Slot, Mark, u32> {
    fn born(&self, index: u32) -> u64 {
        self.node_weight(NodeIndex::new(index as usize))
            .map_or(0, |slot| slot.born)
    }

    fn metadata(&self, index: u32) -> Option<&Metadata> {
        let slot = self.node_weight(NodeIndex::new(index as usize))?;
        Some(&slot.metadata)
    }
}

/// Returns the number of elements to reserve memory for.
fn room_for(len: usize) -> Result<usize, GraphError> {
    if len >= MAX_ELEMENTS {
        Err(GraphError::Full)
    } else {
        Ok(growth(len))
    }
}

/// Returns the number of elements by which a full table grows. Doubling would leave up to half of
/// the memory of a large graph unused.
const fn growth(len: usize) -> usize {
    len / 8 + 64
}

/// Maximum number of nodes and of edges: the secondary indexes use the top bit of node numbers.
const MAX_ELEMENTS: usize = 1 << 31;

/// Extends a table so that it has a slot at an index.
pub(in crate::graph) fn make_room<T: Default>(slots: &mut Vec<T>, index: usize) {
    if slots.capacity() <= index {
        slots.reserve_exact(index + 1 - slots.len() + growth(index));
    }
    if slots.len() <= index {
        slots.resize_with(index + 1, T::default);
    }
}

/// Converts an index of petgraph to a number; these indexes have 32 bits.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
