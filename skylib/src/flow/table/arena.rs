//! Where a table keeps its entries: in chunks, so that growth moves nothing.

use super::entry::{Entry, NONE};
use crate::flow::memory_hint::huge_pages;

/// Entries by number; numbers of removed ones are used again.
#[derive(Debug)]
pub(super) struct Arena {
    /// One small chunk, then large ones.
    chunks: Vec<Vec<Entry>>,
    /// Entries there are, in use or not.
    len: u32,
    /// First unused entry; the others follow by `next`.
    free: u32,
}

impl Arena {
    pub(super) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
            free: NONE,
        }
    }

    /// The entry of a number that [`Arena::allocate`] gave.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &Entry {
        let (chunk, offset) = place(number);
        &self.chunks[chunk][offset]
    }

    /// The entry of a number that [`Arena::allocate`] gave.
    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> &mut Entry {
        let (chunk, offset) = place(number);
        &mut self.chunks[chunk][offset]
    }

    /// A number to use; what its entry held stays. `None` if there are no more numbers.
    pub(super) fn allocate(&mut self) -> Option<u32> {
        if self.free != NONE {
            let number = self.free;
            self.free = self.get(number).cold.next;
            return Some(number);
        }
        if self.len == NONE {
            return None;
        }
        let number = self.len;
        let (chunk, offset) = place(number);
        if offset == 0 {
            let mut entries = Vec::with_capacity(if chunk == 0 { FIRST } else { CHUNK } as usize);
            huge_pages(&mut entries);
            self.chunks.push(entries);
        }
        self.chunks[chunk].push(Entry::vacant());
        self.len += 1;
        Some(number)
    }

    /// Gives a number back.
    pub(super) fn release(&mut self, number: u32) {
        let free = self.free;
        self.get_mut(number).cold.next = free;
        self.free = number;
    }

    /// Entries in use from a number up to another, by number.
    pub(super) fn stretch(&self, from: u32, to: u32) -> impl Iterator<Item = &Entry> {
        let numbers = from..to.min(self.len);
        numbers.map(|number| self.get(number)).filter(|entry| entry.is_alive())
    }

    /// One more than the highest number.
    pub(super) const fn end(&self) -> u32 {
        self.len
    }

    /// Bytes of the entries there are.
    pub(super) const fn bytes(&self) -> usize {
        self.len as usize * size_of::<Entry>()
    }
}

#[inline]
const fn place(number: u32) -> (usize, usize) {
    if number < FIRST {
        (0, number as usize)
    } else {
        let rest = number - FIRST;
        (1 + (rest / CHUNK) as usize, (rest % CHUNK) as usize)
    }
}

/// Entries of the first chunk, for the many tables that stay small.
const FIRST: u32 = 1 << 12;
/// Entries of the others: 12 MiB, room for huge pages.
const CHUNK: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::table::entry::HOT_ALIVE;

    #[test]
    fn numbers_are_used_again_and_entries_stay() {
        let mut arena = Arena::new();
        let count = FIRST + CHUNK + 10;
        for wanted in 0..count {
            let number = arena.allocate().unwrap();
            assert_eq!(number, wanted);
            let entry = arena.get_mut(number);
            entry.cold.start = i64::from(number);
            entry.hot.flags = HOT_ALIVE;
        }
        assert!((0..count).all(|number| arena.get(number).cold.start == i64::from(number)));
        for number in [5, FIRST + 1] {
            arena.get_mut(number).hot.flags = 0;
            arena.release(number);
        }
        assert_eq!(arena.stretch(0, u32::MAX).count(), count as usize - 2);
        assert_eq!(arena.stretch(4, 7).count(), 2);
        assert_eq!(
            [arena.allocate(), arena.allocate()],
            [Some(FIRST + 1), Some(5)]
        );
        assert_eq!(arena.allocate(), Some(count));
        assert_eq!(arena.bytes(), (count as usize + 1) * size_of::<Entry>());
    }
}
