//! Hash index of a flow table: open addressing with linear probing, from the hash of a key to the
//! number of a record.
//!
//! A slot is one 64-bit word: the upper 32 bits of the hash (the tag) and the record number. The
//! home slot of a key is given by the upper bits of the tag, so that growth and removal never read
//! a record. Removal shifts later slots back instead of leaving tombstones. Lookup, insertion, and
//! removal take O(1) expected time; growth doubles the slots and is amortized O(1).

use crate::flow::memory_hint::{huge_pages, prefetch};

/// Open-addressing hash index, at most three quarters full.
#[derive(Debug)]
pub(super) struct HashIndex {
    /// `tag << 32 | (record + 1)`; 0 marks a free slot. `slots.len()` is a power of two, and there
    /// is no free slot between the home of a used slot and the slot itself.
    slots: Vec<u64>,
    /// Right shift from a tag to its home slot: `32 - log2(slots.len())`.
    shift: u32,
    /// Number of used slots; `4 * len <= 3 * slots.len()`.
    len: usize,
}

impl HashIndex {
    /// Returns an empty index of 1024 slots.
    pub(super) fn new() -> Self {
        Self {
            slots: vec![0; 1 << MIN_BITS],
            shift: u32::BITS - MIN_BITS,
            len: 0,
        }
    }

    /// Prefetches the slot that a lookup of this hash reads first.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(slot) = self.slots.get(self.home(tag(hash))) {
            prefetch(slot);
        }
    }

    /// Returns the first record with the tag of `hash` for which `is` returns `true`; `None` if
    /// there is none.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let mut position = self.home(tag);
        loop {
            let slot = self.slots.get(position).copied().unwrap_or(0);
            if slot == 0 {
                return None;
            }
            if slot >> 32 == u64::from(tag) {
                let record = record(slot);
                if is(record) {
                    return Some(record);
                }
            }
            position = (position + 1) & (self.slots.len() - 1);
        }
    }

    /// Returns whether the next insertion doubles the slots.
    pub(super) const fn grows(&self) -> bool {
        4 * (self.len + 1) > 3 * self.slots.len()
    }

    /// Adds a record. Several records may have the same hash; the caller limits their number.
    pub(super) fn insert(&mut self, hash: u64, record: u32) {
        if self.grows() {
            self.grow();
        }
        self.put(slot(hash, record));
        self.len += 1;
    }

    /// Removes a record; does nothing if it is not in the index.
    pub(super) fn remove(&mut self, hash: u64, record: u32) {
        let mask = self.slots.len() - 1;
        let wanted = slot(hash, record);
        let mut hole = self.home(tag(hash));
        while self.slots[hole] != wanted {
            if self.slots[hole] == 0 {
                return;
            }
            hole = (hole + 1) & mask;
        }
        self.len -= 1;
        // Backward-shift deletion: a later slot moves into the hole if its probe sequence passes
        // it.
        let mut next = hole;
        loop {
            next = (next + 1) & mask;
            let slot = self.slots[next];
            if slot == 0 {
                break;
            }
            let home = self.home((slot >> 32) as u32);
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                self.slots[hole] = slot;
                hole = next;
            }
        }
        self.slots[hole] = 0;
    }

    /// Returns the number of records.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Returns the allocated size of the slots, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
    }

    /// Returns the slot where the probe sequence of a tag begins.
    fn home(&self, tag: u32) -> usize {
        (tag >> self.shift) as usize
    }

    /// Writes a slot value into the first free slot, starting at its home slot.
    fn put(&mut self, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut position = self.home((slot >> 32) as u32);
        while self.slots[position] != 0 {
            position = (position + 1) & mask;
        }
        self.slots[position] = slot;
    }

    /// Doubles the number of slots and inserts all values again.
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = Vec::with_capacity(2 * old.len());
        huge_pages(&mut self.slots);
        self.slots.resize(2 * old.len(), 0);
        self.shift -= 1;
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            self.put(slot);
        }
    }
}

/// Returns the tag of a hash.
const fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is the record"
)]
const fn record(slot: u64) -> u32 {
    (slot as u32).wrapping_sub(1)
}

fn slot(hash: u64, record: u32) -> u64 {
    (u64::from(tag(hash)) << 32) | (u64::from(record) + 1)
}

/// Base-2 logarithm of the minimum number of slots.
const MIN_BITS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a hash for a record; two of three hashes are near the last home slots, so that
    /// probing wraps around.
    fn hash(record: u32) -> u64 {
        let spread = u64::from(record).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if record.is_multiple_of(3) {
            spread
        } else {
            spread | 0xfff0_0000_0000_0000
        }
    }

    #[test]
    fn records_are_found_until_removed() {
        let mut index = HashIndex::new();
        let count = 5000;
        for record in 0..count {
            index.insert(hash(record), record);
        }
        assert_eq!(index.len(), count as usize);
        for record in (0..count).step_by(2) {
            index.remove(hash(record), record);
        }
        for record in 0..count {
            let found = index.find(hash(record), |r| r == record);
            assert_eq!(found, (record % 2 == 1).then_some(record));
        }
        for record in (1..count).step_by(2) {
            index.remove(hash(record), record);
        }
        assert_eq!(index.len(), 0);
        assert!(index.slots.iter().all(|slot| *slot == 0));
    }

    #[test]
    fn equal_hashes_stay_apart() {
        let mut index = HashIndex::new();
        for record in [7, 8, 9] {
            index.insert(42 << 32, record);
        }
        index.remove(42 << 32, 8);
        index.remove(42 << 32, 1000);
        assert_eq!(index.find(42 << 32, |r| r == 9), Some(9));
        assert_eq!(index.find(42 << 32, |r| r == 8), None);
        assert_eq!(index.len(), 2);
    }

    #[test]
    fn it_is_never_more_than_three_quarters_full() {
        let mut index = HashIndex::new();
        for record in 0..(1 << 12) {
            index.insert(hash(record), record);
            assert!(4 * index.len() <= 3 * index.slots.len());
        }
        assert_eq!(index.bytes(), 8 << 13);
    }
}
