//! Choice of the index that finds the nodes that match a filter.
//!
//! A filter is answered by the posting lists of equalities: a conjunction by those of its most
//! selective test, a disjunction by those of all its tests, if each is an equality on an indexed
//! key. Several posting lists are combined by a k-way merge in `O(n log k)`.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::ElementKey;
use super::storage::{NodeIndex, Storage};
use crate::filter::{Filter, Predicate};
use crate::value::Text;

/// Lookup of values in the indexes of one or more keys.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct IndexProbe {
    /// First indexed key, for the query plan of `Explain`.
    key: Text,
    /// Equality tests on indexed keys; a matching node satisfies at least one of them.
    any_of: Vec<(Text, Predicate)>,
    /// Number of nodes in the posting lists when the probe was created.
    estimate: usize,
    /// Whether the filter contains no other tests.
    is_exact: bool,
}

/// Returns the most selective probe for a filter; `None` if no index helps.
pub(super) fn probe(filter: &Filter<ElementKey>, storage: &Storage) -> Option<IndexProbe> {
    match filter {
        Filter::All(filters) => {
            let probes = filters.iter().filter_map(|filter| probe(filter, storage));
            let best = probes.min_by_key(|probe| probe.estimate)?;
            Some(IndexProbe {
                is_exact: best.is_exact && filters.len() == 1,
                ..best
            })
        }
        Filter::Any(filters) => {
            let mut probes = filters.iter().map(|filter| match filter {
                Filter::Test(..) | Filter::Any(_) => probe(filter, storage),
                Filter::All(_) | Filter::Not(_) => None,
            });
            let mut union = probes.next()??;
            for probe in probes {
                let probe = probe?;
                union.any_of.extend(probe.any_of);
                union.estimate += probe.estimate;
            }
            (union.any_of.len() <= MAX_VALUES).then_some(union)
        }
        Filter::Not(_) => None,
        Filter::Test(_, Predicate::OneOf(set)) if set.len() > MAX_VALUES => None,
        Filter::Test(key, Predicate::OneOf(set)) => probe(&Filter::alternatives(key, set), storage),
        Filter::Test(key, predicate) => {
            let key = key.metadata_of_node()?.name();
            let posting = storage.posting(key, predicate)?;
            Some(IndexProbe {
                key: key.clone(),
                any_of: vec![(key.clone(), predicate.clone())],
                estimate: posting.map_or(0, |posting| posting.len()),
                is_exact: true,
            })
        }
    }
}

/// Maximum number of values in a probe; for more values, a scan is cheaper.
const MAX_VALUES: usize = 1024;

impl IndexProbe {
    /// Returns the indexed key.
    #[must_use]
    pub(super) const fn key(&self) -> &Text {
        &self.key
    }

    /// Returns the number of nodes in the posting lists when the probe was created.
    #[must_use]
    pub(super) const fn estimate(&self) -> usize {
        self.estimate
    }

    /// Returns whether the filter contains no other tests, so that the nodes found need no further
    /// test.
    pub(super) const fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// Returns the number of nodes that match the filter now, if the index alone determines it.
    pub(super) fn count(&self, storage: &Storage) -> Option<usize> {
        match &self.any_of[..] {
            [(key, predicate)] if self.is_exact => Some(
                storage
                    .posting(key, predicate)?
                    .map_or(0, |posting| posting.len()),
            ),
            _ => None,
        }
    }

    /// Returns the nodes of the index and of `others` that were inserted after `birth`, in insertion
    /// order, without duplicates.
    pub(super) fn merge<'a>(
        &'a self,
        storage: &'a Storage,
        birth: u64,
        others: &'a BTreeSet<(u64, NodeIndex)>,
    ) -> impl Iterator<Item = (u64, NodeIndex)> + use<'a> {
        let mut sources: Vec<Box<dyn Iterator<Item = (u64, NodeIndex)> + 'a>> = self
            .any_of
            .iter()
            .filter_map(|(key, predicate)| storage.posting(key, predicate)?)
            .map(|posting| Box::new(storage.posted(posting, birth)) as Box<_>)
            .collect();
        if !others.is_empty() {
            let after = (
                std::ops::Bound::Excluded((birth, NodeIndex::end())),
                std::ops::Bound::Unbounded,
            );
            sources.push(Box::new(others.range(after).copied()));
        }
        Merge::new(sources)
    }
}

/// K-way merge of ascending iterators, without duplicates.
struct Merge<I: Iterator<Item = (u64, NodeIndex)>> {
    sources: Vec<I>,
    heads: BinaryHeap<Reverse<((u64, NodeIndex), usize)>>,
    last: Option<NodeIndex>,
}

impl<I: Iterator<Item = (u64, NodeIndex)>> Merge<I> {
    fn new(mut sources: Vec<I>) -> Self {
        let head = |(which, source): (usize, &mut I)| Some(Reverse((source.next()?, which)));
        let heads = sources.iter_mut().enumerate().filter_map(head).collect();
        Self {
            sources,
            heads,
            last: None,
        }
    }
}

impl<I: Iterator<Item = (u64, NodeIndex)>> Iterator for Merge<I> {
    type Item = (u64, NodeIndex);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Reverse((head, which)) = self.heads.pop()?;
            if let Some(next) = self.sources[which].next() {
                self.heads.push(Reverse((next, which)));
            }
            if self.last != Some(head.1) {
                self.last = Some(head.1);
                return Some(head);
            }
        }
    }
}
