//! `ShortestPathTo`: the path with the fewest edges from each node to the nearest matching node.
//!
//! Edges are followed in both directions. For up to [`MAX_SINGLE_SEARCHES`] sources, each search is a
//! bidirectional breadth-first search between the source and all targets. For more sources, one
//! breadth-first search from all targets serves every source: O(nodes + edges) in total.

use std::ops::ControlFlow;

use hashbrown::HashMap;

use crate::filter::Filter;
use crate::graph::{Direction, ElementKey};
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::gremlin::scope::Scope;

/// Returns a path for each source that has one, as node numbers, including source and target.
pub(in crate::gremlin) fn shortest_paths(
    scope: &Scope<'_>,
    sources: &[u32],
    target: &Filter<ElementKey>,
    edges: &Filter<ElementKey>,
    budget: &Budget<'_>,
) -> Result<Vec<Vec<u32>>, QueryError> {
    let mut targets = Vec::new();
    if !sources.is_empty() {
        let mut room = budget.room();
        let mut failed = Ok(());
        scope.visit_nodes(target, budget, &mut |node| {
            targets.push(node.index());
            failed = budget.tick().and_then(|()| room.add(size_of::<u32>()));
            if failed.is_err() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        failed?;
    }
    if targets.is_empty() {
        return Ok(Vec::new());
    }
    let search = Search {
        scope,
        edges,
        budget,
    };
    let mut room = budget.room();
    let mut paths = Vec::new();
    if sources.len() <= MAX_SINGLE_SEARCHES {
        for source in sources {
            if let Some(path) = search.meet(*source, &targets)? {
                room.add(size_of_val(&*path))?;
                paths.push(path);
            }
        }
    } else {
        let tree = search.tree(&targets, sources)?;
        for source in sources {
            if tree.parents.contains_key(source) {
                let path = tree.path_from(*source);
                room.add(size_of_val(&*path))?;
                paths.push(path);
            }
        }
    }
    Ok(paths)
}

/// Maximum number of sources that are searched individually.
const MAX_SINGLE_SEARCHES: usize = 4;

/// Parameters of a search.
struct Search<'s, 'a> {
    scope: &'s Scope<'a>,
    edges: &'s Filter<ElementKey>,
    budget: &'s Budget<'s>,
}

/// Breadth-first search tree, growing from its roots.
struct Tree {
    /// Predecessor of each node reached; a root is its own predecessor.
    parents: HashMap<u32, u32>,
    /// Nodes of the deepest level, from which the next level is reached.
    frontier: Vec<u32>,
}

impl Tree {
    /// Creates a tree of roots.
    fn new(roots: &[u32]) -> Self {
        let mut tree = Self {
            parents: HashMap::new(),
            frontier: Vec::new(),
        };
        for root in roots {
            if tree.parents.insert(*root, *root).is_none() {
                tree.frontier.push(*root);
            }
        }
        tree
    }

    /// Returns the path from a reached node to its root, including both.
    fn path_from(&self, node: u32) -> Vec<u32> {
        let mut path = vec![node];
        let mut at = node;
        while let Some(parent) = self.parents.get(&at).filter(|parent| **parent != at) {
            path.push(*parent);
            at = *parent;
        }
        path
    }
}

impl Search<'_, '_> {
    /// Searches from both ends, always growing the side with the smaller frontier. Returns the path.
    fn meet(&self, source: u32, targets: &[u32]) -> Result<Option<Vec<u32>>, QueryError> {
        let mut near = Tree::new(&[source]);
        let mut far = Tree::new(targets);
        if far.parents.contains_key(&source) {
            return Ok(Some(vec![source]));
        }
        while !near.frontier.is_empty() && !far.frontier.is_empty() {
            let from_source = near.frontier.len() <= far.frontier.len();
            let (growing, other) = if from_source {
                (&mut near, &far)
            } else {
                (&mut far, &near)
            };
            // Both sides grow by entire levels, so the first common node lies on a shortest path.
            if let Some(node) = self.grow(growing, |node| other.parents.contains_key(&node))? {
                let mut path = near.path_from(node);
                path.reverse();
                path.extend(far.path_from(node).into_iter().skip(1));
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// Searches from the targets until every source is reached or the search is exhausted.
    fn tree(&self, targets: &[u32], sources: &[u32]) -> Result<Tree, QueryError> {
        let mut tree = Tree::new(targets);
        let mut wanted: hashbrown::HashSet<u32> = sources.iter().copied().collect();
        wanted.retain(|source| !tree.parents.contains_key(source));
        while !tree.frontier.is_empty() && !wanted.is_empty() {
            self.grow(&mut tree, |node| {
                wanted.remove(&node);
                false
            })?;
        }
        Ok(tree)
    }

    /// Grows a tree by one level. Stops at, and returns, the first new node that `found` accepts.
    fn grow(
        &self,
        tree: &mut Tree,
        mut found: impl FnMut(u32) -> bool,
    ) -> Result<Option<u32>, QueryError> {
        let frontier = std::mem::take(&mut tree.frontier);
        let hops = self
            .scope
            .hops(&frontier, Direction::Both, self.edges, self.budget)?;
        let mut room = self.budget.room();
        for hop in hops {
            if tree.parents.contains_key(&hop.node) {
                continue;
            }
            room.add(2 * size_of::<(u32, u32)>())?;
            if let Some(parent) = frontier.get(hop.from) {
                tree.parents.insert(hop.node, *parent);
            }
            tree.frontier.push(hop.node);
            if found(hop.node) {
                return Ok(Some(hop.node));
            }
        }
        Ok(None)
    }
}
