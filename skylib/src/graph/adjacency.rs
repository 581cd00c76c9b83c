//! `AdjacencyCursor`: the edges around a list of nodes, in pieces.

use super::Direction;
use super::reader::BATCH_SIZE;
use super::storage::{EdgeIndex, NodeIndex, Storage, Walker, is_second_sight, sides};

/// The state of a walk between two stretches.
///
/// `petgraph` lists a node's newest edge first; a side's edges are gathered and then turned round.
pub(super) struct AdjacencyCursor<I> {
    from: I,
    direction: Direction,
    /// How many nodes were begun.
    begun: usize,
    paused: Option<Paused>,
    /// Which node, the edge, the node at its other end.
    found: Vec<(usize, EdgeIndex, NodeIndex)>,
    /// How many of them were taken.
    taken: usize,
    /// How many of them are of sides that were walked to the end.
    complete: usize,
}

/// Where a stretch ended.
struct Paused {
    node: NodeIndex,
    side: usize,
    /// Stands before an edge that the view sees, which therefore stays.
    walker: Walker,
}

impl<I: Iterator<Item = u32>> AdjacencyCursor<I> {
    pub(super) fn new(from: impl IntoIterator<IntoIter = I>, direction: Direction) -> Self {
        Self {
            from: from.into_iter(),
            direction,
            begun: 0,
            paused: None,
            found: Vec::new(),
            taken: 0,
            complete: 0,
        }
    }

    /// Whether there is something to take.
    pub(super) const fn is_ready(&self) -> bool {
        self.taken < self.complete
    }

    /// Which node, the edge, the node at its other end; of so many edges at most.
    pub(super) fn take(&mut self, most: usize) -> &[(usize, EdgeIndex, NodeIndex)] {
        let from = self.taken;
        self.taken = self.complete.min(from.saturating_add(most));
        &self.found[from..self.taken]
    }

    /// Walks a stretch on; tells whether there is more to come.
    pub(super) fn advance(&mut self, storage: &Storage, sequence: u64) -> bool {
        self.found.drain(..self.taken);
        self.complete -= self.taken;
        self.taken = 0;
        let sides = sides(self.direction);
        let mut spent = 0;
        loop {
            let (node, mut side, mut walker) = match self.paused.take() {
                Some(paused) => (paused.node, paused.side, paused.walker),
                None if spent >= BATCH_SIZE => return true,
                None => {
                    let Some(node) = self.from.next() else {
                        return false;
                    };
                    self.begun += 1;
                    spent += 1;
                    let node = NodeIndex::new(node as usize);
                    (node, 0, storage.walker(node, sides[0]))
                }
            };
            let which = self.begun - 1;
            loop {
                let before = walker.clone();
                if let Some((edge, other)) = storage.step(&mut walker) {
                    if !storage.has_edge_at(edge, sequence) {
                        continue;
                    }
                    if spent >= BATCH_SIZE {
                        self.paused = Some(Paused {
                            node,
                            side,
                            walker: before,
                        });
                        return true;
                    }
                    spent += 1;
                    if !is_second_sight(self.direction, sides[side], node, other) {
                        self.found.push((which, edge, other));
                    }
                    continue;
                }
                self.found[self.complete..].reverse();
                self.complete = self.found.len();
                side += 1;
                match sides.get(side) {
                    Some(side) => walker = storage.walker(node, *side),
                    None => break,
                }
            }
        }
    }
}
