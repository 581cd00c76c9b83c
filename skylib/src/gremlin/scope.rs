//! `Scope`: the part of a view that a query sees, the whole of it or a subgraph.

use std::ops::ControlFlow;
use std::rc::Rc;

use super::budget::Budget;
use super::error::QueryError;
use super::number_set::NumberSet;
use crate::filter::Filter;
use crate::graph::{
    Direction, EdgeId, EdgeRef, ElementKey, GraphError, GraphView, NodeId, NodeRef,
};

/// What `V`, `E` and walks find.
#[derive(Clone)]
pub(super) struct Scope<'a> {
    view: &'a GraphView<'a>,
    /// `None`: everything.
    part: Option<Rc<Part>>,
}

/// A subgraph: marks on elements of the view, nothing copied.
pub(super) struct Part {
    pub(super) nodes: Vec<NodeRef>,
    pub(super) edges: Vec<EdgeRef>,
    node_numbers: NumberSet,
    edge_numbers: NumberSet,
}

/// An edge as a walk goes over it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    /// Which of the given nodes it starts from.
    pub(super) which: usize,
    pub(super) edge: u32,
    /// The node at its other end.
    pub(super) node: u32,
}

impl Part {
    /// A subgraph; every end of the edges is among the nodes.
    pub(super) fn new(nodes: Vec<NodeRef>, edges: Vec<EdgeRef>) -> Self {
        let mut part = Self {
            nodes,
            edges,
            node_numbers: NumberSet::default(),
            edge_numbers: NumberSet::default(),
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
        Self { view, part: None }
    }

    /// Only these elements from now on.
    pub(super) fn narrow(&mut self, part: Part) {
        self.part = Some(Rc::new(part));
    }

    pub(super) fn node(&self, id: &str) -> Result<Option<NodeRef>, QueryError> {
        let found = self
            .view
            .node_by_id(&NodeId::from(id))
            .map_err(|error| expired(&error))?;
        Ok(found.filter(|node| self.has_node(node.index())))
    }

    pub(super) fn edge(&self, id: &str) -> Result<Option<EdgeRef>, QueryError> {
        let found = self
            .view
            .edge_by_id(&EdgeId::from(id))
            .map_err(|error| expired(&error))?;
        Ok(found.filter(|edge| self.has_edge(edge.index())))
    }

    pub(super) fn visit_nodes(
        &self,
        filter: &Filter<ElementKey>,
        visit: &mut dyn FnMut(NodeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        match &self.part {
            None => self
                .view
                .visit_nodes(filter, visit)
                .map_err(|error| expired(&error)),
            Some(part) => {
                let passing = part.nodes.iter().filter(|node| filter.matches(&****node));
                let _stopped = passing.cloned().try_for_each(visit);
                Ok(())
            }
        }
    }

    pub(super) fn visit_edges(
        &self,
        filter: &Filter<ElementKey>,
        visit: &mut dyn FnMut(EdgeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        match &self.part {
            None => self
                .view
                .visit_edges(filter, visit)
                .map_err(|error| expired(&error)),
            Some(part) => {
                let passing = part.edges.iter().filter(|edge| filter.matches(&****edge));
                let _stopped = passing.cloned().try_for_each(visit);
                Ok(())
            }
        }
    }

    /// The number of nodes where the view can tell it faster than a visit.
    pub(super) fn count_nodes(&self, filter: &Filter<ElementKey>) -> Result<usize, QueryError> {
        match &self.part {
            None => self
                .view
                .count_nodes(filter)
                .map_err(|error| expired(&error)),
            Some(part) => Ok(part.nodes.iter().filter(|n| filter.matches(&****n)).count()),
        }
    }

    /// The number of edges.
    pub(super) fn count_edges(&self, filter: &Filter<ElementKey>) -> Result<usize, QueryError> {
        match &self.part {
            None => self
                .view
                .count_edges(filter)
                .map_err(|error| expired(&error)),
            Some(part) => Ok(part.edges.iter().filter(|e| filter.matches(&****e)).count()),
        }
    }

    /// The nodes around nodes that pass a filter, one for each edge.
    pub(super) fn walk_nodes(
        &self,
        from: &[NodeRef],
        direction: Direction,
        filter: &Filter<ElementKey>,
        visit: &mut dyn FnMut(NodeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let Some(part) = &self.part else {
            let mut visit = |_, node| visit(node);
            return self
                .view
                .walk_nodes(from, direction, filter, &mut visit)
                .map_err(|error| expired(&error));
        };
        let visit = &mut |_, edge: &EdgeRef, node: &NodeRef| {
            if part.edge_numbers.contains(edge.index()) && filter.matches(&***node) {
                return visit(node.clone());
            }
            ControlFlow::Continue(())
        };
        self.view
            .walk(from, direction, visit)
            .map_err(|error| expired(&error))
    }

    /// The edges of nodes that pass a filter.
    pub(super) fn walk_edges(
        &self,
        from: &[NodeRef],
        direction: Direction,
        filter: &Filter<ElementKey>,
        visit: &mut dyn FnMut(EdgeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let visit = &mut |_, edge: EdgeRef| match self.has_edge(edge.index()) {
            true => visit(edge),
            false => ControlFlow::Continue(()),
        };
        self.view
            .walk_edges(from, direction, filter, visit)
            .map_err(|error| expired(&error))
    }

    /// The edges around nodes by their numbers, without reading any element.
    pub(super) fn hop(
        &self,
        from: &[u32],
        direction: Direction,
        visit: &mut dyn FnMut(Hop) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        let visit = &mut |which, edge, node| match self.has_edge(edge) {
            true => visit(Hop { which, edge, node }),
            false => ControlFlow::Continue(()),
        };
        self.view
            .hop(from, direction, visit)
            .map_err(|error| expired(&error))
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
        let mut passing = NumberSet::default();
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
        self.view
            .fetch_nodes(numbers, visit)
            .map_err(|error| expired(&error))
    }

    pub(super) fn fetch_edges(
        &self,
        numbers: &[u32],
        visit: &mut dyn FnMut(EdgeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        self.view
            .fetch_edges(numbers, visit)
            .map_err(|error| expired(&error))
    }

    /// Parent and child of each edge.
    pub(super) fn visit_ends(
        &self,
        edges: &[EdgeRef],
        visit: &mut dyn FnMut(NodeRef, NodeRef) -> ControlFlow<()>,
    ) -> Result<(), QueryError> {
        self.view
            .visit_ends(edges, visit)
            .map_err(|error| expired(&error))
    }

    fn has_node(&self, number: u32) -> bool {
        self.part
            .as_ref()
            .is_none_or(|part| part.node_numbers.contains(number))
    }

    fn has_edge(&self, number: u32) -> bool {
        self.part
            .as_ref()
            .is_none_or(|part| part.edge_numbers.contains(number))
    }
}

fn expired(error: &GraphError) -> QueryError {
    QueryError::limit(error.to_string())
        .help("the graph changed so much meanwhile that the past it needs is gone; ask again")
}
