//! `Scope`: the part of a view that a query sees, the whole of it or a subgraph, now or in the
//! past.

use std::ops::ControlFlow;
use std::rc::Rc;

use super::bitmap::Bitmap;
use super::budget::Budget;
use super::error::QueryError;
use super::explain::Access;
use super::point_lookup::Lookup;
use super::steps::filter::Row;
use crate::filter::{Filter, Predicate};
use crate::graph::history::{History, Identities, PastView};
use crate::graph::{
    Direction, EdgeEnds, EdgeId, EdgeRef, ElementKey, GraphError, GraphReader, GraphView, Hop,
    NodeId, NodeRef, SnapshotIter,
};
use crate::time::When;

/// What `V`, `E` and walks find.
#[derive(Clone)]
pub(super) struct Scope<'a> {
    source: Source<'a>,
    /// `None`: everything.
    part: Option<Rc<Part>>,
}

/// The snapshot that a query reads.
#[derive(Clone)]
enum Source<'a> {
    Live(&'a GraphView<'a>),
    Past(Rc<PastView<'a>>),
}

impl Source<'_> {
    fn reader(&self) -> &dyn GraphReader {
        match self {
            Self::Live(view) => *view,
            Self::Past(past) => &**past,
        }
    }
}

/// A subgraph: marks on elements of the view, nothing copied.
pub(super) struct Part {
    pub(super) nodes: Vec<NodeRef>,
    pub(super) edges: Vec<EdgeRef>,
    node_numbers: Bitmap,
    edge_numbers: Bitmap,
}

impl Part {
    /// A subgraph; every end of the edges is among the nodes.
    pub(super) fn new(nodes: Vec<NodeRef>, edges: Vec<EdgeRef>) -> Self {
        let mut part = Self {
            nodes,
            edges,
            node_numbers: Bitmap::default(),
            edge_numbers: Bitmap::default(),
        };
        for node in &part.nodes {
            part.node_numbers.insert(node.index());
        }
        for edge in &part.edges {
            part.edge_numbers.insert(edge.index());
        }
        part
    }
}

impl<'a> Scope<'a> {
    pub(super) const fn whole(view: &'a GraphView<'a>) -> Self {
        Self {
            source: Source::Live(view),
            part: None,
        }
    }

    /// Everything there was at a time.
    pub(super) fn past(
        history: &'a dyn History,
        when: When,
        interrupt: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        let view = PastView::open(history, when).with_interrupt(interrupt);
        Self {
            source: Source::Past(Rc::new(view)),
            part: None,
        }
    }

    /// Bytes that reading holds beside what is found.
    pub(super) fn bytes(&self) -> usize {
        self.reader().bytes()
    }

    /// Whether it is only a subgraph.
    pub(super) const fn is_part(&self) -> bool {
        self.part.is_some()
    }

    /// Whether a walk may meet several revisions of an element.
    pub(super) const fn is_past(&self) -> bool {
        matches!(self.source, Source::Past(_))
    }

    /// Which numbers stand for the same element.
    pub(super) fn identities(&self) -> Identities {
        self.reader().identities()
    }

    /// Only these elements from now on.
    pub(super) fn narrow(&mut self, part: Part) {
        self.part = Some(Rc::new(part));
    }

    pub(super) fn node(&self, id: &str) -> Result<Option<NodeRef>, QueryError> {
        let found = self
            .reader()
            .node_by_id(&NodeId::from(id))
            .map_err(|error| expired(&error))?;
        Ok(found.filter(|node| self.has_node(node.index())))
    }

    pub(super) fn edge(&self, id: &str) -> Result<Option<EdgeRef>, QueryError> {
        let found = self
            .reader()
            .edge_by_id(&EdgeId::from(id))
            .map_err(|error| expired(&error))?;
        Ok(found.filter(|edge| self.has_edge(edge.index())))
    }

    /// The nodes that pass a filter.
    pub(super) fn visit_nodes(
        &self,
        filter: &Filter<ElementKey>,
        budget: &Budget<'_>,
        visit: &mut dyn FnMut(NodeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        if let Some(part) = &self.part {
            return sift(part.nodes.iter().cloned(), filter, budget, visit);
        }
        if let (Some(Lookup::Id(id)), false) = (Lookup::of_node(filter), self.is_past()) {
            return sift(self.node(id)?.into_iter(), filter, budget, visit);
        }
        match self.too_much(filter)? {
            None => each(self.reader().nodes(filter), visit),
            Some(light) => {
                let mut failed = Ok(());
                let visit = &mut |node| offer(node, filter, budget, visit, &mut failed);
                each(self.reader().nodes(&light), visit)?;
                failed
            }
        }
    }

    /// How [`Scope::visit_nodes`] or, to count them, [`Scope::count_nodes`] finds them.
    pub(super) fn node_access(
        &self,
        filter: &Filter<ElementKey>,
        only_count: bool,
    ) -> Result<Access, QueryError> {
        if self.part.is_some() || filter.is_everything() || Lookup::of_node(filter).is_some() {
            return Ok(self.edge_access(filter, only_count));
        }
        let index = self.reader().index_for(filter);
        let index = index.map_err(|error| expired(&error))?;
        Ok(index.map_or(Access::Scan, |index| Access::Index {
            key: index.key,
            estimate: index.estimate,
        }))
    }

    /// How [`Scope::visit_edges`] or, to count them, [`Scope::count_edges`] finds them.
    pub(super) fn edge_access(&self, filter: &Filter<ElementKey>, only_count: bool) -> Access {
        match Lookup::of_edge(filter) {
            Some(lookup) if self.part.is_none() && lookup.works(self.is_past()) => lookup.access(),
            _ if self.part.is_some() || self.is_past() => Access::Scan,
            _ if filter.is_everything() && only_count => Access::Totals,
            _ => Access::Scan,
        }
    }

    /// The edges that pass a filter.
    pub(super) fn visit_edges(
        &self,
        filter: &Filter<ElementKey>,
        budget: &Budget<'_>,
        visit: &mut dyn FnMut(EdgeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        if let Some(part) = &self.part {
            return sift(part.edges.iter().cloned(), filter, budget, visit);
        }
        if let (Some(lookup), false) = (Lookup::of_edge(filter), self.is_past()) {
            return self.look_up(lookup, filter, budget, visit);
        }
        match self.too_much(filter)? {
            None => each(self.reader().edges(filter), visit),
            Some(light) => {
                let mut failed = Ok(());
                let visit = &mut |edge| offer(edge, filter, budget, visit, &mut failed);
                each(self.reader().edges(&light), visit)?;
                failed
            }
        }
    }

    /// The edges that a filter names, of now.
    fn look_up(
        &self,
        lookup: Lookup<'_>,
        filter: &Filter<ElementKey>,
        budget: &Budget<'_>,
        visit: &mut dyn FnMut(EdgeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let (end, direction) = match lookup {
            Lookup::Id(id) => return sift(self.edge(id)?.into_iter(), filter, budget, visit),
            Lookup::Parent(id) => (id, Direction::Out),
            Lookup::Child(id) => (id, Direction::In),
        };
        let from: Vec<NodeRef> = self.node(end)?.into_iter().collect();
        self.walk_edges(&from, direction, filter, budget, visit)
    }

    /// The number of nodes that pass a filter.
    pub(super) fn count_nodes(
        &self,
        filter: &Filter<ElementKey>,
        budget: &Budget<'_>,
    ) -> Result<usize, QueryError> {
        let is_looked_up = Lookup::of_node(filter).is_some();
        if self.part.is_none() && !is_looked_up && self.too_much(filter)?.is_none() {
            return self
                .reader()
                .count_nodes(filter)
                .map_err(|error| expired(&error));
        }
        let mut count = 0;
        self.visit_nodes(filter, budget, &mut |_| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// The number of edges that pass a filter.
    pub(super) fn count_edges(
        &self,
        filter: &Filter<ElementKey>,
        budget: &Budget<'_>,
    ) -> Result<usize, QueryError> {
        let is_looked_up = Lookup::of_edge(filter).is_some();
        if self.part.is_none() && !is_looked_up && self.too_much(filter)?.is_none() {
            return self
                .reader()
                .count_edges(filter)
                .map_err(|error| expired(&error));
        }
        let mut count = 0;
        self.visit_edges(filter, budget, &mut |_| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// The nodes around nodes that pass a filter, one for each edge.
    pub(super) fn walk_nodes(
        &self,
        from: &[NodeRef],
        direction: Direction,
        filter: &Filter<ElementKey>,
        budget: &Budget<'_>,
        visit: &mut dyn FnMut(NodeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        if self.part.is_none() && weight(filter) <= MAX_WEIGHT {
            let nodes = self.reader().neighbor_nodes(from, direction, filter);
            return each(nodes, visit);
        }
        let mut failed = Ok(());
        each(self.reader().neighbors(from, direction), &mut |neighbor| {
            if self.has_hop(neighbor.edge.index(), neighbor.node.index()) {
                return offer(neighbor.node, filter, budget, visit, &mut failed);
            }
            ControlFlow::Continue(())
        })?;
        failed
    }

    /// The edges of nodes that pass a filter.
    pub(super) fn walk_edges(
        &self,
        from: &[NodeRef],
        direction: Direction,
        filter: &Filter<ElementKey>,
        budget: &Budget<'_>,
        visit: &mut dyn FnMut(EdgeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let everything = Filter::everything();
        let light = if weight(filter) <= MAX_WEIGHT {
            filter
        } else {
            &everything
        };
        let mut failed = Ok(());
        let edges = self.reader().neighbor_edges(from, direction, light);
        each(edges, &mut |edge| match self.has_edge(edge.index()) {
            true => offer(edge, filter, budget, visit, &mut failed),
            false => ControlFlow::Continue(()),
        })?;
        failed
    }

    /// The edges around nodes by their numbers, without reading any element.
    pub(super) fn hop(
        &self,
        from: &[u32],
        direction: Direction,
        visit: &mut dyn FnMut(Hop) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let hops = self.reader().hops(from, direction);
        match self.is_part() {
            false => each(hops, visit),
            true => each(hops, &mut |hop| match self.has_hop(hop.edge, hop.node) {
                true => visit(hop),
                false => ControlFlow::Continue(()),
            }),
        }
    }

    /// The hops over edges that pass a filter.
    pub(super) fn hops(
        &self,
        from: &[u32],
        direction: Direction,
        filter: &Filter<ElementKey>,
        budget: &Budget<'_>,
    ) -> Result<Vec<Hop>, QueryError> {
        let mut room = budget.room();
        let mut hops = Vec::new();
        let mut failed = Ok(());
        self.hop(from, direction, &mut |hop| {
            failed = budget.tick().and_then(|()| room.add(size_of::<Hop>()));
            hops.push(hop);
            if failed.is_err() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        failed?;
        if filter.is_everything() {
            return Ok(hops);
        }
        let numbers: Vec<u32> = hops.iter().map(|hop| hop.edge).collect();
        let mut passing = Bitmap::default();
        self.fetch_edges(&numbers, &mut |edge| {
            if filter.matches(&**edge) {
                passing.insert(edge.index());
            }
            ControlFlow::Continue(())
        })?;
        hops.retain(|hop| passing.contains(hop.edge));
        Ok(hops)
    }

    pub(super) fn fetch_nodes(
        &self,
        numbers: &[u32],
        visit: &mut dyn FnMut(NodeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        each(self.reader().nodes_at(numbers), visit)
    }

    pub(super) fn fetch_edges(
        &self,
        numbers: &[u32],
        visit: &mut dyn FnMut(EdgeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        each(self.reader().edges_at(numbers), visit)
    }

    /// Parent and child of each edge, each in all its revisions.
    pub(super) fn visit_ends(
        &self,
        edges: &[EdgeRef],
        visit: &mut dyn FnMut(&EdgeEnds) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        each(self.reader().ends_of(edges), &mut |ends| visit(&ends))
    }

    /// The part of a filter that may be tested while the graph is held, where the whole would
    /// hold it too long; the whole is then tested outside.
    fn too_much(
        &self,
        filter: &Filter<ElementKey>,
    ) -> Result<Option<Filter<ElementKey>>, QueryError> {
        let all = weight(filter);
        if all <= MAX_WEIGHT {
            return Ok(None);
        }
        let by_index = self
            .reader()
            .index_for(filter)
            .map_err(|error| expired(&error))?
            .is_some();
        if by_index && all <= MAX_INDEXED_WEIGHT {
            return Ok(None);
        }
        let parts = match filter {
            Filter::All(parts) => parts.as_slice(),
            _ => &[],
        };
        let mut room = MAX_WEIGHT;
        let mut light = Vec::new();
        for part in parts {
            if let Some(rest) = room.checked_sub(weight(part)) {
                room = rest;
                light.push(part.clone());
            }
        }
        Ok(Some(Filter::All(light)))
    }

    fn reader(&self) -> &dyn GraphReader {
        self.source.reader()
    }

    fn has_node(&self, number: u32) -> bool {
        self.part
            .as_ref()
            .is_none_or(|part| part.node_numbers.contains(number))
    }

    /// Whether an edge and the node it leads to are in; of a node other revisions may be.
    fn has_hop(&self, edge: u32, node: u32) -> bool {
        self.has_edge(edge) && self.has_node(node)
    }

    fn has_edge(&self, number: u32) -> bool {
        self.part
            .as_ref()
            .is_none_or(|part| part.edge_numbers.contains(number))
    }
}

/// Passes the items of a snapshot to `visit` until it breaks.
fn each<T>(
    items: SnapshotIter<'_, T>,
    visit: &mut dyn FnMut(T) -> ControlFlow<()>,
) -> Result<(), QueryError> {
    for item in items {
        if visit(item.map_err(|error| expired(&error))?).is_break() {
            break;
        }
    }
    Ok(())
}

/// Hands an element on if it passes a filter.
fn offer<R: Row>(
    row: R,
    filter: &Filter<ElementKey>,
    budget: &Budget<'_>,
    visit: &mut dyn FnMut(R) -> ControlFlow<()>,
    failed: &mut Result<(), QueryError>,
) -> ControlFlow<()> {
    *failed = budget.tick();
    match failed {
        Err(_) => ControlFlow::Break(()),
        Ok(()) if row.passes(filter) => visit(row),
        Ok(()) => ControlFlow::Continue(()),
    }
}

fn sift<R: Row>(
    rows: impl Iterator<Item = R>,
    filter: &Filter<ElementKey>,
    budget: &Budget<'_>,
    visit: &mut dyn FnMut(R) -> ControlFlow<()>,
) -> Result<(), QueryError> {
    let mut failed = Ok(());
    for row in rows {
        if offer(row, filter, budget, visit, &mut failed).is_break() {
            break;
        }
    }
    failed
}

/// About how many comparisons a filter takes.
fn weight(filter: &Filter<ElementKey>) -> usize {
    match filter {
        Filter::All(filters) | Filter::Any(filters) => filters.iter().map(weight).sum(),
        Filter::Not(filter) => weight(filter),
        Filter::Test(_, Predicate::Regex(_)) => 16,
        Filter::Test(..) => 1,
    }
}

/// A stretch of the view tests 256 elements: some hundred microseconds at most.
const MAX_WEIGHT: usize = 64;
/// An index lets few elements come to the test.
const MAX_INDEXED_WEIGHT: usize = 1024;

fn expired(error: &GraphError) -> QueryError {
    QueryError::limit(error.to_string())
        .help("the graph changed so much meanwhile that the past it needs is gone; ask again")
}
