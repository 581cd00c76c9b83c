//! Storage of a table's entries in chunks, so that growth moves no entry.

use super::entry::{Entry, NONE};
use crate::flow::memory_hint::{huge_pages, prefetch};

/// Chunked arena of entries with a free list.
///
/// A record number is an index into the arena; it remains valid, and its entry at the same address,
/// until the entry is released. Numbers of released entries are reused, last released first.
#[derive(Debug)]
pub(super) struct Arena {
    /// Every chunk but the last holds exactly [`CHUNK`] entries; none is ever reallocated.
    chunks: Vec<Vec<Entry>>,
    /// Number of entries, in use or free: the sum of the chunk lengths.
    len: u32,
    /// Head of the free list, linked through `cold.next`; [`NONE`] if it is empty.
    free: u32,
}

impl Arena {
    /// Returns an empty arena.
    pub(super) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
            free: NONE,
        }
    }

    /// Returns the entry of a record number from [`Arena::insert`].
    ///
    /// # Panics
    /// Panics if no entry ever had this number.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &Entry {
        let (chunk, offset) = locate(number);
        &self.chunks[chunk][offset]
    }

    /// Returns the entry of a record number, mutable.
    ///
    /// # Panics
    /// Panics if no entry ever had this number.
    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> &mut Entry {
        let (chunk, offset) = locate(number);
        &mut self.chunks[chunk][offset]
    }

    /// Stores an entry and returns its record number. The arena must hold fewer than [`MAX_ENTRIES`]
    /// entries.
    ///
    /// The flags that outlive a flow ([`HOT_LISTED`](super::entry::HOT_LISTED),
    /// [`HOT_FINISHING`](super::entry::HOT_FINISHING)) are copied from the reused entry, because
    /// its number may still be in the corresponding lists.
    pub(super) fn insert(&mut self, mut entry: Entry) -> u32 {
        if self.free != NONE {
            let number = self.free;
            let free = self.get_mut(number);
            entry.hot.flags |= free.hot.flags;
            let next = std::mem::replace(free, entry).cold.next;
            self.free = next;
            return number;
        }
        debug_assert!(self.len < NONE, "the table limits the number of entries");
        let number = self.len;
        let (chunk, offset) = locate(number);
        if offset == 0 {
            // The first chunk uses small pages: the kernel backs only the pages that are written,
            // whereas huge pages would cost a small table up to 12 MiB.
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
        number
    }

    /// Adds a number to the free list.
    pub(super) fn release(&mut self, number: u32) {
        let free = self.free;
        self.get_mut(number).cold.next = free;
        self.free = number;
    }

    /// Returns the numbers of the entries in use with `from <= number < to`, in order.
    pub(super) fn range(&self, from: u32, to: u32) -> impl Iterator<Item = u32> {
        let numbers = from..to.min(self.len);
        numbers.filter(|number| self.get(*number).is_alive())
    }

    /// Returns one more than the highest record number.
    pub(super) const fn end(&self) -> u32 {
        self.len
    }

    /// Returns the size of all entries, in use or free, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.len as usize * size_of::<Entry>()
    }
}

#[inline]
const fn locate(number: u32) -> (usize, usize) {
    ((number / CHUNK) as usize, (number % CHUNK) as usize)
}

/// Distance, in entries, at which the memory of new entries is prefetched.
const AHEAD: usize = 4;
/// Number of entries per chunk: 12 MiB, enough for huge pages.
const CHUNK: u32 = 1 << 16;
/// Maximum number of entries: every number except [`NONE`] is a record number.
pub(super) const MAX_ENTRIES: usize = NONE as usize;

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
            assert_eq!(arena.insert(entry(wanted)), wanted);
        }
        assert!((0..count).all(|number| arena.get(number).cold.start == i64::from(number)));
        for number in [5, CHUNK + 1] {
            arena.get_mut(number).hot.flags = HOT_LISTED;
            arena.release(number);
        }
        assert_eq!(arena.range(0, u32::MAX).count(), count as usize - 2);
        assert_eq!(arena.range(4, 7).count(), 2);
        assert_eq!(
            [arena.insert(entry(0)), arena.insert(entry(0))],
            [CHUNK + 1, 5]
        );
        assert_eq!(arena.get(5).hot.flags, HOT_ALIVE | HOT_LISTED);
        assert_eq!(arena.insert(entry(0)), count);
        assert_eq!(arena.bytes(), (count as usize + 1) * size_of::<Entry>());
    }
}
