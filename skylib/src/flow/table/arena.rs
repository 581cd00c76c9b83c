//! Where a table keeps its entries: in chunks, so that growth moves nothing.

use super::entry::{Entry, NONE};
use crate::flow::memory_hint::{huge_pages, prefetch};

/// Entries by number; numbers of removed ones are used again.
#[derive(Debug)]
pub(super) struct Arena {
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

    /// The entry of a number that [`Arena::insert`] gave.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &Entry {
        let (chunk, offset) = place(number);
        &self.chunks[chunk][offset]
    }

    /// The entry of a number that [`Arena::insert`] gave.
    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> &mut Entry {
        let (chunk, offset) = place(number);
        &mut self.chunks[chunk][offset]
    }

    /// A number for an entry; flags that outlive a flow stay as they were in its place.
    /// `None` if there are no more numbers.
    pub(super) fn insert(&mut self, mut entry: Entry) -> Option<u32> {
        if self.free != NONE {
            let number = self.free;
            let place = self.get_mut(number);
            entry.hot.flags |= place.hot.flags;
            let next = std::mem::replace(place, entry).cold.next;
            self.free = next;
            return Some(number);
        }
        if self.len == NONE {
            return None;
        }
        let number = self.len;
        let (chunk, offset) = place(number);
        if offset == 0 {
            // Only what is written takes memory; huge pages would take more from small tables.
            let mut entries = Vec::with_capacity(CHUNK as usize);
            if chunk > 0 {
                huge_pages(&mut entries);
            }
            self.chunks.push(entries);
        }
        let entries = &mut self.chunks[chunk];
        entries.push(entry);
        if let Some(next) = entries.spare_capacity_mut().get(AHEAD) {
            prefetch(next);
        }
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
        numbers
            .map(|number| self.get(number))
            .filter(|entry| entry.is_alive())
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
    ((number / CHUNK) as usize, (number % CHUNK) as usize)
}

/// How many entries beyond the next one memory is asked for.
const AHEAD: usize = 4;
/// Entries of a chunk: 12 MiB, room for huge pages.
const CHUNK: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::table::entry::{HOT_ALIVE, HOT_LISTED};

    #[test]
    fn numbers_are_used_again_and_entries_stay() {
        let mut arena = Arena::new();
        let count = CHUNK + 10;
        let entry = |start: u32| {
            let mut entry = Entry::vacant();
            entry.cold.start = i64::from(start);
            entry.hot.flags = HOT_ALIVE;
            entry
        };
        for wanted in 0..count {
            assert_eq!(arena.insert(entry(wanted)), Some(wanted));
        }
        assert!((0..count).all(|number| arena.get(number).cold.start == i64::from(number)));
        for number in [5, CHUNK + 1] {
            arena.get_mut(number).hot.flags = HOT_LISTED;
            arena.release(number);
        }
        assert_eq!(arena.stretch(0, u32::MAX).count(), count as usize - 2);
        assert_eq!(arena.stretch(4, 7).count(), 2);
        assert_eq!(
            [arena.insert(entry(0)), arena.insert(entry(0))],
            [Some(CHUNK + 1), Some(5)]
        );
        assert_eq!(arena.get(5).hot.flags, HOT_ALIVE | HOT_LISTED);
        assert_eq!(arena.insert(entry(0)), Some(count));
        assert_eq!(arena.bytes(), (count as usize + 1) * size_of::<Entry>());
    }
}
