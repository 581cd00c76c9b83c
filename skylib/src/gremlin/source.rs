//! `View`: the graph a query reads, as of now or as of a time.

use std::ops::ControlFlow;
use std::rc::Rc;

use crate::filter::Filter;
use crate::graph::history::{Identities, PastView};
use crate::graph::{
    Direction, EdgeId, EdgeRef, ElementKey, GraphError, GraphView, NodeId, NodeRef,
};
use crate::value::Text;

/// Takes the parents and the children of an edge until it breaks.
pub(super) type VisitEnds<'v> = &'v mut dyn FnMut(&[NodeRef], &[NodeRef]) -> ControlFlow<()>;

/// The present or the past, read alike.
#[derive(Clone)]
pub(super) enum View<'a> {
    Live(&'a GraphView<'a>),
    Past(Rc<PastView<'a>>),
}

impl View<'_> {
    /// Which numbers stand for the same element, where several may.
    pub(super) fn identities(&self) -> Identities {
        match self {
            Self::Live(_) => Identities::default(),
            Self::Past(past) => past.identities().clone(),
        }
    }

    pub(super) fn node_by_id(&self, id: &NodeId) -> Result<Option<NodeRef>, GraphError> {
        match self {
            Self::Live(view) => view.node_by_id(id),
            Self::Past(past) => past.node_by_id(id),
        }
    }

    pub(super) fn edge_by_id(&self, id: &EdgeId) -> Result<Option<EdgeRef>, GraphError> {
        match self {
            Self::Live(view) => view.edge_by_id(id),
            Self::Past(past) => past.edge_by_id(id),
        }
    }

    pub(super) fn visit_nodes(
        &self,
        filter: &Filter<ElementKey>,
        visit: &mut dyn FnMut(NodeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        match self {
            Self::Live(view) => view.visit_nodes(filter, visit),
            Self::Past(past) => past.visit_nodes(filter, visit),
        }
    }

    pub(super) fn visit_edges(
        &self,
        filter: &Filter<ElementKey>,
        visit: &mut dyn FnMut(EdgeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        match self {
            Self::Live(view) => view.visit_edges(filter, visit),
            Self::Past(past) => past.visit_edges(filter, visit),
        }
    }

    pub(super) fn count_nodes(&self, filter: &Filter<ElementKey>) -> Result<usize, GraphError> {
        match self {
            Self::Live(view) => view.count_nodes(filter),
            Self::Past(past) => past.count_nodes(filter),
        }
    }

    pub(super) fn count_edges(&self, filter: &Filter<ElementKey>) -> Result<usize, GraphError> {
        match self {
            Self::Live(view) => view.count_edges(filter),
            Self::Past(past) => past.count_edges(filter),
        }
    }

    /// The key whose index finds the nodes that pass a filter, and about how many it names.
    pub(super) fn probe(
        &self,
        filter: &Filter<ElementKey>,
    ) -> Result<Option<(Text, usize)>, GraphError> {
        match self {
            Self::Live(view) => {
                let probe = view.probe(filter)?;
                Ok(probe.map(|probe| (probe.key().clone(), probe.estimate())))
            }
            Self::Past(past) => past.probe(filter),
        }
    }

    pub(super) fn walk(
        &self,
        from: &[NodeRef],
        direction: Direction,
        visit: &mut dyn FnMut(usize, &EdgeRef, &NodeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        match self {
            Self::Live(view) => view.walk(from, direction, visit),
            Self::Past(past) => past.walk(from, direction, visit),
        }
    }

    pub(super) fn walk_nodes(
        &self,
        from: &[NodeRef],
        direction: Direction,
        filter: &Filter<ElementKey>,
        visit: &mut dyn FnMut(usize, NodeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        match self {
            Self::Live(view) => view.walk_nodes(from, direction, filter, visit),
            Self::Past(past) => past.walk_nodes(from, direction, filter, visit),
        }
    }

    pub(super) fn walk_edges(
        &self,
        from: &[NodeRef],
        direction: Direction,
        filter: &Filter<ElementKey>,
        visit: &mut dyn FnMut(usize, EdgeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        match self {
            Self::Live(view) => view.walk_edges(from, direction, filter, visit),
            Self::Past(past) => past.walk_edges(from, direction, filter, visit),
        }
    }

    pub(super) fn hop(
        &self,
        from: &[u32],
        direction: Direction,
        visit: &mut dyn FnMut(usize, u32, u32) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        match self {
            Self::Live(view) => view.hop(from, direction, visit),
            Self::Past(past) => past.hop(from, direction, visit),
        }
    }

    pub(super) fn fetch_nodes(
        &self,
        numbers: &[u32],
        visit: &mut dyn FnMut(NodeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        match self {
            Self::Live(view) => view.fetch_nodes(numbers, visit),
            Self::Past(past) => {
                past.fetch_nodes(numbers, visit);
                Ok(())
            }
        }
    }

    pub(super) fn fetch_edges(
        &self,
        numbers: &[u32],
        visit: &mut dyn FnMut(EdgeRef) -> ControlFlow<()>,
    ) -> Result<(), GraphError> {
        match self {
            Self::Live(view) => view.fetch_edges(numbers, visit),
            Self::Past(past) => {
                past.fetch_edges(numbers, visit);
                Ok(())
            }
        }
    }

    /// Parents and children of each edge: one of each now and at an instant, as many as there are
    /// revisions in a slice.
    pub(super) fn visit_ends(
        &self,
        edges: &[EdgeRef],
        visit: VisitEnds<'_>,
    ) -> Result<(), GraphError> {
        match self {
            Self::Live(view) => {
                view.visit_ends(edges, &mut |parent, child| visit(&[parent], &[child]))
            }
            Self::Past(past) => past.visit_ends(edges, visit),
        }
    }
}
