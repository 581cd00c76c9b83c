//! `Walk`: the edges around a list of nodes, in pieces.

use super::Direction;
use super::storage::{EdgeIndex, NodeIndex, Storage, Walker, is_second_sight, sides};
use super::view::STRETCH;

/// The state of a walk between two stretches.
///
/// `petgraph` lists a node's newest edge first; a side's edges are gathered and then turned round.
pub(super) struct Walk<I> {
    from: I,
    direction: Direction,
    /// How many nodes were begun.
    begun: usize,
    current: Option<Current>,
    gathered: Vec<(EdgeIndex, NodeIndex)>,
    ready: std::collections::VecDeque<(usize, EdgeIndex, NodeIndex)>,
}

struct Current {
    node: NodeIndex,
    side: usize,
    /// Stands before an edge that the view sees, which therefore stays, or at the beginning.
    walker: Option<Walker>,
}

impl<I: Iterator<Item = u32>> Walk<I> {
    pub(super) fn new(from: impl IntoIterator<IntoIter = I>, direction: Direction) -> Self {
        Self {
            from: from.into_iter(),
            direction,
            begun: 0,
            current: None,
            gathered: Vec::new(),
            ready: std::collections::VecDeque::new(),
        }
    }

    /// Whether there is something to take.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Which node, the edge, the node at its other end.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (usize, EdgeIndex, NodeIndex)> {
        std::iter::from_fn(|| self.ready.pop_front())
    }

    /// Walks a stretch on; tells whether there is more to come.
    pub(super) fn advance(&mut self, storage: &Storage, sequence: u64) -> bool {
        let mut spent = 0;
        while spent < STRETCH {
            let current = match &mut self.current {
                Some(current) => current,
                None => {
                    let Some(node) = self.from.next() else {
                        return false;
                    };
                    self.begun += 1;
                    spent += 1;
                    let node = NodeIndex::new(node as usize);
                    self.current.insert(Current {
                        node,
                        side: 0,
                        walker: None,
                    })
                }
            };
            let Some(side) = sides(self.direction).get(current.side) else {
                self.current = None;
                continue;
            };
            let walker = current
                .walker
                .get_or_insert_with(|| storage.walker(current.node, *side));
            loop {
                let before = walker.clone();
                let Some((edge, node)) = storage.step(walker) else {
                    let which = self.begun - 1;
                    let turned = self.gathered.drain(..).rev();
                    self.ready
                        .extend(turned.map(|(edge, node)| (which, edge, node)));
                    current.side += 1;
                    current.walker = None;
                    break;
                };
                if !storage.has_edge_at(edge, sequence) {
                    continue;
                }
                if spent >= STRETCH {
                    *walker = before;
                    return true;
                }
                spent += 1;
                if !is_second_sight(self.direction, *side, current.node, node) {
                    self.gathered.push((edge, node));
                }
            }
        }
        true
    }
}
