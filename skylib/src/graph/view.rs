//! `GraphView`: a snapshot of the graph, for queries of any duration.

use std::fmt;
use std::sync::Arc;

use super::adjacency::AdjacencyCursor;
use super::index_probe;
use super::open_views::OpenViews;
use super::pins::{Pins, RevisionPin};
use super::reader::{
    BATCH_SIZE, EdgeEnds, EdgeRef, Edges, GraphReader, Hop, Hops, IndexUse, Neighbor, Neighbors,
    NodeRef, Nodes, SnapshotIter, sealed,
};
use super::scan::{FullScan, NodeScan};
use super::storage::{EdgeIndex, NodeIndex, Storage};
use super::{Direction, EdgeId, ElementKey, GraphAccess, GraphError, NodeId};
use crate::filter::Filter;
use crate::memory::MemoryBudget;

/// Snapshot of a graph at one sequence number; later changes do not affect it (MVCC).
///
/// Reading takes the graph's lock for one batch of 256 elements and releases it between batches, so
/// a long query does not block writers. The graph stores the revisions that open views need, so a
/// view should be dropped soon. A view that requires too many stored revisions expires; then all
/// its methods return [`GraphError::ViewExpired`].
///
/// ```
/// use skylib::filter::{Filter, Predicate};
/// use skylib::graph::{ElementKey, Graph, GraphReader, GraphView, Metadata, Node};
/// use skylib::time::Timestamp;
///
/// let mut graph = Graph::new();
/// for name in ["eth0", "eth1"] {
///     let metadata = Metadata::from_iter([("Name", name), ("Type", "device")]);
///     graph.add_node(Node::new(name, metadata, Timestamp::ZERO))?;
/// }
/// let view = GraphView::open(&graph);
/// let filter = ElementKey::compile(&Filter::test("Name", Predicate::Text("eth1".into())));
/// let names: Result<Vec<_>, _> = view.nodes(&filter).map(|n| Ok(n?.id.to_string())).collect();
/// assert_eq!(names?, ["eth1"]);
/// # Ok::<(), skylib::graph::GraphError>(())
/// ```
pub struct GraphView<'a> {
    access: &'a dyn GraphAccess,
    views: Arc<OpenViews>,
    pins: Arc<Pins>,
    pub(super) sequence: u64,
    node_count: usize,
    edge_count: usize,
}

impl<'a> GraphView<'a> {
    /// Opens a snapshot of the current graph.
    #[must_use]
    pub fn open(access: &'a dyn GraphAccess) -> Self {
        let mut view = Self {
            access,
            views: Arc::default(),
            pins: Arc::default(),
            sequence: 0,
            node_count: 0,
            edge_count: 0,
        };
        let mut is_open = false;
        access.read(&mut |graph| {
            let storage = graph.storage();
            if !std::mem::replace(&mut is_open, true) {
                view.views = Arc::clone(storage.views());
                view.pins = Arc::clone(storage.pins());
                view.sequence = storage.sequence();
                view.node_count = storage.node_count();
                view.edge_count = storage.edge_count();
                view.views.open(view.sequence);
            }
        });
        view
    }

    /// Returns the sequence number of the last change that the view sees.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Registers an answer that will hold elements of this view for longer than the view exists.
    #[must_use]
    pub fn pin(&self, memory: &MemoryBudget) -> RevisionPin {
        self.pins.pin(self.sequence, memory)
    }

    /// Returns the number of nodes.
    #[must_use]
    pub const fn node_count(&self) -> usize {
        self.node_count
    }

    /// Returns the number of edges.
    #[must_use]
    pub const fn edge_count(&self) -> usize {
        self.edge_count
    }
}

impl sealed::Sealed for GraphView<'_> {}

impl GraphReader for GraphView<'_> {
    fn node_by_id(&self, id: &NodeId) -> Result<Option<NodeRef>, GraphError> {
        self.with_storage(|storage| {
            let found = storage.find_node_at(id, self.sequence);
            found.map(|(index, node)| NodeRef::new(index.index(), node))
        })
    }

    fn edge_by_id(&self, id: &EdgeId) -> Result<Option<EdgeRef>, GraphError> {
        self.with_storage(|storage| {
            let found = storage.find_edge_at(id, self.sequence);
            found.map(|(index, edge)| EdgeRef::new(index.index(), edge))
        })
    }

    fn nodes<'a>(&'a self, filter: &'a Filter<ElementKey>) -> Nodes<'a> {
        let mut scan = NodeScan::new(filter);
        SnapshotIter::new(move |batch| scan.advance(self, batch))
    }

    fn edges<'a>(&'a self, filter: &'a Filter<ElementKey>) -> Edges<'a> {
        let mut scan = FullScan::<EdgeIndex>::new(filter);
        SnapshotIter::new(move |batch| scan.advance(self, batch))
    }

    fn count_nodes(&self, filter: &Filter<ElementKey>) -> Result<usize, GraphError> {
        if filter.is_everything() {
            return Ok(self.node_count);
        }
        // The index describes the newest revisions, so its count is valid for the view only if
        // nothing has changed since it was opened.
        let known = self.with_storage(|storage| {
            let probe = index_probe::probe(filter, storage)?;
            (storage.sequence() == self.sequence)
                .then(|| probe.count(storage))
                .flatten()
        })?;
        if let Some(count) = known {
            return Ok(count);
        }
        let mut scan = NodeScan::new(filter);
        let mut count = 0;
        while scan.advance(self, &mut count)? {}
        Ok(count)
    }

    fn count_edges(&self, filter: &Filter<ElementKey>) -> Result<usize, GraphError> {
        if filter.is_everything() {
            return Ok(self.edge_count);
        }
        let mut scan = FullScan::<EdgeIndex>::new(filter);
        let mut count = 0;
        while scan.advance(self, &mut count)? {}
        Ok(count)
    }

    fn index_for(&self, filter: &Filter<ElementKey>) -> Result<Option<IndexUse>, GraphError> {
        let probe = self.with_storage(|storage| index_probe::probe(filter, storage))?;
        Ok(probe.map(|probe| IndexUse::new(probe.key().clone(), probe.estimate())))
    }

    fn neighbors<'a>(&'a self, from: &'a [NodeRef], direction: Direction) -> Neighbors<'a> {
        self.walk(from, direction, move |storage, from, edge, node| {
            let edge = EdgeRef::new(edge.index(), storage.edge_at(edge, self.sequence)?);
            let node = NodeRef::new(node.index(), storage.node_at(node, self.sequence)?);
            Some(Neighbor::new(from, edge, node))
        })
    }

    fn neighbor_nodes<'a>(
        &'a self,
        from: &'a [NodeRef],
        direction: Direction,
        filter: &'a Filter<ElementKey>,
    ) -> Nodes<'a> {
        self.walk(from, direction, move |storage, _, _, index| {
            let node = storage.node_at(index, self.sequence)?;
            filter
                .matches(&**node)
                .then(|| NodeRef::new(index.index(), node))
        })
    }

    fn neighbor_edges<'a>(
        &'a self,
        from: &'a [NodeRef],
        direction: Direction,
        filter: &'a Filter<ElementKey>,
    ) -> Edges<'a> {
        self.walk(from, direction, move |storage, _, index, _| {
            let edge = storage.edge_at(index, self.sequence)?;
            filter
                .matches(&**edge)
                .then(|| EdgeRef::new(index.index(), edge))
        })
    }

    fn hops<'a>(&'a self, from: &'a [u32], direction: Direction) -> Hops<'a> {
        let mut cursor = AdjacencyCursor::new(from.iter().copied(), direction);
        SnapshotIter::new(move |batch| {
            let more = self.with_storage(|storage| cursor.advance(storage, self.sequence))?;
            // Reading numbers needs no lock.
            let hops = cursor.take(usize::MAX).iter();
            batch.extend(hops.map(|&(from, edge, node)| {
                Hop::new(from, edge.index() as u32, node.index() as u32)
            }));
            Ok(more)
        })
    }

    fn nodes_at<'a>(&'a self, numbers: &'a [u32]) -> Nodes<'a> {
        self.fetch(numbers, move |storage, number| {
            let index = NodeIndex::new(*number as usize);
            let node = storage.node_at(index, self.sequence)?;
            Some(NodeRef::new(index.index(), node))
        })
    }

    fn edges_at<'a>(&'a self, numbers: &'a [u32]) -> Edges<'a> {
        self.fetch(numbers, move |storage, number| {
            let index = EdgeIndex::new(*number as usize);
            let edge = storage.edge_at(index, self.sequence)?;
            Some(EdgeRef::new(index.index(), edge))
        })
    }

    fn ends_of<'a>(&'a self, edges: &'a [EdgeRef]) -> SnapshotIter<'a, EdgeEnds> {
        self.fetch(edges, move |storage, edge| {
            let (parent, child) = storage.ends(EdgeIndex::new(edge.index() as usize))?;
            let node = |index: NodeIndex| {
                let node = storage.node_at(index, self.sequence)?;
                Some(NodeRef::new(index.index(), node))
            };
            Some(EdgeEnds::new(node(parent)?, node(child)?))
        })
    }
}

impl GraphView<'_> {
    /// Calls `work` once with the graph, under the lock.
    pub(super) fn with_storage<R>(
        &self,
        work: impl FnOnce(&Storage) -> R,
    ) -> Result<R, GraphError> {
        let mut work = Some(work);
        let mut result = None;
        self.access.read(&mut |graph| {
            // Checked under the lock: revisions that this view needs are not dropped while the lock
            // is held.
            if !self.views.is_expired(self.sequence)
                && let Some(work) = work.take()
            {
                result = Some(work(graph.storage()));
            }
        });
        result.ok_or(GraphError::ViewExpired)
    }

    /// Iterates over the results of `read` for each item.
    fn fetch<'a, T, R>(
        &'a self,
        items: &'a [T],
        read: impl Fn(&Storage, &T) -> Option<R> + 'a,
    ) -> SnapshotIter<'a, R> {
        let mut chunks = items.chunks(BATCH_SIZE);
        SnapshotIter::new(move |batch| {
            let Some(chunk) = chunks.next() else {
                return Ok(false);
            };
            self.with_storage(|storage| {
                batch.extend(chunk.iter().filter_map(|item| read(storage, item)));
            })?;
            Ok(true)
        })
    }

    /// Iterates over the results of `read` for each edge of the given nodes. The arguments of
    /// `read` are the position of the node in the list, the edge, and the node at the other end.
    fn walk<'a, R>(
        &'a self,
        from: &'a [NodeRef],
        direction: Direction,
        read: impl Fn(&Storage, usize, EdgeIndex, NodeIndex) -> Option<R> + 'a,
    ) -> SnapshotIter<'a, R> {
        let mut cursor = AdjacencyCursor::new(from.iter().map(NodeRef::index), direction);
        SnapshotIter::new(move |batch| {
            self.with_storage(|storage| {
                let more = cursor.is_ready() || cursor.advance(storage, self.sequence);
                let edges = cursor.take(BATCH_SIZE).iter();
                batch.extend(
                    edges.filter_map(|&(from, edge, node)| read(storage, from, edge, node)),
                );
                more || cursor.is_ready()
            })
        })
    }
}

impl Drop for GraphView<'_> {
    fn drop(&mut self) {
        self.views.close(self.sequence);
    }
}

impl fmt::Debug for GraphView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GraphView(at {})", self.sequence)
    }
}
