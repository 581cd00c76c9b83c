//! `AdjacencyCursor`: the edges of a list of nodes, in batches.

use super::Direction;
use super::reader::BATCH_SIZE;
use super::storage::{EdgeIndex, NodeIndex, Storage, Walker, is_repeated_loop, sides};

/// Cursor over the edges of a list of nodes, which can pause after any edge.
///
/// `petgraph` lists the newest edge of a node first, so the edges of one side (incoming or
/// outgoing) are collected and then reversed; only complete sides can be taken.
pub(super) struct AdjacencyCursor<I> {
    from: I,
    direction: Direction,
    /// Number of nodes of `from` whose edges have been read, including the current one.
    begun: usize,
    /// Position within a side, if the last batch ended there.
    paused: Option<Paused>,
    /// Position of the node in the list, the edge, and the node at its other end.
    /// `taken <= complete <= found.len()`.
    found: Vec<(usize, EdgeIndex, NodeIndex)>,
    /// Number of edges in `found` that [`take`](Self::take) has returned.
    taken: usize,
    /// Number of edges in `found` that belong to complete sides.
    complete: usize,
}

/// Position at which a batch ended.
struct Paused {
    node: NodeIndex,
    side: usize,
    /// Position of the edge before the next one. The view sees this edge, so it is not freed
    /// meanwhile.
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

    /// Returns whether there are edges to take.
    pub(super) const fn is_ready(&self) -> bool {
        self.taken < self.complete
    }

    /// Removes at most `most` edges from the cursor and returns them: the position of the node in
    /// the list, the edge, and the node at its other end.
    pub(super) fn take(&mut self, most: usize) -> &[(usize, EdgeIndex, NodeIndex)] {
        let from = self.taken;
        self.taken = self.complete.min(from.saturating_add(most));
        &self.found[from..self.taken]
    }

    /// Reads the next batch; returns whether there may be more. All edges must have been taken.
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
                    if !is_repeated_loop(self.direction, sides[side], node, other) {
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
