//! `SubGraph`: narrows the graph to the elements found so far.

use std::ops::ControlFlow;

use crate::filter::Filter;
use crate::graph::{Direction, EdgeRef, ElementKey, NodeRef};
use crate::gremlin::bitmap::Bitmap;
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::gremlin::scope::{Scope, Subgraph};

/// Returns the subgraph of nodes and the edges between them that match a filter.
///
/// # Errors
/// Returns an error if a node occurs twice (COMPAT: as in Skydive).
pub(in crate::gremlin) fn of_nodes(
    scope: &Scope<'_>,
    nodes: Vec<NodeRef>,
    filter: &Filter<ElementKey>,
    budget: &Budget<'_>,
) -> Result<Subgraph, QueryError> {
    let identities = scope.identities();
    let mut members = Bitmap::default();
    let mut ids = Bitmap::default();
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
    // Numbers ascend approximately in insertion order.
    inside.sort_unstable();
    let mut edges = Vec::new();
    let mut known_edges = Bitmap::default();
    scope.fetch_edges(&inside, &mut |edge| {
        if filter.matches(&**edge) && known_edges.insert(identities.of(edge.index())) {
            edges.push(edge);
        }
        ControlFlow::Continue(())
    })?;
    finish(nodes, edges, budget)
}

/// Returns the subgraph of edges and the nodes at their ends.
pub(in crate::gremlin) fn of_edges(
    scope: &Scope<'_>,
    edges: &[EdgeRef],
    budget: &Budget<'_>,
) -> Result<Subgraph, QueryError> {
    let identities = scope.identities();
    let mut known_edges = Bitmap::default();
    let edges: Vec<EdgeRef> = edges
        .iter()
        .filter(|edge| known_edges.insert(identities.of(edge.index())))
        .cloned()
        .collect();
    let mut known_nodes = Bitmap::default();
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

/// Creates the subgraph, which is retained until the query ends.
fn finish(
    nodes: Vec<NodeRef>,
    edges: Vec<EdgeRef>,
    budget: &Budget<'_>,
) -> Result<Subgraph, QueryError> {
    budget.retain(size_of_val(&*nodes) + size_of_val(&*edges))?;
    Ok(Subgraph::new(nodes, edges))
}
