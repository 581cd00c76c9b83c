//! Which index, if any, finds the nodes that pass a filter.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::fmt;

use super::ElementKey;
use super::storage::{NodeIndex, Storage};
use crate::filter::{Filter, Predicate};
use crate::value::Text;

/// One key of an index and the values looked up in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct IndexProbe {
    key: Text,
    /// Equalities, of which one must hold.
    any_of: Vec<Predicate>,
    /// Nodes the index named when asked.
    estimate: usize,
    is_exact: bool,
}

/// The best probe for a filter.
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
                Filter::Test(..) => probe(filter, storage),
                _ => None,
            });
            let mut union = probes.next()??;
            for probe in probes {
                let probe = probe.filter(|probe| probe.key == union.key)?;
                union.any_of.extend(probe.any_of);
                union.estimate += probe.estimate;
            }
            (union.any_of.len() <= MAX_VALUES).then_some(union)
        }
        Filter::Not(_) => None,
        Filter::Test(key, predicate) => {
            let key = key.metadata_of_node()?.name();
            let posting = storage.posting(key, predicate)?;
            Some(IndexProbe {
                key: key.clone(),
                any_of: vec![predicate.clone()],
                estimate: posting.map_or(0, |posting| posting.len()),
                is_exact: true,
            })
        }
    }
}

/// More values than this are better looked for in a scan.
const MAX_VALUES: usize = 1024;

impl IndexProbe {
    /// The indexed key.
    #[must_use]
    pub(super) const fn key(&self) -> &Text {
        &self.key
    }

    /// How many nodes the index named when it was asked.
    #[must_use]
    pub(super) const fn estimate(&self) -> usize {
        self.estimate
    }

    /// Whether the filter asks for nothing else, so that what the index names now needs no test.
    pub(super) const fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// The number of living nodes that pass the filter, where the index alone can tell.
    pub(super) fn count(&self, storage: &Storage) -> Option<usize> {
        match &self.any_of[..] {
            [predicate] if self.is_exact => Some(
                storage
                    .posting(&self.key, predicate)?
                    .map_or(0, |posting| posting.len()),
            ),
            _ => None,
        }
    }

    /// The nodes the index names that came after `birth`, and those of `others`, in the order they
    /// came, each once.
    pub(super) fn merge<'a>(
        &'a self,
        storage: &'a Storage,
        birth: u64,
        others: &'a BTreeSet<(u64, NodeIndex)>,
    ) -> impl Iterator<Item = (u64, NodeIndex)> + use<'a> {
        let mut sources: Vec<Box<dyn Iterator<Item = (u64, NodeIndex)> + 'a>> = self
            .any_of
            .iter()
            .filter_map(|predicate| storage.posting(&self.key, predicate)?)
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

impl fmt::Display for IndexProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "index {} ({} values, about {} nodes)",
            self.key,
            self.any_of.len(),
            self.estimate
        )
    }
}

/// Ascending iterators made one, without repetitions.
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
