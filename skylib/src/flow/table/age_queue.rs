//! Age queues: second-chance (CLOCK) LRU lists that are not touched per packet.
//!
//! A flow is appended when it begins and keeps its position while its packets arrive; a packet only
//! sets [`HOT_USED`](super::entry::HOT_USED). At the front, the flow is either removed or, if it
//! was used recently, appended again. An expiry visits only the flows that were in the queue at the
//! previous expiry: later ones cannot be old enough. Every operation is O(1).

use super::arena::Arena;
use super::entry::NONE;

/// Intrusive doubly linked list through `cold.previous` and `cold.next` of the entries of an
/// [`Arena`].
#[derive(Clone, Copy, Debug)]
pub(super) struct AgeQueue {
    /// Record number of the oldest flow; [`NONE`] if and only if `tail` is.
    head: u32,
    /// Record number of the flow appended last.
    tail: u32,
    /// Record number of the last flow that was in the queue at the previous expiry; [`NONE`] if all
    /// such flows were removed or appended again.
    mark: u32,
}

impl AgeQueue {
    /// Returns an empty queue.
    pub(super) const fn new() -> Self {
        Self {
            head: NONE,
            tail: NONE,
            mark: NONE,
        }
    }

    /// Returns the record number of the oldest flow.
    pub(super) fn front(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    /// Returns the record number after `record`.
    pub(super) fn after(&self, arena: &Arena, record: u32) -> Option<u32> {
        let next = arena.get(record).cold.next;
        (next != NONE).then_some(next)
    }

    /// Appends a flow that is not in any queue.
    pub(super) fn push(&mut self, arena: &mut Arena, record: u32) {
        let cold = &mut arena.get_mut(record).cold;
        (cold.previous, cold.next) = (self.tail, NONE);
        if self.tail == NONE {
            self.head = record;
        } else {
            arena.get_mut(self.tail).cold.next = record;
        }
        self.tail = record;
    }

    /// Removes a flow from any position.
    pub(super) fn unlink(&mut self, arena: &mut Arena, record: u32) {
        let cold = &arena.get(record).cold;
        let (previous, next) = (cold.previous, cold.next);
        if previous == NONE {
            self.head = next;
        } else {
            arena.get_mut(previous).cold.next = next;
        }
        if next == NONE {
            self.tail = previous;
        } else {
            arena.get_mut(next).cold.previous = previous;
        }
        if self.mark == record {
            self.mark = previous;
        }
    }

    /// Returns whether a flow of the previous expiry is still before the mark.
    pub(super) const fn has_marked(&self) -> bool {
        self.mark != NONE
    }

    /// Sets the mark to the last flow.
    pub(super) fn mark(&mut self) {
        self.mark = self.tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::table::entry::Entry;

    fn order(queue: &AgeQueue, arena: &Arena) -> Vec<u32> {
        std::iter::successors(queue.front(), |record| queue.after(arena, *record)).collect()
    }

    #[test]
    fn records_leave_from_anywhere() {
        let (mut arena, mut queue) = (Arena::new(), AgeQueue::new());
        for _ in 0..5 {
            let record = arena.insert(Entry::vacant());
            queue.push(&mut arena, record);
        }
        queue.unlink(&mut arena, 2);
        queue.unlink(&mut arena, 0);
        queue.unlink(&mut arena, 4);
        assert_eq!(order(&queue, &arena), [1, 3]);
        queue.unlink(&mut arena, 1);
        queue.unlink(&mut arena, 3);
        assert_eq!(queue.front(), None);
        queue.push(&mut arena, 2);
        assert_eq!(order(&queue, &arena), [2]);
    }

    #[test]
    fn the_mark_moves_back_when_its_record_leaves() {
        let (mut arena, mut queue) = (Arena::new(), AgeQueue::new());
        for _ in 0..3 {
            let record = arena.insert(Entry::vacant());
            queue.push(&mut arena, record);
        }
        queue.mark();
        let late = arena.insert(Entry::vacant());
        queue.push(&mut arena, late);
        queue.unlink(&mut arena, 2);
        queue.unlink(&mut arena, 0);
        assert!(queue.has_marked());
        queue.unlink(&mut arena, 1);
        assert!(!queue.has_marked());
        assert_eq!(order(&queue, &arena), [late]);
    }
}
