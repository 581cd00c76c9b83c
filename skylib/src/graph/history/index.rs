//! `PastIndex`: secondary index of the past, from values of the default keys to nodes.
//!
//! An entry consists of the hash of a key and a value and the slot of a node that has or had that
//! value in a stored revision: eight bytes in an ordered set, `O(log n)` per lookup. Different values
//! may share a hash, and a node may have had a value at another time, so the caller tests the nodes
//! that are found.

use std::collections::BTreeSet;
use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use crate::filter::{Filter, Predicate};
use crate::graph::index::DEFAULT_KEYS;
use crate::graph::{ElementKey, Metadata};
use crate::value::{Text, Value};

/// Ordered set of hashes of values and slots of nodes.
#[derive(Default)]
pub(super) struct PastIndex {
    entries: BTreeSet<u64>,
    hasher: DefaultHashBuilder,
}

/// Index entries that cover all nodes that may match a filter.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub(super) key: Text,
    hashes: Vec<u32>,
    /// Number of entries with these hashes.
    pub(super) count: usize,
}

impl PastIndex {
    /// Adds a revision of a node; `before` is the previous one.
    pub(super) fn put(&mut self, slot: u32, metadata: &Metadata, before: Option<&Metadata>) {
        for key in DEFAULT_KEYS {
            let value = metadata.get(key);
            if before.is_some_and(|before| before.get(key) == value) {
                continue;
            }
            for hash in self.hashes(key, value) {
                self.entries.insert(entry(hash, slot));
            }
        }
    }

    /// Removes a revision of a node; `next` is the next one, `others` are all remaining ones.
    pub(super) fn drop<'m>(
        &mut self,
        slot: u32,
        metadata: &Metadata,
        next: Option<&Metadata>,
        others: &(impl Iterator<Item = &'m Metadata> + Clone),
    ) {
        for key in DEFAULT_KEYS {
            let value = metadata.get(key);
            if value.is_none() || next.is_some_and(|next| next.get(key) == value) {
                continue;
            }
            let remaining: Vec<u32> = others
                .clone()
                .flat_map(|other| self.hashes(key, other.get(key)))
                .collect();
            for hash in self.hashes(key, value) {
                if !remaining.contains(&hash) {
                    self.entries.remove(&entry(hash, slot));
                }
            }
        }
    }

    /// Returns the lookup for a filter; `None` if it would have `most` entries or more, or if the
    /// index cannot answer the filter.
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
            Filter::Test(_, Predicate::OneOf(set)) if set.len() > MAX_VALUES => None,
            Filter::Test(key, Predicate::OneOf(set)) => {
                self.lookup(&Filter::alternatives(key, set), most)
            }
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

    /// Returns the slots of the nodes that a lookup finds, possibly with duplicates.
    pub(super) fn slots(&self, lookup: &Lookup) -> impl Iterator<Item = u32> {
        let entries = lookup
            .hashes
            .iter()
            .flat_map(|hash| self.entries.range(range(*hash)));
        entries.map(|entry| *entry as u32)
    }

    /// Returns the size in bytes, approximately.
    pub(super) fn bytes(&self) -> usize {
        // The nodes of a B-tree are three quarters full on average.
        self.entries.len() * size_of::<u64>() * 4 / 3
    }

    /// Returns the hashes of the values to which a value is equal.
    fn hashes(&self, key: &str, value: Option<&Value>) -> Vec<u32> {
        let mut hashes = Vec::new();
        match value {
            None => {}
            Some(Value::List(list)) => {
                list.iter()
                    .for_each(|value| self.add_hashes(key, value, &mut hashes));
            }
            Some(value) => self.add_hashes(key, value, &mut hashes),
        }
        hashes
    }

    fn add_hashes(&self, key: &str, value: &Value, hashes: &mut Vec<u32>) {
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

const fn entry(hash: u32, slot: u32) -> u64 {
    (hash as u64) << 32 | slot as u64
}

const fn range(hash: u32) -> std::ops::RangeInclusive<u64> {
    entry(hash, 0)..=entry(hash, u32::MAX)
}

/// Maximum number of values in a lookup; for more values, a scan is cheaper.
const MAX_VALUES: usize = 1024;
