//! `PostingList`: the nodes that share one indexed value, in the order they came.

/// Numbers of nodes, ordered by when the nodes came.
///
/// The order is asked of the owner (`born`) instead of kept: 4 bytes a node and, thanks to short
/// chunks, a bounded move on every insertion however many nodes share the value.
#[derive(Debug, Default)]
pub(super) struct PostingList {
    /// None empty.
    chunks: Vec<Vec<u32>>,
    len: usize,
}

const CHUNK: usize = 512;

impl PostingList {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a number that is not there.
    pub(super) fn insert(&mut self, index: u32, born: impl Fn(u32) -> u64) {
        self.len += 1;
        let birth = born(index);
        // New nodes are the youngest: no search for them.
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
        let place = if is_youngest {
            chunk.len()
        } else {
            chunk.partition_point(|i| born(*i) < birth)
        };
        if chunk.len() < CHUNK {
            chunk.insert(place, index);
        } else if is_youngest {
            self.chunks.insert(at + 1, vec![index]);
        } else {
            let mut rest = chunk.split_off(CHUNK / 2);
            match place.checked_sub(CHUNK / 2) {
                None | Some(0) => chunk.insert(place, index),
                Some(place) => rest.insert(place, index),
            }
            self.chunks.insert(at + 1, rest);
        }
    }

    /// Removes a number that is there.
    pub(super) fn remove(&mut self, index: u32, born: impl Fn(u32) -> u64) {
        let birth = born(index);
        let at = self
            .chunks
            .partition_point(|c| born(c[0]) <= birth)
            .saturating_sub(1);
        let Some(chunk) = self.chunks.get_mut(at) else {
            return;
        };
        if let Ok(place) = chunk.binary_search_by_key(&birth, |i| born(*i)) {
            chunk.remove(place);
            self.len -= 1;
        }
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
    }

    /// The numbers of nodes that came after `birth`.
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

    /// Births that are not in the order of the numbers.
    fn born(index: u32) -> u64 {
        u64::from(index.wrapping_mul(0x9e37_79b1))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn chunks_are_a_sorted_set(
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
