//! `Descendants`, `Ascendants`, `Neighbors`: breadth-first search, one level per edge.

use crate::filter::Filter;
use crate::graph::{Direction, ElementKey};
use crate::gremlin::ast::Hierarchy;
use crate::gremlin::bitmap::Bitmap;
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::gremlin::scope::Scope;

/// Returns the numbers of the given nodes and of the nodes up to `depth` edges away, nearest first,
/// without duplicates.
///
/// `None` means no depth limit. Each edge is followed at most once per end: O(nodes + edges).
pub(in crate::gremlin) fn nodes_within(
    scope: &Scope<'_>,
    from: &[u32],
    hierarchy: Hierarchy,
    filter: &Filter<ElementKey>,
    depth: Option<u64>,
    budget: &Budget<'_>,
) -> Result<Vec<u32>, QueryError> {
    let direction = match hierarchy {
        Hierarchy::Descendants => Direction::Out,
        Hierarchy::Ascendants => Direction::In,
        Hierarchy::Neighbors => Direction::Both,
    };
    let mut room = budget.room();
    let identities = scope.identities();
    let mut seen = Bitmap::default();
    let mut found: Vec<u32> = from
        .iter()
        .copied()
        .filter(|number| seen.insert(identities.of(*number)))
        .collect();
    // `found[level..]` is the frontier.
    let mut level = 0;
    let mut distance = 0;
    while level < found.len() && depth.is_none_or(|depth| distance < depth) {
        let hops = scope.hops(&found[level..], direction, filter, budget)?;
        level = found.len();
        for hop in hops {
            if seen.insert(identities.of(hop.node)) {
                room.add(size_of::<u32>())?;
                found.push(hop.node);
            }
        }
        distance += 1;
    }
    Ok(found)
}
