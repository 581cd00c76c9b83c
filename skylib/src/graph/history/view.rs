//! `PastView`: the past at a time, read as a [`GraphView`](crate::graph::GraphView) is.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use hashbrown::HashMap;

use super::{History, PastReader, ReadBudget, Revision, Revisions, Unlimited};
use crate::file_use::FileUse;
use crate::filter::{Fields, Filter};
use crate::graph::element::Element;
use crate::graph::reader::{
    BATCH_SIZE, EdgeEnds, EdgeRef, Edges, ElementRef, GraphReader, Hop, Hops, IndexUse, Neighbor,
    Neighbors, NodeRef, Nodes, SnapshotIter, sealed,
};
use crate::graph::{Direction, Edge, EdgeId, ElementKey, GraphError, Node, NodeId};
use crate::time::When;

/// The graph as it was at an instant or in an interval of time.
///
/// At an instant it is a graph. In an interval it has every revision: nodes and edges are ordered
/// by `UpdatedAt`, the neighbors of a node are each revision of an edge with each revision of the
/// node at its other end, and [`GraphReader::identities`] returns which revisions belong to the
/// same element.
///
/// Numbers are assigned to its elements as they are read, so the view grows by several bytes for
/// each revision read.
pub struct PastView<'a> {
    reader: Box<dyn PastReader + 'a>,
    budget: &'a dyn ReadBudget,
    is_interval: bool,
    known: RefCell<KnownRevisions>,
    identities: Identities,
}

/// Revisions read so far, by their numbers in the view.
#[derive(Default)]
struct KnownRevisions {
    rows: Vec<Row>,
    by_revision: HashMap<u64, u32>,
    /// Number of the first revision read of each element; empty at an instant.
    first_nodes: HashMap<NodeId, u32>,
    first_edges: HashMap<EdgeId, u32>,
}

enum Row {
    Node(NodeRef),
    Edge(EdgeRef),
}

/// Map from the number of a revision in a [`PastView`] to the number that represents its element.
#[derive(Clone, Debug, Default)]
pub struct Identities(Rc<RefCell<Vec<u32>>>);

impl Identities {
    /// Returns the number that represents all revisions of an element.
    #[must_use]
    pub fn of(&self, number: u32) -> u32 {
        let first = self.0.borrow().get(number as usize).copied();
        first.unwrap_or(number)
    }
}

impl<'a> PastView<'a> {
    /// Opens the past at a time, as recorded so far, without limits; drop the view soon.
    #[must_use]
    pub fn open(history: &'a dyn History, when: When) -> Self {
        Self::open_within(history, when, &Unlimited)
    }

    /// Opens the past at a time, as recorded so far. Iterators and counts poll the budget every 256
    /// revisions, and end with its error.
    #[must_use]
    pub fn open_within(history: &'a dyn History, when: When, budget: &'a dyn ReadBudget) -> Self {
        Self {
            reader: history.open(when, budget),
            budget,
            is_interval: matches!(when, When::During(_)),
            known: RefCell::default(),
            identities: Identities::default(),
        }
    }
}

impl sealed::Sealed for PastView<'_> {}

impl GraphReader for PastView<'_> {
    /// COMPAT: the earliest revision in an interval.
    fn node_by_id(&self, id: &NodeId) -> Result<Option<NodeRef>, GraphError> {
        let revisions = self.reader.node(id)?;
        Ok(revisions.first().map(|revision| self.number(revision)))
    }

    /// COMPAT: the earliest revision in an interval.
    fn edge_by_id(&self, id: &EdgeId) -> Result<Option<EdgeRef>, GraphError> {
        let revisions = self.reader.edge(id)?;
        Ok(revisions.first().map(|revision| self.number(revision)))
    }

    fn nodes<'a>(&'a self, filter: &'a Filter<ElementKey>) -> Nodes<'a> {
        self.select(self.candidate_nodes(filter), filter)
    }

    fn edges<'a>(&'a self, filter: &'a Filter<ElementKey>) -> Edges<'a> {
        self.select(self.candidate_edges(filter), filter)
    }

    fn count_nodes(&self, filter: &Filter<ElementKey>) -> Result<usize, GraphError> {
        self.count(self.candidate_nodes(filter), filter)
    }

    fn count_edges(&self, filter: &Filter<ElementKey>) -> Result<usize, GraphError> {
        self.count(self.candidate_edges(filter), filter)
    }

    fn index_for(&self, filter: &Filter<ElementKey>) -> Result<Option<IndexUse>, GraphError> {
        self.reader.index_for(filter)
    }

    fn neighbors<'a>(&'a self, from: &'a [NodeRef], direction: Direction) -> Neighbors<'a> {
        self.walk(from.iter().cloned().enumerate(), direction, Neighbor::new)
    }

    fn neighbor_nodes<'a>(
        &'a self,
        from: &'a [NodeRef],
        direction: Direction,
        filter: &'a Filter<ElementKey>,
    ) -> Nodes<'a> {
        let neighbors = self.neighbors(from, direction);
        let nodes = neighbors.map(|neighbor| neighbor.map(|neighbor| neighbor.node));
        SnapshotIter::from_results(
            nodes.filter(move |node| node.as_ref().map_or(true, |node| filter.matches(&***node))),
        )
    }

    fn neighbor_edges<'a>(
        &'a self,
        from: &'a [NodeRef],
        direction: Direction,
        filter: &'a Filter<ElementKey>,
    ) -> Edges<'a> {
        let revisions = from
            .iter()
            .flat_map(move |node| results(self.reader.edges_of(&node.id, direction)));
        let is_hit = move |revision: &Result<Revision<Edge>, _>| {
            revision
                .as_ref()
                .map_or(true, |revision| filter.matches(&*revision.element))
        };
        let edges = revisions.filter(is_hit);
        SnapshotIter::from_results(edges.map(move |revision| Ok(self.number(&revision?))))
    }

    fn hops<'a>(&'a self, from: &'a [u32], direction: Direction) -> Hops<'a> {
        let nodes = from.iter().enumerate();
        let nodes = nodes.filter_map(move |(which, number)| Some((which, self.known(*number)?)));
        self.walk(nodes, direction, |from, edge: EdgeRef, node: NodeRef| {
            Hop::new(from, edge.index(), node.index())
        })
    }

    fn nodes_at<'a>(&'a self, numbers: &'a [u32]) -> Nodes<'a> {
        let nodes = numbers.iter().filter_map(move |number| self.known(*number));
        SnapshotIter::from_results(nodes.map(Ok))
    }

    fn edges_at<'a>(&'a self, numbers: &'a [u32]) -> Edges<'a> {
        let edges = numbers.iter().filter_map(move |number| self.known(*number));
        SnapshotIter::from_results(edges.map(Ok))
    }

    fn ends_of<'a>(&'a self, edges: &'a [EdgeRef]) -> SnapshotIter<'a, EdgeEnds> {
        SnapshotIter::from_results(edges.iter().map(move |edge| {
            let parents = self.nodes_by_id(&edge.parent)?;
            let children = self.nodes_by_id(&edge.child)?;
            Ok(EdgeEnds::of_revisions(parents, children))
        }))
    }

    fn identities(&self) -> Identities {
        self.identities.clone()
    }

    fn bytes(&self) -> usize {
        let known = self.known.borrow();
        let firsts = known.first_nodes.len() + known.first_edges.len();
        let row = size_of::<Row>() + 2 * size_of::<(u64, u32)>() + size_of::<u32>();
        known.rows.len() * row + firsts * 2 * size_of::<(NodeId, u32)>()
    }

    fn take_files(&self) -> Vec<FileUse> {
        self.reader.take_files()
    }
}

impl PastView<'_> {
    /// Returns the nodes that match a filter, and possibly others.
    fn candidate_nodes<'a>(&'a self, filter: &'a Filter<ElementKey>) -> Revisions<'a, Node> {
        match ElementKey::required_text(filter, |key| matches!(key, ElementKey::Id)) {
            Some(id) => Box::new(results(self.reader.node(&NodeId::from(id.as_str())))),
            None => self.reader.nodes_like(filter),
        }
    }

    /// Returns the edges that match a filter, and possibly others.
    fn candidate_edges<'a>(&'a self, filter: &'a Filter<ElementKey>) -> Revisions<'a, Edge> {
        match ElementKey::required_text(filter, |key| matches!(key, ElementKey::Id)) {
            Some(id) => Box::new(results(self.reader.edge(&EdgeId::from(id.as_str())))),
            None => self.reader.edges_like(filter),
        }
    }

    /// Iterates over the revisions that match a filter, and polls the budget.
    fn matching<'a, E: PastElement>(
        &'a self,
        revisions: Revisions<'a, E>,
        filter: &'a Filter<ElementKey>,
    ) -> impl Iterator<Item = Result<Revision<E>, GraphError>> + 'a {
        let mut seen = 0_usize;
        let polled = revisions.map(move |revision| {
            seen += 1;
            if seen.is_multiple_of(BATCH_SIZE) {
                self.budget.poll()?;
            }
            revision
        });
        polled.filter(move |revision| {
            revision
                .as_ref()
                .map_or(true, |revision| filter.matches(&*revision.element))
        })
    }

    fn count<'a, E: PastElement>(
        &'a self,
        revisions: Revisions<'a, E>,
        filter: &'a Filter<ElementKey>,
    ) -> Result<usize, GraphError> {
        self.matching(revisions, filter)
            .try_fold(0, |count, revision| revision.map(|_| count + 1))
    }

    /// Iterates over the revisions that match a filter; in an interval by their time.
    fn select<'a, E: PastElement>(
        &'a self,
        revisions: Revisions<'a, E>,
        filter: &'a Filter<ElementKey>,
    ) -> SnapshotIter<'a, ElementRef<E>> {
        let mut found = self.matching(revisions, filter);
        if !self.is_interval {
            return SnapshotIter::from_results(
                found.map(move |revision| Ok(self.number(&revision?))),
            );
        }
        SnapshotIter::new(move |batch| {
            let mut sorted = found.by_ref().collect::<Result<Vec<_>, _>>()?;
            sorted.sort_by_key(|revision| {
                (
                    revision.element.fields().updated_at.as_ms(),
                    revision.number,
                )
            });
            batch.extend(sorted.iter().map(|revision| self.number(revision)));
            Ok(false)
        })
    }

    /// Iterates over the edges of nodes, each with the node at its other end.
    fn walk<'a, R: 'a>(
        &'a self,
        from: impl Iterator<Item = (usize, NodeRef)> + 'a,
        direction: Direction,
        result: impl Fn(usize, EdgeRef, NodeRef) -> R + Copy + 'a,
    ) -> SnapshotIter<'a, R> {
        // A later revision of a node has the same neighbors. Its edges are read again, because a
        // cache of them could be larger than the past itself.
        let edges = from.flat_map(move |(which, node)| {
            let edges = results(self.reader.edges_of(&node.id, direction));
            edges.map(move |edge| Ok((which, node.id.clone(), edge?)))
        });
        SnapshotIter::from_results(edges.flat_map(move |edge| {
            let neighbors = edge.and_then(|(which, id, revision)| {
                let edge: EdgeRef = self.number(&revision);
                let other = if edge.parent == id && direction != Direction::In {
                    &edge.child
                } else {
                    &edge.parent
                };
                // COMPAT: revisions multiply, even those that did not exist at the same time.
                let others = self.nodes_by_id(other)?.into_iter();
                let neighbor = |node| result(which, edge.clone(), node);
                Ok(others.map(neighbor).collect())
            });
            results(neighbors)
        }))
    }

    fn nodes_by_id(&self, id: &NodeId) -> Result<Vec<NodeRef>, GraphError> {
        let revisions = self.reader.node(id)?;
        Ok(revisions
            .iter()
            .map(|revision| self.number(revision))
            .collect())
    }

    /// Returns a revision with its number, which is assigned at the first call.
    fn number<E: PastElement>(&self, revision: &Revision<E>) -> ElementRef<E> {
        let mut known = self.known.borrow_mut();
        let known = &mut *known;
        if let Some(element) = known.find::<E>(revision.number) {
            return element.clone();
        }
        let element = ElementRef::new(known.rows.len(), &revision.element);
        if self.is_interval {
            let firsts = E::firsts(known);
            let first = firsts
                .entry(element.id().clone())
                .or_insert(element.index());
            self.identities.0.borrow_mut().push(*first);
        }
        known.by_revision.insert(revision.number, element.index());
        known.rows.push(E::into_row(element.clone()));
        element
    }

    /// Returns the revision with a number, if it is of this kind.
    fn known<E: PastElement>(&self, number: u32) -> Option<ElementRef<E>> {
        E::of_row(self.known.borrow().rows.get(number as usize)?).cloned()
    }
}

impl KnownRevisions {
    fn find<E: PastElement>(&self, revision: u64) -> Option<&ElementRef<E>> {
        let number = self.by_revision.get(&revision)?;
        E::of_row(self.rows.get(*number as usize)?)
    }
}

/// A node or an edge as a row of [`KnownRevisions`].
trait PastElement: Element + Fields<ElementKey> {
    fn into_row(element: ElementRef<Self>) -> Row;
    fn of_row(row: &Row) -> Option<&ElementRef<Self>>;
    fn firsts(known: &mut KnownRevisions) -> &mut HashMap<Self::Id, u32>;
}

impl PastElement for Node {
    fn into_row(element: NodeRef) -> Row {
        Row::Node(element)
    }

    fn of_row(row: &Row) -> Option<&NodeRef> {
        match row {
            Row::Node(node) => Some(node),
            Row::Edge(_) => None,
        }
    }

    fn firsts(known: &mut KnownRevisions) -> &mut HashMap<NodeId, u32> {
        &mut known.first_nodes
    }
}

impl PastElement for Edge {
    fn into_row(element: EdgeRef) -> Row {
        Row::Edge(element)
    }

    fn of_row(row: &Row) -> Option<&EdgeRef> {
        match row {
            Row::Edge(edge) => Some(edge),
            Row::Node(_) => None,
        }
    }

    fn firsts(known: &mut KnownRevisions) -> &mut HashMap<EdgeId, u32> {
        &mut known.first_edges
    }
}

/// Iterates over the items of a list, or over its error.
fn results<T>(items: Result<Vec<T>, GraphError>) -> impl Iterator<Item = Result<T, GraphError>> {
    let (items, error) = match items {
        Ok(items) => (items, None),
        Err(error) => (Vec::new(), Some(Err(error))),
    };
    items.into_iter().map(Ok).chain(error)
}

impl fmt::Debug for PastView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revisions = self.known.borrow().rows.len();
        write!(f, "PastView({revisions} revisions read)")
    }
}
