//! `Names`: which nodes have had a value at one of the keys that are asked for most.
//!
//! An entry is the hash of a key and a value, and the place of a node that has or had it in some
//! revision that is kept: eight bytes in an ordered set. Different values may share a hash, and a
//! node may have had a value at another time, so what is found here is tested again.

use std::collections::BTreeSet;
use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use crate::filter::{Filter, Predicate};
use crate::graph::index::DEFAULT_KEYS;
use crate::graph::{ElementKey, Metadata};
use crate::value::{Text, Value};

#[derive(Default)]
pub(super) struct Names {
    entries: BTreeSet<u64>,
    hasher: DefaultHashBuilder,
}

/// What must be looked up to find all that may pass a filter.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) key: Text,
    hashes: Vec<u32>,
    /// Entries there are.
    pub(super) count: usize,
}

impl Names {
    /// Enters a revision of a node; `before` is the one that came before it.
    pub(super) fn put(&mut self, place: u32, metadata: &Metadata, before: Option<&Metadata>) {
        for key in DEFAULT_KEYS {
            let value = metadata.get(key);
            if before.is_some_and(|before| before.get(key) == value) {
                continue;
            }
            for hash in self.hashes(key, value) {
                self.entries.insert(entry(hash, place));
            }
        }
    }

    /// Takes a revision of a node out; `next` is the one after it, `others` are all that stay.
    pub(super) fn drop<'m>(
        &mut self,
        place: u32,
        metadata: &Metadata,
        next: Option<&Metadata>,
        others: &(impl Iterator<Item = &'m Metadata> + Clone),
    ) {
        for key in DEFAULT_KEYS {
            let value = metadata.get(key);
            if value.is_none() || next.is_some_and(|next| next.get(key) == value) {
                continue;
            }
            let kept: Vec<u32> = others
                .clone()
                .flat_map(|other| self.hashes(key, other.get(key)))
                .collect();
            for hash in self.hashes(key, value) {
                if !kept.contains(&hash) {
                    self.entries.remove(&entry(hash, place));
                }
            }
        }
    }

    /// What to look up for a filter; `None` where that would not help. Nothing is counted beyond
    /// `most`.
    pub(super) fn lookup(&self, filter: &Filter<ElementKey>, most: usize) -> Option<Lookup> {
        match filter {
            Filter::All(filters) => {
                let mut best: Option<Lookup> = None;
                for filter in filters {
                    let most = best.as_ref().map_or(most, |best| best.count);
                    best = self.lookup(filter, most).or(best);
                }
                best
            }
            Filter::Any(filters) => {
                let mut lookups = filters.iter().map(|filter| self.lookup(filter, most));
                let mut all = lookups.next()??;
                for lookup in lookups {
                    let lookup = lookup?;
                    all.hashes.extend(lookup.hashes);
                    all.count += lookup.count;
                }
                (all.count < most && all.hashes.len() <= MAX_VALUES).then_some(all)
            }
            Filter::Not(_) => None,
            Filter::Test(key, predicate) => {
                let name = key.metadata_of_node()?.name();
                let value = match predicate {
                    Predicate::Text(text) => Value::Text(text.clone()),
                    Predicate::Int(number) => Value::Int(*number),
                    _ => return None,
                };
                let key = DEFAULT_KEYS.iter().find(|key| **key == name.as_str())?;
                let hash = self.hash(key, &value);
                let count = self.entries.range(range(hash)).take(most).count();
                (count < most).then(|| Lookup {
                    key: name.clone(),
                    hashes: vec![hash],
                    count,
                })
            }
        }
    }

    /// The places of the nodes that a lookup finds, perhaps with repetitions.
    pub(super) fn slots(&self, lookup: &Lookup) -> impl Iterator<Item = u32> {
        let entries = lookup
            .hashes
            .iter()
            .flat_map(|hash| self.entries.range(range(*hash)));
        entries.map(|entry| *entry as u32)
    }

    pub(super) fn bytes(&self) -> usize {
        // A tree's nodes are on average three quarters full.
        self.entries.len() * size_of::<u64>() * 4 / 3
    }

    /// Hashes of everything that an equality finds a value by.
    fn hashes(&self, key: &str, value: Option<&Value>) -> Vec<u32> {
        let mut hashes = Vec::new();
        match value {
            None => {}
            Some(Value::List(list)) => {
                list.iter()
                    .for_each(|value| self.enter(key, value, &mut hashes));
            }
            Some(value) => self.enter(key, value, &mut hashes),
        }
        hashes
    }

    fn enter(&self, key: &str, value: &Value, hashes: &mut Vec<u32>) {
        if let Value::Text(_) = value {
            hashes.push(self.hash(key, value));
        }
        hashes.extend(
            value
                .to_int()
                .map(|number| self.hash(key, &Value::Int(number))),
        );
    }

    fn hash(&self, key: &str, value: &Value) -> u32 {
        let hash = match value {
            Value::Text(text) => self.hasher.hash_one((key, text.as_str())),
            other => self.hasher.hash_one((key, other.to_int())),
        };
        (hash >> 32) as u32
    }
}

const fn entry(hash: u32, place: u32) -> u64 {
    (hash as u64) << 32 | place as u64
}

const fn range(hash: u32) -> std::ops::RangeInclusive<u64> {
    entry(hash, 0)..=entry(hash, u32::MAX)
}

/// More values than this are better looked for among all nodes.
const MAX_VALUES: usize = 1024;
