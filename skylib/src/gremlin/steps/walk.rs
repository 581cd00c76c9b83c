//! `Out`, `In`, `Both`, `OutE`, `InE`, `BothE`, `OutV`, `InV`, `BothV`: one result per edge.

use std::ops::ControlFlow;

use super::filter::{Pipe, Row};
use crate::filter::Filter;
use crate::graph::{Direction, EdgeRef, ElementKey, NodeRef};
use crate::gremlin::ast::Walk;
use crate::gremlin::error::QueryError;
use crate::gremlin::scope::Scope;

/// Returns the direction of a step that starts from nodes.
pub(in crate::gremlin) const fn direction(walk: Walk) -> Direction {
    match walk {
        Walk::Out | Walk::OutE | Walk::OutV => Direction::Out,
        Walk::In | Walk::InE | Walk::InV => Direction::In,
        Walk::Both | Walk::BothE | Walk::BothV => Direction::Both,
    }
}

/// Pushes the ends of edges that match a filter.
///
/// COMPAT: `InV` is the parent and `OutV` the child, the reverse of TinkerPop.
pub(in crate::gremlin) fn ends(
    scope: &Scope<'_>,
    edges: &[EdgeRef],
    walk: Walk,
    filter: &Filter<ElementKey>,
    pipe: &mut Pipe<'_, '_, NodeRef>,
) -> Result<(), QueryError> {
    scope.visit_ends(edges, &mut |ends| {
        let (parents, children) = match walk {
            Walk::InV => (ends.parents(), &[][..]),
            Walk::OutV => (&[][..], ends.children()),
            _ => (ends.parents(), ends.children()),
        };
        for node in parents.iter().chain(children) {
            if node.passes(filter) && pipe.push(node.clone()).is_break() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })
}
