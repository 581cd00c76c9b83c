//! `GraphView`: the graph as of one moment, for queries that run while it goes on changing.

use std::fmt;
use std::ops::{ControlFlow, Deref};
use std::sync::Arc;

use super::adjacency::AdjacencyCursor;
use super::index_probe::{self, IndexProbe};
use super::open_views::OpenViews;
use super::scan::{CountSink, VisitSink};
use super::storage::{EdgeIndex, NodeIndex, Storage};
use super::{Direction, Edge, EdgeId, ElementKey, GraphAccess, GraphError, Node, NodeId};
use crate::filter::Filter;

/// The graph as of the change at which the view was opened, whatever changes meanwhile.
///
/// A view reads in stretches of at most 256 elements and lets others write in between; filters run
/// within a stretch, the caller's closures outside it, so those may take their time and use the
/// view. The graph keeps what open views still need: drop a view soon. One that would make the
/// graph keep too much expires, and every method answers [`GraphError::ViewExpired`] from then on.
///
/// ```
/// use std::ops::ControlFlow;
/// use skylib::filter::{Filter, Predicate};
/// use skylib::graph::{ElementKey, Graph, GraphView, Metadata, Node};
/// use skylib::time::Timestamp;
///
/// let mut graph = Graph::new();
/// for name in ["eth0", "eth1"] {
///     let metadata = Metadata::from_iter([("Name", name), ("Type", "device")]);
///     graph.add_node(Node::new(name, metadata, Timestamp::ZERO))?;
/// }
/// let view = GraphView::open(&graph);
/// let filter = ElementKey::compile(&Filter::test("Name", Predicate::Text("eth1".into())));
/// let mut found = Vec::new();
/// view.visit_nodes(&filter, &mut |node| {
///     found.push(node.id.to_string());
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(found, ["eth1"]);
/// # Ok::<(), skylib::graph::GraphError>(())
/// ```
pub struct GraphView<'a> {
    access: &'a dyn GraphAccess,
    views: Arc<OpenViews>,
    pub(super) sequence: u64,
    node_count: usize,
    edge_count: usize,
}

/// A node or an edge as a view sees it.
///
/// Its number is good within that view only: compare numbers instead of ids, mark them in a bitmap.
#[derive(Clone, Debug)]
pub struct ElementRef<E> {
    index: u32,
    element: Arc<E>,
}

/// A node as a view sees it.
pub type NodeRef = ElementRef<Node>;
/// An edge as a view sees it.
pub type EdgeRef = ElementRef<Edge>;

impl<E> ElementRef<E> {
    pub(super) fn new(index: usize, element: &Arc<E>) -> Self {
        Self {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            element: Arc::clone(element),
        }
    }

    /// Its number in this view; numbers are below a small multiple of the number of elements.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// The element alone.
    #[must_use]
    pub fn into_element(self) -> Arc<E> {
        self.element
    }
}

impl<E> Deref for ElementRef<E> {
    type Target = Arc<E>;

    fn deref(&self) -> &Arc<E> {
        &self.element
    }
}

/// Elements a view looks at before it lets others write; few in tests, so that small graphs have
/// many stretches.
pub(super) const STRETCH: usize = if cfg!(test) { 3 } else { 256 };

impl<'a> GraphView<'a> {
    /// Opens a view of the graph as it is now.
    #[must_use]
    pub fn open(access: &'a dyn GraphAccess) -> Self {
        let mut view = Self {
            access,
            views: Arc::default(),
            sequence: 0,
            node_count: 0,
            edge_count: 0,
        };
        let mut is_open = false;
        access.read(&mut |graph| {
            let storage = graph.storage();
            if !std::mem::replace(&mut is_open, true) {
                view.views = Arc::clone(storage.views());
                view.sequence = storage.sequence();
                view.node_count = storage.node_count();
                view.edge_count = storage.edge_count();
                view.views.open(view.sequence);
            }
        });
        view
    }

    /// The sequence number of the last change that the view sees.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Number of nodes.
    #[must_use]
    pub const fn node_count(&self) -> usize {
        self.node_count
    }

    /// Number of edges.
    #[must_use]
    pub const fn edge_count(&self) -> usize {
        self.edge_count
    }

    /// The node with an id.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn node_by_id(&self, id: &NodeId) -> Result<Option<NodeRef>, GraphError> {
        self.stretch(|storage| {
            let found = storage.find_node_at(id, self.sequence);
            found.map(|(index, node)| NodeRef::new(index.index(), node))
        })
    }

    /// The edge with an id.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn edge_by_id(&self, id: &EdgeId) -> Result<Option<EdgeRef>, GraphError> {
        self.stretch(|storage| {
            let found = storage.find_edge_at(id, self.sequence);
            found.map(|(index, edge)| EdgeRef::new(index.index(), edge))
        })
    }

    /// The nodes that pass a filter, in the order they came; an index is used where one helps.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn visit_nodes(
        &self,
        filter: &Filter<ElementKey>,
        visit: &mut dyn FnMut(NodeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        self.select_nodes(filter, &mut VisitSink::new(visit))
    }

    /// The edges that pass a filter, in the order they came.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn visit_edges(
        &self,
        filter: &Filter<ElementKey>,
        visit: &mut dyn FnMut(EdgeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        self.scan::<EdgeIndex>(filter, &mut VisitSink::new(visit))
    }

    /// How many nodes pass a filter; an index is used where one helps.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn count_nodes(&self, filter: &Filter<ElementKey>) -> Result<usize, GraphError> {
        if filter.is_everything() {
            return Ok(self.node_count);
        }
        let known = self.stretch(|storage| {
            let probe = index_probe::probe(filter, storage)?;
            (storage.sequence() == self.sequence)
                .then(|| probe.count(storage))
                .flatten()
        })?;
        if let Some(count) = known {
            return Ok(count);
        }
        let mut count = CountSink::default();
        self.select_nodes(filter, &mut count)?;
        Ok(count.get())
    }

    /// How many edges pass a filter.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn count_edges(&self, filter: &Filter<ElementKey>) -> Result<usize, GraphError> {
        if filter.is_everything() {
            return Ok(self.edge_count);
        }
        let mut count = CountSink::default();
        self.scan::<EdgeIndex>(filter, &mut count)?;
        Ok(count.get())
    }

    /// How [`GraphView::visit_nodes`] would look for nodes: by an index, or through all (`None`).
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn probe(&self, filter: &Filter<ElementKey>) -> Result<Option<IndexProbe>, GraphError> {
        self.stretch(|storage| index_probe::probe(filter, storage))
    }

    /// The edges of nodes, each with the node at its other end: node by node as given, outgoing
    /// edges first, each kind in the order it came, loops once. `visit` is told which of the given
    /// nodes it is.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn walk(
        &self,
        from: &[NodeRef],
        direction: Direction,
        visit: &mut dyn FnMut(usize, &EdgeRef, &NodeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        self.walk_with(
            from,
            direction,
            |storage, _, edge, node| {
                let edge_ref = EdgeRef::new(edge.index(), storage.edge_at(edge, self.sequence)?);
                let node_ref = NodeRef::new(node.index(), storage.node_at(node, self.sequence)?);
                Some((edge_ref, node_ref))
            },
            |which, (edge, node)| visit(which, &edge, &node),
        )
    }

    /// The nodes at the other ends of the edges of [`GraphView::walk`] that pass a filter, one for
    /// each edge. The edges themselves are not read.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn walk_nodes(
        &self,
        from: &[NodeRef],
        direction: Direction,
        filter: &Filter<ElementKey>,
        visit: &mut dyn FnMut(usize, NodeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        self.walk_with(
            from,
            direction,
            |storage, _, _, index| {
                let node = storage.node_at(index, self.sequence)?;
                filter
                    .matches(&**node)
                    .then(|| NodeRef::new(index.index(), node))
            },
            visit,
        )
    }

    /// The edges of [`GraphView::walk`] that pass a filter.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn walk_edges(
        &self,
        from: &[NodeRef],
        direction: Direction,
        filter: &Filter<ElementKey>,
        visit: &mut dyn FnMut(usize, EdgeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        self.walk_with(
            from,
            direction,
            |storage, _, index, _| {
                let edge = storage.edge_at(index, self.sequence)?;
                filter
                    .matches(&**edge)
                    .then(|| EdgeRef::new(index.index(), edge))
            },
            visit,
        )
    }

    /// [`GraphView::walk`] on bare numbers: which of the given nodes, the edge, the other node.
    ///
    /// Reads neither nodes nor edges, only how they hang together: for paths, and for several hops
    /// of which only the last matters ([`GraphView::fetch_nodes`]).
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn hop(
        &self,
        from: &[u32],
        direction: Direction,
        visit: &mut dyn FnMut(usize, u32, u32) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        let mut walk = AdjacencyCursor::new(from.iter().copied(), direction);
        loop {
            let more = self.stretch(|storage| walk.advance(storage, self.sequence))?;
            for &(which, edge, node) in walk.take(usize::MAX) {
                let (edge, node) = (edge.index() as u32, node.index() as u32);
                if visit(which, edge, node).is_break() {
                    return Ok(());
                }
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// The nodes with these numbers, in this order; numbers that name none are passed over.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn fetch_nodes(
        &self,
        indexes: &[u32],
        visit: &mut dyn FnMut(NodeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        self.in_stretches(indexes, visit, |storage, index| {
            let index = NodeIndex::new(*index as usize);
            Some(NodeRef::new(
                index.index(),
                storage.node_at(index, self.sequence)?,
            ))
        })
    }

    /// The edges with these numbers, in this order; numbers that name none are passed over.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn fetch_edges(
        &self,
        indexes: &[u32],
        visit: &mut dyn FnMut(EdgeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        self.in_stretches(indexes, visit, |storage, index| {
            let index = EdgeIndex::new(*index as usize);
            Some(EdgeRef::new(
                index.index(),
                storage.edge_at(index, self.sequence)?,
            ))
        })
    }

    /// Parent and child of each edge, in this order.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn visit_ends(
        &self,
        edges: &[EdgeRef],
        visit: &mut dyn FnMut(NodeRef, NodeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        let mut both = |(parent, child)| visit(parent, child);
        self.in_stretches(edges, &mut both, |storage, edge| {
            let (parent, child) = storage.ends(EdgeIndex::new(edge.index as usize))?;
            let node = |index: NodeIndex| {
                Some(NodeRef::new(
                    index.index(),
                    storage.node_at(index, self.sequence)?,
                ))
            };
            Some((node(parent)?, node(child)?))
        })
    }

    /// Parent and child of an edge of this view.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`]; [`GraphError::EdgeNotFound`] for an edge of another view.
    pub fn ends(&self, edge: &EdgeRef) -> Result<(NodeRef, NodeRef), GraphError> {
        let mut ends = None;
        self.visit_ends(std::slice::from_ref(edge), &mut |parent, child| {
            ends = Some((parent, child));
            ControlFlow::Break(())
        })?;
        ends.ok_or(GraphError::EdgeNotFound)
    }
}

impl GraphView<'_> {
    /// Runs a piece of work on the graph.
    pub(super) fn stretch<R>(&self, work: impl FnOnce(&Storage) -> R) -> Result<R, GraphError> {
        let mut work = Some(work);
        let mut answer = None;
        self.access.read(&mut |graph| {
            // Looked at under the lock: nothing this view needs is dropped while it is held.
            if !self.views.is_expired(self.sequence)
                && let Some(work) = work.take()
            {
                answer = Some(work(graph.storage()));
            }
        });
        answer.ok_or(GraphError::ViewExpired)
    }

    fn in_stretches<T, R>(
        &self,
        items: &[T],
        visit: &mut dyn FnMut(R) -> ControlFlow<()>,
        read: impl Fn(&Storage, &T) -> Option<R>,
    ) -> Result<(), GraphError> {
        for chunk in items.chunks(STRETCH) {
            let found: Vec<R> = self.stretch(|storage| {
                chunk
                    .iter()
                    .filter_map(|item| read(storage, item))
                    .collect()
            })?;
            for item in found {
                if visit(item).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn walk_with<R>(
        &self,
        from: &[NodeRef],
        direction: Direction,
        read: impl Fn(&Storage, usize, EdgeIndex, NodeIndex) -> Option<R>,
        mut visit: impl FnMut(usize, R) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        let mut walk = AdjacencyCursor::new(from.iter().map(NodeRef::index), direction);
        let mut found = Vec::new();
        loop {
            let more = self.stretch(|storage| {
                let more = walk.is_ready() || walk.advance(storage, self.sequence);
                for &(which, edge, node) in walk.take(STRETCH) {
                    found.extend(read(storage, which, edge, node).map(|read| (which, read)));
                }
                more || walk.is_ready()
            })?;
            for (which, item) in found.drain(..) {
                if visit(which, item).is_break() {
                    return Ok(());
                }
            }
            if !more {
                return Ok(());
            }
        }
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
