//! `SubGraph`: the elements found so far as a graph of their own.

use std::ops::ControlFlow;

use crate::filter::Filter;
use crate::graph::{Direction, EdgeRef, ElementKey, NodeRef};
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::gremlin::number_set::NumberSet;
use crate::gremlin::scope::{Part, Scope};

/// Nodes, each given once, and the edges among them that pass a filter.
///
/// # Errors
/// A node that is given twice (COMPAT: the original refuses, `Dedup` first).
pub(in crate::gremlin) fn of_nodes(
    scope: &Scope<'_>,
    nodes: Vec<NodeRef>,
    filter: &Filter<ElementKey>,
    budget: &Budget<'_>,
) -> Result<Part, QueryError> {
    let identities = scope.identities();
    let mut members = NumberSet::default();
    let mut ids = NumberSet::default();
    let is_new = |node: &NodeRef| {
        members.insert(node.index());
        ids.insert(identities.of(node.index()))
    };
    if !nodes.iter().all(is_new) {
        let message = "Error while adding node to SubGraph: Node ID conflict";
        return Err(QueryError::execute(message).help("put `Dedup()` before `SubGraph`"));
    }
    let numbers: Vec<u32> = nodes.iter().map(NodeRef::index).collect();
    let mut room = budget.room();
    let mut failed = Ok(());
    let mut inside = Vec::new();
    scope.hop(&numbers, Direction::Out, &mut |hop| {
        failed = budget.tick();
        if members.contains(hop.node) {
            failed = failed.clone().and_then(|()| room.add(size_of::<u32>()));
            inside.push(hop.edge);
        }
        if failed.is_err() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    failed?;
    // By number, which is about the order in which they came.
    inside.sort_unstable();
    let mut edges = Vec::new();
    let mut known_edges = NumberSet::default();
    scope.fetch_edges(&inside, &mut |edge| {
        if filter.matches(&**edge) && known_edges.insert(identities.of(edge.index())) {
            edges.push(edge);
        }
        ControlFlow::Continue(())
    })?;
    finish(nodes, edges, budget)
}

/// Edges and the nodes at their ends.
pub(in crate::gremlin) fn of_edges(
    scope: &Scope<'_>,
    edges: &[EdgeRef],
    budget: &Budget<'_>,
) -> Result<Part, QueryError> {
    let identities = scope.identities();
    let mut known_edges = NumberSet::default();
    let edges: Vec<EdgeRef> = edges
        .iter()
        .filter(|edge| known_edges.insert(identities.of(edge.index())))
        .cloned()
        .collect();
    let mut known_nodes = NumberSet::default();
    let mut nodes = Vec::new();
    let mut failed = Ok(());
    scope.visit_ends(&edges, &mut |ends| {
        failed = budget.tick();
        let both = ends.parents().iter().chain(ends.children());
        let new = both.filter(|node| known_nodes.insert(identities.of(node.index())));
        nodes.extend(new.cloned());
        if failed.is_err() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    failed?;
    finish(nodes, edges, budget)
}

fn finish(
    nodes: Vec<NodeRef>,
    edges: Vec<EdgeRef>,
    budget: &Budget<'_>,
) -> Result<Part, QueryError> {
    budget.keep(size_of_val(&*nodes) + size_of_val(&*edges))?;
    Ok(Part::new(nodes, edges))
}
