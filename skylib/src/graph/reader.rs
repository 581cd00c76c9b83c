//! `GraphReader`: reads of a snapshot of a graph, of the present or of the past.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::vec;

use super::history::Identities;
use super::{Direction, Edge, EdgeId, ElementKey, GraphError, Node, NodeId};
use crate::file_use::FileUse;
use crate::filter::Filter;
use crate::value::Text;

/// Reads of a snapshot of a graph.
///
/// [`GraphView`](super::GraphView) implements this trait for the present and
/// [`PastView`](super::history::PastView) for the past; it can be used as `&dyn GraphReader`. The
/// iterators read batches of 256 elements and hold no lock between batches, so the caller may use
/// the reader while iterating and may take any time.
///
/// # Errors
/// Every method and every iterator returns [`GraphError::ViewExpired`] once revisions that the
/// snapshot needs have been dropped, because too much has changed since it was opened. An iterator
/// ends after an error.
///
/// ```
/// use skylib::filter::{Filter, Predicate};
/// use skylib::graph::{
///     Direction, Edge, ElementKey, Graph, GraphError, GraphReader, GraphView, Metadata, Node,
/// };
/// use skylib::time::Timestamp;
///
/// let now = Timestamp::ZERO;
/// let mut graph = Graph::new();
/// for name in ["br0", "eth0", "eth1"] {
///     graph.add_node(Node::new(name, Metadata::from_iter([("Name", name)]), now))?;
/// }
/// graph.add_edge(Edge::between("br0", "eth0", Metadata::new(), now))?;
///
/// let view = GraphView::open(&graph);
/// let filter = ElementKey::compile(&Filter::test("Name", Predicate::Text("br0".into())));
/// let bridges = view.nodes(&filter).collect::<Result<Vec<_>, GraphError>>()?;
/// for neighbor in view.neighbors(&bridges, Direction::Out) {
///     assert_eq!(neighbor?.node.id.to_string(), "eth0");
/// }
/// # Ok::<(), GraphError>(())
/// ```
pub trait GraphReader: sealed::Sealed {
    /// Returns the node with this id; `None` if there is none.
    fn node_by_id(&self, id: &NodeId) -> Result<Option<NodeRef>, GraphError>;

    /// Returns the edge with this id; `None` if there is none.
    fn edge_by_id(&self, id: &EdgeId) -> Result<Option<EdgeRef>, GraphError>;

    /// Iterates over the nodes that match a filter, in insertion order; uses an index if one helps.
    fn nodes<'a>(&'a self, filter: &'a Filter<ElementKey>) -> Nodes<'a>;

    /// Iterates over the edges that match a filter, in insertion order.
    fn edges<'a>(&'a self, filter: &'a Filter<ElementKey>) -> Edges<'a>;

    /// Returns the number of nodes that match a filter; uses an index if one helps.
    fn count_nodes(&self, filter: &Filter<ElementKey>) -> Result<usize, GraphError>;

    /// Returns the number of edges that match a filter.
    fn count_edges(&self, filter: &Filter<ElementKey>) -> Result<usize, GraphError>;

    /// Returns the index that [`GraphReader::nodes`] uses for a filter; `None` for a full scan.
    fn index_for(&self, filter: &Filter<ElementKey>) -> Result<Option<IndexUse>, GraphError>;

    /// Iterates over the edges of nodes, each with the node at its other end.
    ///
    /// The result is ordered by the given nodes; for each node, outgoing edges precede incoming
    /// edges, both in insertion order. A loop is returned once.
    fn neighbors<'a>(&'a self, from: &'a [NodeRef], direction: Direction) -> Neighbors<'a>;

    /// Iterates over the nodes of [`GraphReader::neighbors`] that match a filter, one for each
    /// edge, without reading the edges.
    fn neighbor_nodes<'a>(
        &'a self,
        from: &'a [NodeRef],
        direction: Direction,
        filter: &'a Filter<ElementKey>,
    ) -> Nodes<'a>;

    /// Iterates over the edges of [`GraphReader::neighbors`] that match a filter, without reading
    /// the nodes.
    fn neighbor_edges<'a>(
        &'a self,
        from: &'a [NodeRef],
        direction: Direction,
        filter: &'a Filter<ElementKey>,
    ) -> Edges<'a>;

    /// Iterates over the numbers of the edges and nodes that [`GraphReader::neighbors`] returns;
    /// `from` contains numbers of nodes.
    ///
    /// Only the structure of the graph is read, neither nodes nor edges: this is for paths, and for
    /// walks over several hops of which only the last is needed ([`GraphReader::nodes_at`]).
    fn hops<'a>(&'a self, from: &'a [u32], direction: Direction) -> Hops<'a>;

    /// Iterates over the nodes with these numbers, in this order; unknown numbers are skipped.
    fn nodes_at<'a>(&'a self, numbers: &'a [u32]) -> Nodes<'a>;

    /// Iterates over the edges with these numbers, in this order; unknown numbers are skipped.
    fn edges_at<'a>(&'a self, numbers: &'a [u32]) -> Edges<'a>;

    /// Iterates over the parent and the child of each edge, in this order.
    fn ends_of<'a>(&'a self, edges: &'a [EdgeRef]) -> SnapshotIter<'a, EdgeEnds>;

    /// Returns the map from revisions to elements: the identity map, except in a time slice of the
    /// past.
    fn identities(&self) -> Identities {
        Identities::default()
    }

    /// Returns the memory of the reader itself, in bytes, approximately.
    fn bytes(&self) -> usize {
        0
    }

    /// Returns the reads of history files since the last call, for explanations.
    fn take_files(&self) -> Vec<FileUse> {
        Vec::new()
    }
}

pub(super) mod sealed {
    /// Restricts the implementations to those in this crate, so that methods can be added.
    #[expect(
        unnameable_types,
        reason = "a sealed trait cannot be named outside of the crate"
    )]
    pub trait Sealed {}
}

/// Node or edge in a snapshot.
///
/// Its number is valid only in this snapshot. Numbers can be compared instead of ids, and used as
/// positions in a bitmap.
#[derive(Clone, Debug)]
pub struct ElementRef<E> {
    index: u32,
    element: Arc<E>,
}

/// Node in a snapshot.
pub type NodeRef = ElementRef<Node>;
/// Edge in a snapshot.
pub type EdgeRef = ElementRef<Edge>;

impl<E> ElementRef<E> {
    pub(super) fn new(index: usize, element: &Arc<E>) -> Self {
        Self {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            element: Arc::clone(element),
        }
    }

    /// Returns the number of the element in its snapshot. The largest number is at most a small
    /// multiple of the number of elements.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Returns the element without its number.
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

/// Edge of a node, and the node at the other end of the edge.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Neighbor {
    /// Position, in the given list, of the node at which the edge was found.
    pub from: usize,
    /// The edge.
    pub edge: EdgeRef,
    /// The node at the other end of the edge.
    pub node: NodeRef,
}

impl Neighbor {
    pub(super) const fn new(from: usize, edge: EdgeRef, node: NodeRef) -> Self {
        Self { from, edge, node }
    }
}

/// [`Neighbor`] as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hop {
    /// Position, in the given list, of the node at which the edge was found.
    pub from: usize,
    /// Number of the edge.
    pub edge: u32,
    /// Number of the node at the other end of the edge.
    pub node: u32,
}

impl Hop {
    pub(super) const fn new(from: usize, edge: u32, node: u32) -> Self {
        Self { from, edge, node }
    }
}

/// Ends of an edge: one node each, or several revisions of the node in a time slice of the past.
#[derive(Clone, Debug)]
pub struct EdgeEnds {
    parents: End,
    children: End,
}

#[derive(Clone, Debug)]
enum End {
    One([NodeRef; 1]),
    Revisions(Vec<NodeRef>),
}

impl EdgeEnds {
    pub(super) const fn new(parent: NodeRef, child: NodeRef) -> Self {
        Self {
            parents: End::One([parent]),
            children: End::One([child]),
        }
    }

    pub(super) const fn of_revisions(parents: Vec<NodeRef>, children: Vec<NodeRef>) -> Self {
        Self {
            parents: End::Revisions(parents),
            children: End::Revisions(children),
        }
    }

    /// Returns the parent, in all its revisions.
    #[must_use]
    pub fn parents(&self) -> &[NodeRef] {
        self.parents.as_slice()
    }

    /// Returns the child, in all its revisions.
    #[must_use]
    pub fn children(&self) -> &[NodeRef] {
        self.children.as_slice()
    }
}

impl End {
    fn as_slice(&self) -> &[NodeRef] {
        match self {
            Self::One(node) => node,
            Self::Revisions(nodes) => nodes,
        }
    }
}

/// Index that finds the nodes that match a filter; see [`GraphReader::index_for`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexUse {
    /// Indexed metadata key.
    pub key: Text,
    /// Number of nodes that the index finds, approximately.
    pub estimate: usize,
}

impl IndexUse {
    pub(super) const fn new(key: Text, estimate: usize) -> Self {
        Self { key, estimate }
    }
}

/// Iterator over nodes of a snapshot.
pub type Nodes<'a> = SnapshotIter<'a, NodeRef>;
/// Iterator over edges of a snapshot.
pub type Edges<'a> = SnapshotIter<'a, EdgeRef>;
/// Iterator over the neighbors of nodes.
pub type Neighbors<'a> = SnapshotIter<'a, Neighbor>;
/// Iterator over the neighbors of nodes as numbers.
pub type Hops<'a> = SnapshotIter<'a, Hop>;

/// Number of elements that an iterator reads in one batch; small in tests, so that small graphs
/// have many batches.
pub(super) const BATCH_SIZE: usize = if cfg!(test) { 3 } else { 256 };

/// Iterator over the results of a [`GraphReader`]; reads in batches and ends after an error.
pub struct SnapshotIter<'a, T> {
    batch: vec::IntoIter<T>,
    /// `None` once all batches have been read.
    read: Option<Box<ReadBatch<'a, T>>>,
}

/// Appends the next batch to an empty list; returns whether there may be more.
type ReadBatch<'a, T> = dyn FnMut(&mut Vec<T>) -> Result<bool, GraphError> + 'a;

impl<'a, T> SnapshotIter<'a, T> {
    pub(super) fn new(read: impl FnMut(&mut Vec<T>) -> Result<bool, GraphError> + 'a) -> Self {
        Self {
            batch: Vec::new().into_iter(),
            read: Some(Box::new(read)),
        }
    }

    pub(super) fn from_results(
        mut results: impl Iterator<Item = Result<T, GraphError>> + 'a,
    ) -> Self {
        Self::new(move |batch| {
            for result in results.by_ref().take(BATCH_SIZE) {
                batch.push(result?);
            }
            Ok(batch.len() == BATCH_SIZE)
        })
    }

    /// Reads batches until there is an item.
    #[cold]
    fn refill(&mut self) -> Option<Result<T, GraphError>> {
        loop {
            let read = self.read.as_mut()?;
            let mut batch = Vec::new();
            let more = read(&mut batch);
            if !matches!(more, Ok(true)) {
                self.read = None;
            }
            self.batch = batch.into_iter();
            if let Err(error) = more {
                // Items read before the error are dropped: they may be incomplete.
                self.batch = Vec::new().into_iter();
                return Some(Err(error));
            }
            if let Some(item) = self.batch.next() {
                return Some(Ok(item));
            }
        }
    }
}

impl<T> Iterator for SnapshotIter<'_, T> {
    type Item = Result<T, GraphError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.batch.next() {
            Some(item) => Some(Ok(item)),
            None => self.refill(),
        }
    }
}

impl<T> fmt::Debug for SnapshotIter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotIter")
            .field("is_done", &self.read.is_none())
            .finish_non_exhaustive()
    }
}
