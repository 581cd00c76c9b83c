//! `PostingList`: the nodes that have one indexed value, in insertion order.
//!
//! A sorted list in chunks of at most 512 nodes. Insertion and removal search in `O(log n)` and
//! shift one chunk; appending is `O(1)`.

/// Sorted list of node numbers.
///
/// The sort key, the sequence number of a node's insertion, is not stored: the owner returns it
/// (`born`). Therefore, an entry takes four bytes.
#[derive(Debug, Default)]
pub(super) struct PostingList {
    /// Chunks in order; none is empty or longer than [`CHUNK`].
    chunks: Vec<Vec<u32>>,
    /// Sum of the lengths of the chunks.
    len: usize,
}

/// Maximum number of entries in a chunk.
const CHUNK: usize = 512;

impl PostingList {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a number that is not in the list.
    pub(super) fn insert(&mut self, index: u32, born: impl Fn(u32) -> u64) {
        self.len += 1;
        let birth = born(index);
        // Fast path: a new node was inserted after all others.
        let last = self.chunks.last().and_then(|chunk| chunk.last());
        let is_youngest = last.is_none_or(|last| born(*last) < birth);
        let at = if is_youngest {
            self.chunks.len().saturating_sub(1)
        } else {
            self.chunks
                .partition_point(|c| born(c[0]) < birth)
                .saturating_sub(1)
        };
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(vec![index]);
            return;
        };
        let position = if is_youngest {
            chunk.len()
        } else {
            chunk.partition_point(|i| born(*i) < birth)
        };
        if chunk.len() < CHUNK {
            chunk.insert(position, index);
        } else if is_youngest {
            self.chunks.insert(at + 1, vec![index]);
        } else {
            let mut rest = chunk.split_off(CHUNK / 2);
            match position.checked_sub(CHUNK / 2) {
                None | Some(0) => chunk.insert(position, index),
                Some(position) => rest.insert(position, index),
            }
            self.chunks.insert(at + 1, rest);
        }
    }

    /// Removes a number that is in the list.
    pub(super) fn remove(&mut self, index: u32, born: impl Fn(u32) -> u64) {
        let birth = born(index);
        let at = self
            .chunks
            .partition_point(|c| born(c[0]) <= birth)
            .saturating_sub(1);
        let Some(chunk) = self.chunks.get_mut(at) else {
            return;
        };
        if let Ok(position) = chunk.binary_search_by_key(&birth, |i| born(*i)) {
            chunk.remove(position);
            self.len -= 1;
        }
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
    }

    /// Returns the numbers of the nodes that were inserted after `birth`.
    pub(super) fn after(&self, birth: u64, born: impl Fn(u32) -> u64) -> impl Iterator<Item = u32> {
        let at = self
            .chunks
            .partition_point(|c| born(c[0]) <= birth)
            .saturating_sub(1);
        let chunks = self.chunks.get(at..).unwrap_or(&[]);
        let skip = chunks
            .first()
            .map_or(0, |first| first.partition_point(|i| born(*i) <= birth));
        chunks.iter().flatten().skip(skip).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns an insertion order that differs from the order of the numbers.
    fn born(index: u32) -> u64 {
        u64::from(index.wrapping_mul(0x9e37_79b1))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_posting_list_is_a_sorted_set(
            changes in proptest::collection::vec((0_u32..1500, any::<bool>()), 1..4000),
        ) {
            let mut set = std::collections::BTreeSet::new();
            let mut chunks = PostingList::default();
            for (index, add) in changes {
                if add && set.insert((born(index), index)) {
                    chunks.insert(index, born);
                } else if !add && set.remove(&(born(index), index)) {
                    chunks.remove(index, born);
                }
            }
            for birth in [0, born(700), born(7) + 1] {
                let wanted: Vec<u32> = set.range((birth + 1, 0)..).map(|(_, i)| *i).collect();
                prop_assert_eq!(chunks.after(birth, born).collect::<Vec<_>>(), wanted);
            }
            prop_assert_eq!(chunks.len(), set.len());
        }
    }

    #[test]
    fn youngest_numbers_fill_their_chunks() {
        let mut chunks = PostingList::default();
        (0..10_000).for_each(|i| chunks.insert(i, u64::from));
        assert_eq!(chunks.chunks.len(), 10_000_usize.div_ceil(CHUNK));
    }
}
