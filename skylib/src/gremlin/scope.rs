//! `Scope`: the data that a query reads: a snapshot of the graph, in the present or the past, or a
//! subgraph of it.
//!
//! The graph is locked while a batch of elements is read, so expensive filters are split: a cheap
//! part runs while the lock is held, the rest afterwards ([`Scope::cheap_part`]).

use std::ops::ControlFlow;
use std::rc::Rc;

use super::bitmap::Bitmap;
use super::budget::Budget;
use super::error::QueryError;
use super::explain::Access;
use super::point_lookup::Lookup;
use super::steps::filter::Row;
use crate::file_use::FileUse;
use crate::filter::{Filter, Predicate};
use crate::graph::history::{History, Identities, PastView, ReadBudget};
use crate::graph::{
    Direction, EdgeEnds, EdgeId, EdgeRef, ElementKey, GraphError, GraphReader, GraphView, Hop,
    NodeId, NodeRef, SnapshotIter,
};
use crate::time::When;

/// Elements that `V`, `E`, and walks can find.
#[derive(Clone)]
pub(super) struct Scope<'a> {
    source: Source<'a>,
    /// Subgraph that limits the scope; `None` means the entire snapshot.
    subgraph: Option<Rc<Subgraph>>,
}

/// Snapshot that a query reads.
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

/// A subgraph of a snapshot: shared elements, and bitmaps of their numbers for membership tests.
pub(super) struct Subgraph {
    pub(super) nodes: Vec<NodeRef>,
    pub(super) edges: Vec<EdgeRef>,
    node_numbers: Bitmap,
    edge_numbers: Bitmap,
}

impl Subgraph {
    /// Creates a subgraph. Both ends of every edge must be among the nodes.
    pub(super) fn new(nodes: Vec<NodeRef>, edges: Vec<EdgeRef>) -> Self {
        let mut subgraph = Self {
            nodes,
            edges,
            node_numbers: Bitmap::default(),
            edge_numbers: Bitmap::default(),
        };
        for node in &subgraph.nodes {
            subgraph.node_numbers.insert(node.index());
        }
        for edge in &subgraph.edges {
            subgraph.edge_numbers.insert(edge.index());
        }
        subgraph
    }
}

impl<'a> Scope<'a> {
    /// Creates a scope of all elements of the present.
    pub(super) const fn whole(view: &'a GraphView<'a>) -> Self {
        Self {
            source: Source::Live(view),
            subgraph: None,
        }
    }

    /// Creates a scope of all elements at a time in the past.
    pub(super) fn past(history: &'a dyn History, when: When, budget: &'a dyn ReadBudget) -> Self {
        let view = PastView::open_within(history, when, budget);
        Self {
            source: Source::Past(Rc::new(view)),
            subgraph: None,
        }
    }

    /// Returns the number of bytes that the view of the past holds, excluding results.
    pub(super) fn bytes(&self) -> usize {
        self.reader().bytes()
    }

    /// Returns the reads of history files since the last call.
    pub(super) fn take_files(&self) -> Vec<FileUse> {
        self.reader().take_files()
    }

    /// Returns whether the scope is limited to a subgraph.
    pub(super) const fn is_subgraph(&self) -> bool {
        self.subgraph.is_some()
    }

    /// Returns whether the scope is in the past, where an element may have several revisions.
    pub(super) const fn is_past(&self) -> bool {
        matches!(self.source, Source::Past(_))
    }

    /// Returns the mapping from numbers of revisions to elements.
    pub(super) fn identities(&self) -> Identities {
        self.reader().identities()
    }

    /// Limits the scope to a subgraph.
    pub(super) fn narrow(&mut self, subgraph: Subgraph) {
        self.subgraph = Some(Rc::new(subgraph));
    }

    /// Returns the node with this id; `None` if there is none.
    pub(super) fn node(&self, id: &str) -> Result<Option<NodeRef>, QueryError> {
        let found = self
            .reader()
            .node_by_id(&NodeId::from(id))
            .map_err(|error| unread(&error))?;
        Ok(found.filter(|node| self.has_node(node.index())))
    }

    /// Returns the edge with this id; `None` if there is none.
    pub(super) fn edge(&self, id: &str) -> Result<Option<EdgeRef>, QueryError> {
        let found = self
            .reader()
            .edge_by_id(&EdgeId::from(id))
            .map_err(|error| unread(&error))?;
        Ok(found.filter(|edge| self.has_edge(edge.index())))
    }

    /// Visits the nodes that match a filter until the visitor breaks.
    pub(super) fn visit_nodes(
        &self,
        filter: &Filter<ElementKey>,
        budget: &Budget<'_>,
        visit: &mut dyn FnMut(NodeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        if let Some(subgraph) = &self.subgraph {
            return sift(subgraph.nodes.iter().cloned(), filter, budget, visit);
        }
        if let (Some(Lookup::Id(id)), false) = (Lookup::of_node(filter), self.is_past()) {
            return sift(self.node(id)?.into_iter(), filter, budget, visit);
        }
        match self.cheap_part(filter)? {
            None => each(self.reader().nodes(filter), visit),
            Some(light) => {
                let mut failed = Ok(());
                let visit = &mut |node| offer(node, filter, budget, visit, &mut failed);
                each(self.reader().nodes(&light), visit)?;
                failed
            }
        }
    }

    /// Returns how [`Scope::visit_nodes`] or, with `only_count`, [`Scope::count_nodes`] finds nodes.
    pub(super) fn node_access(
        &self,
        filter: &Filter<ElementKey>,
        only_count: bool,
    ) -> Result<Access, QueryError> {
        if self.subgraph.is_some() || filter.is_everything() || Lookup::of_node(filter).is_some() {
            return Ok(self.edge_access(filter, only_count));
        }
        let index = self.reader().index_for(filter);
        let index = index.map_err(|error| unread(&error))?;
        Ok(index.map_or(Access::Scan, |index| Access::Index {
            key: index.key,
            estimate: index.estimate,
        }))
    }

    /// Returns how [`Scope::visit_edges`] or, with `only_count`, [`Scope::count_edges`] finds edges.
    pub(super) fn edge_access(&self, filter: &Filter<ElementKey>, only_count: bool) -> Access {
        match Lookup::of_edge(filter) {
            Some(lookup) if self.subgraph.is_none() && lookup.works(self.is_past()) => {
                lookup.access()
            }
            _ if self.subgraph.is_some() || self.is_past() => Access::Scan,
            _ if filter.is_everything() && only_count => Access::Totals,
            _ => Access::Scan,
        }
    }

    /// Visits the edges that match a filter until the visitor breaks.
    pub(super) fn visit_edges(
        &self,
        filter: &Filter<ElementKey>,
        budget: &Budget<'_>,
        visit: &mut dyn FnMut(EdgeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        if let Some(subgraph) = &self.subgraph {
            return sift(subgraph.edges.iter().cloned(), filter, budget, visit);
        }
        if let (Some(lookup), false) = (Lookup::of_edge(filter), self.is_past()) {
            return self.look_up(lookup, filter, budget, visit);
        }
        match self.cheap_part(filter)? {
            None => each(self.reader().edges(filter), visit),
            Some(light) => {
                let mut failed = Ok(());
                let visit = &mut |edge| offer(edge, filter, budget, visit, &mut failed);
                each(self.reader().edges(&light), visit)?;
                failed
            }
        }
    }

    /// Visits the edges of the present that a filter identifies.
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

    /// Returns the number of nodes that match a filter.
    pub(super) fn count_nodes(
        &self,
        filter: &Filter<ElementKey>,
        budget: &Budget<'_>,
    ) -> Result<usize, QueryError> {
        let is_looked_up = Lookup::of_node(filter).is_some();
        if self.subgraph.is_none() && !is_looked_up && self.cheap_part(filter)?.is_none() {
            return self
                .reader()
                .count_nodes(filter)
                .map_err(|error| unread(&error));
        }
        let mut count = 0;
        self.visit_nodes(filter, budget, &mut |_| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// Returns the number of edges that match a filter.
    pub(super) fn count_edges(
        &self,
        filter: &Filter<ElementKey>,
        budget: &Budget<'_>,
    ) -> Result<usize, QueryError> {
        let is_looked_up = Lookup::of_edge(filter).is_some();
        if self.subgraph.is_none() && !is_looked_up && self.cheap_part(filter)?.is_none() {
            return self
                .reader()
                .count_edges(filter)
                .map_err(|error| unread(&error));
        }
        let mut count = 0;
        self.visit_edges(filter, budget, &mut |_| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// Visits the neighbors of nodes that match a filter, one per edge.
    pub(super) fn walk_nodes(
        &self,
        from: &[NodeRef],
        direction: Direction,
        filter: &Filter<ElementKey>,
        budget: &Budget<'_>,
        visit: &mut dyn FnMut(NodeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        if self.subgraph.is_none() && weight(filter) <= MAX_WEIGHT {
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

    /// Visits the edges of nodes that match a filter.
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

    /// Visits the edges of nodes by number, without reading elements.
    pub(super) fn hop(
        &self,
        from: &[u32],
        direction: Direction,
        visit: &mut dyn FnMut(Hop) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let hops = self.reader().hops(from, direction);
        match self.is_subgraph() {
            false => each(hops, visit),
            true => each(hops, &mut |hop| match self.has_hop(hop.edge, hop.node) {
                true => visit(hop),
                false => ControlFlow::Continue(()),
            }),
        }
    }

    /// Returns the hops over edges that match a filter.
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
        let mut matching = Bitmap::default();
        self.fetch_edges(&numbers, &mut |edge| {
            if filter.matches(&**edge) {
                matching.insert(edge.index());
            }
            ControlFlow::Continue(())
        })?;
        hops.retain(|hop| matching.contains(hop.edge));
        Ok(hops)
    }

    /// Visits the nodes with the given numbers.
    pub(super) fn fetch_nodes(
        &self,
        numbers: &[u32],
        visit: &mut dyn FnMut(NodeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        each(self.reader().nodes_at(numbers), visit)
    }

    /// Visits the edges with the given numbers.
    pub(super) fn fetch_edges(
        &self,
        numbers: &[u32],
        visit: &mut dyn FnMut(EdgeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        each(self.reader().edges_at(numbers), visit)
    }

    /// Visits the ends of each edge: parent and child, each in all revisions of the scope.
    pub(super) fn visit_ends(
        &self,
        edges: &[EdgeRef],
        visit: &mut dyn FnMut(&EdgeEnds) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        each(self.reader().ends_of(edges), &mut |ends| visit(&ends))
    }

    /// Returns the part of an expensive filter that is cheap enough to test while the graph is
    /// locked; the entire filter then has to be tested outside. `None` if the entire filter is cheap
    /// enough.
    fn cheap_part(
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
            .map_err(|error| unread(&error))?
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
        self.subgraph
            .as_ref()
            .is_none_or(|subgraph| subgraph.node_numbers.contains(number))
    }

    /// Returns whether the scope contains an edge and the revision of the node it leads to.
    fn has_hop(&self, edge: u32, node: u32) -> bool {
        self.has_edge(edge) && self.has_node(node)
    }

    fn has_edge(&self, number: u32) -> bool {
        self.subgraph
            .as_ref()
            .is_none_or(|subgraph| subgraph.edge_numbers.contains(number))
    }
}

/// Passes the items of a snapshot to `visit` until it breaks.
fn each<T>(
    items: SnapshotIter<'_, T>,
    visit: &mut dyn FnMut(T) -> ControlFlow<()>,
) -> Result<(), QueryError> {
    for item in items {
        if visit(item.map_err(|error| unread(&error))?).is_break() {
            break;
        }
    }
    Ok(())
}

/// Visits an element if it matches a filter.
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

/// Visits the elements that match a filter.
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

/// Returns the approximate cost of a filter, in comparisons.
fn weight(filter: &Filter<ElementKey>) -> usize {
    match filter {
        Filter::All(filters) | Filter::Any(filters) => filters.iter().map(weight).sum(),
        Filter::Not(filter) => weight(filter),
        Filter::Test(_, Predicate::Regex(_)) => 16,
        Filter::Test(_, Predicate::Ipv6Range(_) | Predicate::Address(_)) => 4,
        Filter::Test(..) => 1,
    }
}

/// Maximum cost of a filter tested while the graph is locked. A batch has 256 elements, so the lock is
/// held for a few hundred microseconds at most.
const MAX_WEIGHT: usize = 64;
/// Maximum cost of a filter for which an index selects the candidates, which are few.
const MAX_INDEXED_WEIGHT: usize = 1024;

/// Converts the error of a snapshot.
pub(super) fn unread(error: &GraphError) -> QueryError {
    match error {
        GraphError::Interrupted => QueryError::interrupted(),
        GraphError::Memory(exhausted) => QueryError::memory(*exhausted),
        GraphError::PastTooLarge { .. } => QueryError::limit(error.to_string())
            .help("use an instant or a shorter time slice, or steps that begin at a node"),
        GraphError::ViewExpired => QueryError::limit(error.to_string()),
        GraphError::Unreadable { .. } => QueryError::unavailable(error.to_string()),
        other => QueryError::execute(other.to_string()),
    }
}
