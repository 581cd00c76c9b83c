//! `Posting`: the nodes that share one indexed value, in the order they came.

/// Numbers of nodes, ordered by when the nodes came.
///
/// The order is asked of the owner (`born`) instead of kept: 4 bytes a node and, thanks to short
/// chunks, a bounded move on every insertion however many nodes share the value.
#[derive(Debug)]
pub(super) enum Posting {
    /// The usual case of names and addresses.
    One(u32),
    /// Chunks, none empty, at least two numbers in all.
    Many(Vec<Vec<u32>>),
}

const CHUNK: usize = 512;

impl Posting {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(chunks) => chunks.iter().map(Vec::len).sum(),
        }
    }

    /// Adds a number that is not there.
    pub(super) fn insert(&mut self, index: u32, born: impl Fn(u32) -> u64) {
        match self {
            Self::One(other) => {
                let mut both = vec![*other, index];
                both.sort_by_key(|i| born(*i));
                *self = Self::Many(vec![both]);
            }
            Self::Many(chunks) => {
                let birth = born(index);
                let at = chunks
                    .partition_point(|c| born(c[0]) < birth)
                    .saturating_sub(1);
                let chunk = &mut chunks[at];
                // New nodes are the youngest: no search for them.
                let is_youngest = chunk.last().is_none_or(|last| born(*last) < birth);
                let place = if is_youngest {
                    chunk.len()
                } else {
                    chunk.partition_point(|i| born(*i) < birth)
                };
                if chunk.len() < CHUNK {
                    chunk.insert(place, index);
                } else if is_youngest {
                    chunks.insert(at + 1, vec![index]);
                } else {
                    let mut rest = chunk.split_off(CHUNK / 2);
                    match place.checked_sub(CHUNK / 2) {
                        None | Some(0) => chunk.insert(place, index),
                        Some(place) => rest.insert(place, index),
                    }
                    chunks.insert(at + 1, rest);
                }
            }
        }
    }

    /// Removes a number; tells whether nothing is left.
    pub(super) fn remove(&mut self, index: u32, born: impl Fn(u32) -> u64) -> bool {
        let Self::Many(chunks) = self else {
            return matches!(self, Self::One(i) if *i == index);
        };
        let birth = born(index);
        let at = chunks
            .partition_point(|c| born(c[0]) <= birth)
            .saturating_sub(1);
        if let Ok(place) = chunks[at].binary_search_by_key(&birth, |i| born(*i)) {
            chunks[at].remove(place);
        }
        if chunks[at].is_empty() {
            chunks.remove(at);
        }
        if let [chunk] = &chunks[..]
            && let [last] = chunk[..]
        {
            *self = Self::One(last);
        }
        false
    }

    /// The numbers of nodes that came after `birth`.
    pub(super) fn after(&self, birth: u64, born: impl Fn(u32) -> u64) -> impl Iterator<Item = u32> {
        let (first, rest): (&[u32], &[Vec<u32>]) = match self {
            Self::One(index) => (std::slice::from_ref(index), &[]),
            Self::Many(chunks) => {
                let at = chunks
                    .partition_point(|c| born(c[0]) <= birth)
                    .saturating_sub(1);
                (
                    chunks.get(at).map_or(&[][..], Vec::as_slice),
                    chunks.get(at + 1..).unwrap_or(&[]),
                )
            }
        };
        let from = first.partition_point(|i| born(*i) <= birth);
        first[from..].iter().chain(rest.iter().flatten()).copied()
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
        fn a_posting_is_a_sorted_set(
            changes in proptest::collection::vec((0_u32..1500, any::<bool>()), 1..4000),
        ) {
            let mut set = std::collections::BTreeSet::new();
            let mut posting: Option<Posting> = None;
            for (index, add) in changes {
                if add && set.insert((born(index), index)) {
                    match &mut posting {
                        None => posting = Some(Posting::One(index)),
                        Some(posting) => posting.insert(index, born),
                    }
                } else if !add
                    && set.remove(&(born(index), index))
                    && posting.as_mut().is_some_and(|p| p.remove(index, born))
                {
                    posting = None;
                }
            }
            let middle = born(700);
            let wanted: Vec<u32> = set.range((middle + 1, 0)..).map(|(_, i)| *i).collect();
            let found = posting.as_ref().map(|p| p.after(middle, born).collect::<Vec<_>>());
            prop_assert_eq!(found.unwrap_or_default(), wanted);
            prop_assert_eq!(posting.map_or(0, |p| p.len()), set.len());
        }
    }

    #[test]
    fn youngest_numbers_fill_their_chunks() {
        let mut posting = Posting::One(0);
        (1..10_000).for_each(|i| posting.insert(i, u64::from));
        let Posting::Many(chunks) = &posting else {
            panic!("many")
        };
        assert!(chunks.len() <= 10_000 / CHUNK + 1);
    }
}
