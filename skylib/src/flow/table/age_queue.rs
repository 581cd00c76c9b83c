//! Queues of flows by age, so that neither expiry nor eviction looks at flows in use.
//!
//! A flow is put at the end when it begins and stays where it is while packets come. Only when it
//! gets to the front is it looked at: it leaves, or goes to the end again. An expiry looks at the
//! flows that stood in the queue at the one before: later ones cannot be old enough.

use super::arena::Arena;
use super::entry::NONE;

/// A list through the entries of an [`Arena`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    head: u32,
    tail: u32,
    /// The last one that was there at the previous expiry.
    mark: u32,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self {
            head: NONE,
            tail: NONE,
            mark: NONE,
        }
    }

    /// The one that has been there longest.
    pub(super) fn front(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    /// The one behind another.
    pub(super) fn after(&self, arena: &Arena, record: u32) -> Option<u32> {
        let next = arena.get(record).cold.next;
        (next != NONE).then_some(next)
    }

    /// Puts a record at the end.
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

    /// Takes a record out, wherever it stands.
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

    /// Whether any record was there at the previous expiry.
    pub(super) const fn has_marked(&self) -> bool {
        self.mark != NONE
    }

    /// From now on "the previous expiry" is this one.
    pub(super) fn mark(&mut self) {
        self.mark = self.tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::table::entry::Entry;

    fn order(queue: &Queue, arena: &Arena) -> Vec<u32> {
        std::iter::successors(queue.front(), |record| queue.after(arena, *record)).collect()
    }

    #[test]
    fn records_leave_from_anywhere() {
        let (mut arena, mut queue) = (Arena::new(), Queue::new());
        for _ in 0..5 {
            let record = arena.insert(Entry::vacant()).unwrap();
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
        let (mut arena, mut queue) = (Arena::new(), Queue::new());
        for _ in 0..3 {
            let record = arena.insert(Entry::vacant()).unwrap();
            queue.push(&mut arena, record);
        }
        queue.mark();
        let late = arena.insert(Entry::vacant()).unwrap();
        queue.push(&mut arena, late);
        queue.unlink(&mut arena, 2);
        queue.unlink(&mut arena, 0);
        assert!(queue.has_marked());
        queue.unlink(&mut arena, 1);
        assert!(!queue.has_marked());
        assert_eq!(order(&queue, &arena), [late]);
    }
}
