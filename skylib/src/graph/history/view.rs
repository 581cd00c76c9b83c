//! `PastView`: the past at a time, read as a [`GraphView`](crate::graph::GraphView) is.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::ControlFlow;
use std::rc::Rc;

use hashbrown::HashMap;

use super::{History, PastReader, Revision, Visit};
use crate::filter::Filter;
use crate::graph::view::STRETCH;
use crate::graph::{
    Direction, Edge, EdgeId, EdgeRef, ElementKey, GraphError, Node, NodeId, NodeRef,
};
use crate::time::When;
use crate::value::Text;

/// Takes the parents and the children of an edge until it breaks.
type VisitEnds<'v> = &'v mut dyn FnMut(&[NodeRef], &[NodeRef]) -> ControlFlow<()>;

/// The graph as it was at an instant or in a stretch of time.
///
/// At an instant it is a graph. In a slice it has every revision: nodes and edges come ordered by
/// `UpdatedAt`, a walk gives each revision of an edge with each revision of the node at its other
/// end, and [`PastView::identities`] tells which of them are the same element.
pub struct PastView<'a> {
    reader: Box<dyn PastReader + 'a>,
    interrupt: &'a (dyn Fn() -> bool + Sync),
    is_slice: bool,
    known: RefCell<Known>,
    identities: Identities,
}

/// The revisions met so far by their numbers in the view.
#[derive(Default)]
struct Known {
    rows: Vec<Element>,
    by_revision: HashMap<u64, u32>,
    /// The first revision met of each element; only in a slice.
    nodes: HashMap<NodeId, u32>,
    edges: HashMap<EdgeId, u32>,
}

enum Element {
    Node(NodeRef),
    Edge(EdgeRef),
}

/// Which numbers of a [`PastView`] stand for the same element.
#[derive(Clone, Debug, Default)]
pub struct Identities(Rc<RefCell<Vec<u32>>>);

impl Identities {
    /// The number that stands for all revisions of an element.
    #[must_use]
    pub fn of(&self, number: u32) -> u32 {
        let first = self.0.borrow().get(number as usize).copied();
        first.unwrap_or(number)
    }
}

impl<'a> PastView<'a> {
    /// Opens the past at a time, as far as it is recorded now; drop it soon.
    #[must_use]
    pub fn open(history: &'a dyn History, when: When) -> Self {
        Self {
            reader: history.open(when),
            interrupt: &|| false,
            is_slice: matches!(when, When::During(_)),
            known: RefCell::default(),
            identities: Identities::default(),
        }
    }

    /// With somebody who is asked now and then whether to stop; once it answers true, visits and
    /// counts end early, and what they gave is not all.
    #[must_use]
    pub fn with_interrupt(self, interrupt: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { interrupt, ..self }
    }

    /// Bytes that the view holds itself, approximately: for each revision met its number.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let known = self.known.borrow();
        let firsts = known.nodes.len() + known.edges.len();
        let row = size_of::<Element>() + 2 * size_of::<(u64, u32)>() + size_of::<u32>();
        known.rows.len() * row + firsts * 2 * size_of::<(NodeId, u32)>()
    }

    /// Which revisions belong to the same element.
    #[must_use]
    pub const fn identities(&self) -> &Identities {
        &self.identities
    }

    /// The node with an id; its earliest revision in a slice.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`], as everywhere here.
    pub fn node_by_id(&self, id: &NodeId) -> Result<Option<NodeRef>, GraphError> {
        let mut found = None;
        // COMPAT: of several the first.
        self.reader.node(id, &mut |revision| {
            found = Some(revision);
            ControlFlow::Break(())
        })?;
        Ok(found.map(|revision| self.node_ref(&revision)))
    }

    /// The edge with an id; its earliest revision in a slice.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn edge_by_id(&self, id: &EdgeId) -> Result<Option<EdgeRef>, GraphError> {
        let mut found = None;
        self.reader.edge(id, &mut |revision| {
            found = Some(revision);
            ControlFlow::Break(())
        })?;
        Ok(found.map(|revision| self.edge_ref(&revision)))
    }

    /// The nodes that pass a filter.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn visit_nodes(
        &self,
        filter: &Filter<ElementKey>,
        visit: &mut dyn FnMut(NodeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        let mut found = Vec::new();
        self.nodes(filter, &mut |revision| {
            if !filter.matches(&*revision.element) {
                return ControlFlow::Continue(());
            }
            if self.is_slice {
                found.push(revision);
                return ControlFlow::Continue(());
            }
            visit(self.node_ref(&revision))
        })?;
        found.sort_by_key(|revision| (revision.element.updated_at.as_ms(), revision.number));
        let mut found = found.into_iter().map(|revision| self.node_ref(&revision));
        let _stopped = found.try_for_each(visit);
        Ok(())
    }

    /// The edges that pass a filter.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn visit_edges(
        &self,
        filter: &Filter<ElementKey>,
        visit: &mut dyn FnMut(EdgeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        let mut found = Vec::new();
        self.edges(filter, &mut |revision| {
            if !filter.matches(&*revision.element) {
                return ControlFlow::Continue(());
            }
            if self.is_slice {
                found.push(revision);
                return ControlFlow::Continue(());
            }
            visit(self.edge_ref(&revision))
        })?;
        found.sort_by_key(|revision| (revision.element.updated_at.as_ms(), revision.number));
        let mut found = found.into_iter().map(|revision| self.edge_ref(&revision));
        let _stopped = found.try_for_each(visit);
        Ok(())
    }

    /// How many nodes pass a filter.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn count_nodes(&self, filter: &Filter<ElementKey>) -> Result<usize, GraphError> {
        let mut count = 0;
        self.nodes(filter, &mut |revision| {
            count += usize::from(filter.matches(&*revision.element));
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// How many edges pass a filter.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn count_edges(&self, filter: &Filter<ElementKey>) -> Result<usize, GraphError> {
        let mut count = 0;
        self.edges(filter, &mut |revision| {
            count += usize::from(filter.matches(&*revision.element));
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// The edges of nodes, each with the node at its other end, as
    /// [`GraphView::walk`](crate::graph::GraphView::walk).
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn walk(
        &self,
        from: &[NodeRef],
        direction: Direction,
        visit: &mut dyn FnMut(usize, &EdgeRef, &NodeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        // A later revision of a node has the same neighbours; its edges are asked for again, as
        // remembering them all could take more than the past itself.
        for (which, node) in from.iter().enumerate() {
            let mut edges = Vec::new();
            self.reader.edges_of(&node.id, direction, &mut |revision| {
                edges.push(revision);
                ControlFlow::Continue(())
            })?;
            for revision in edges {
                let edge = self.edge_ref(&revision);
                let other = if edge.parent == node.id && direction != Direction::In {
                    &edge.child
                } else {
                    &edge.parent
                };
                // COMPAT: revisions multiply, whether they met or not.
                for other in self.nodes_by_id(other)? {
                    if visit(which, &edge, &other).is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// The nodes at the other ends of the edges of [`PastView::walk`] that pass a filter.
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
        self.walk(from, direction, &mut |which, _, node| {
            if filter.matches(&***node) {
                return visit(which, node.clone());
            }
            ControlFlow::Continue(())
        })
    }

    /// The edges of nodes that pass a filter, each once for each node.
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
        let stopped = Cell::new(false);
        for (which, node) in from.iter().enumerate() {
            self.reader.edges_of(&node.id, direction, &mut |revision| {
                if !filter.matches(&*revision.element) {
                    return ControlFlow::Continue(());
                }
                let flow = visit(which, self.edge_ref(&revision));
                stopped.set(flow.is_break());
                flow
            })?;
            if stopped.get() {
                break;
            }
        }
        Ok(())
    }

    /// [`PastView::walk`] on numbers: which of the given nodes, the edge, the other node.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn hop(
        &self,
        from: &[u32],
        direction: Direction,
        visit: &mut dyn FnMut(usize, u32, u32) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        let stopped = Cell::new(false);
        for (which, number) in from.iter().enumerate() {
            let Some(node) = self.known_node(*number) else {
                continue;
            };
            self.walk(&[node], direction, &mut |_, edge, other| {
                let flow = visit(which, edge.index(), other.index());
                stopped.set(flow.is_break());
                flow
            })?;
            if stopped.get() {
                break;
            }
        }
        Ok(())
    }

    /// The nodes with these numbers, in this order; numbers that name none are passed over.
    pub fn fetch_nodes(&self, numbers: &[u32], visit: &mut dyn FnMut(NodeRef) -> ControlFlow<()>) {
        let mut nodes = numbers.iter().filter_map(|number| self.known_node(*number));
        let _stopped = nodes.try_for_each(visit);
    }

    /// The edges with these numbers, in this order; numbers that name none are passed over.
    pub fn fetch_edges(&self, numbers: &[u32], visit: &mut dyn FnMut(EdgeRef) -> ControlFlow<()>) {
        let mut edges = numbers.iter().filter_map(|number| self.known_edge(*number));
        let _stopped = edges.try_for_each(visit);
    }

    /// All revisions of the parent and of the child of each edge.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn visit_ends(&self, edges: &[EdgeRef], visit: VisitEnds<'_>) -> Result<(), GraphError> {
        for edge in edges {
            let parents = self.nodes_by_id(&edge.parent)?;
            if visit(&parents, &self.nodes_by_id(&edge.child)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Among others the nodes that pass a filter.
    fn nodes(&self, filter: &Filter<ElementKey>, visit: Visit<'_, Node>) -> Result<(), GraphError> {
        let mut visit = self.patient(visit);
        match ElementKey::wanted(filter, |key| matches!(key, ElementKey::Id)) {
            Some(id) => self.reader.node(&NodeId::from(id.as_str()), &mut visit),
            None => self.reader.nodes_like(filter, &mut visit),
        }
    }

    fn edges(&self, filter: &Filter<ElementKey>, visit: Visit<'_, Edge>) -> Result<(), GraphError> {
        let mut visit = self.patient(visit);
        match ElementKey::wanted(filter, |key| matches!(key, ElementKey::Id)) {
            Some(id) => self.reader.edge(&EdgeId::from(id.as_str()), &mut visit),
            None => self.reader.edges(&mut visit),
        }
    }

    /// The key whose index finds the nodes that pass a filter, and about how many it names; `None`
    /// where all are looked at.
    ///
    /// # Errors
    /// [`GraphError::ViewExpired`].
    pub fn probe(&self, filter: &Filter<ElementKey>) -> Result<Option<(Text, usize)>, GraphError> {
        self.reader.probe(filter)
    }

    /// Visits as long as somebody waits.
    fn patient<E>(&self, visit: Visit<'_, E>) -> impl FnMut(Revision<E>) -> ControlFlow<()> {
        let mut seen = 0_usize;
        move |revision| {
            seen += 1;
            if seen.is_multiple_of(STRETCH) && (self.interrupt)() {
                return ControlFlow::Break(());
            }
            visit(revision)
        }
    }

    fn nodes_by_id(&self, id: &NodeId) -> Result<Vec<NodeRef>, GraphError> {
        let mut found = Vec::new();
        self.reader.node(id, &mut |revision| {
            found.push(self.node_ref(&revision));
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    fn node_ref(&self, revision: &Revision<Node>) -> NodeRef {
        let mut known = self.known.borrow_mut();
        let known = &mut *known;
        if let Some(Element::Node(node)) = known.find(revision.number) {
            return node.clone();
        }
        let node = NodeRef::new(known.rows.len(), &revision.element);
        if self.is_slice {
            let first = known.nodes.entry(node.id.clone()).or_insert(node.index());
            self.identities.0.borrow_mut().push(*first);
        }
        known.by_revision.insert(revision.number, node.index());
        known.rows.push(Element::Node(node.clone()));
        node
    }

    fn edge_ref(&self, revision: &Revision<Edge>) -> EdgeRef {
        let mut known = self.known.borrow_mut();
        let known = &mut *known;
        if let Some(Element::Edge(edge)) = known.find(revision.number) {
            return edge.clone();
        }
        let edge = EdgeRef::new(known.rows.len(), &revision.element);
        if self.is_slice {
            let first = known.edges.entry(edge.id.clone()).or_insert(edge.index());
            self.identities.0.borrow_mut().push(*first);
        }
        known.by_revision.insert(revision.number, edge.index());
        known.rows.push(Element::Edge(edge.clone()));
        edge
    }

    fn known_node(&self, number: u32) -> Option<NodeRef> {
        match self.known.borrow().rows.get(number as usize)? {
            Element::Node(node) => Some(node.clone()),
            Element::Edge(_) => None,
        }
    }

    fn known_edge(&self, number: u32) -> Option<EdgeRef> {
        match self.known.borrow().rows.get(number as usize)? {
            Element::Edge(edge) => Some(edge.clone()),
            Element::Node(_) => None,
        }
    }
}

impl Known {
    fn find(&self, revision: u64) -> Option<&Element> {
        let number = self.by_revision.get(&revision)?;
        self.rows.get(*number as usize)
    }
}

impl fmt::Debug for PastView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PastView({} revisions met)",
            self.known.borrow().rows.len()
        )
    }
}
