//! Secondary indexes: hash indexes from a value of a metadata key to the nodes that have it.
//!
//! A lookup costs one hash and, for a value of a single node, one read of that node; the nodes of a
//! value shared by several nodes are in a posting list.

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Metadata;
use super::posting_list::PostingList;
use crate::filter::Predicate;
use crate::value::{Path, PathMatch, Text, Value};

/// Keys that every graph indexes.
pub(super) const DEFAULT_KEYS: [&str; 7] =
    ["Type", "Name", "Alias", "AltNames", "TID", "MAC", "Manager"];

/// All indexes of a graph.
pub(super) struct Indexes {
    indexes: Vec<Index>,
    hasher: DefaultHashBuilder,
}

/// Index of one key.
///
/// The index contains the values that an equality test can find: strings unchanged, and every value
/// that counts as an integer as this integer. An array is indexed under each of its elements.
struct Index {
    key: Text,
    /// Path of the key with its cache, which only one thread at a time may use.
    path: Mutex<Path>,
    table: HashTable<Entry>,
    /// Values with more than one node and their posting lists.
    many: Vec<(Value, PostingList)>,
    /// Unused positions in `many`.
    free: Vec<u32>,
}

/// Nodes that have a value. The table of a key with mostly unique values, such as names and addresses,
/// is the largest part of an index, so it does not contain the values, which are in the nodes.
#[derive(Clone, Copy)]
struct Entry {
    /// Upper half of the hash of the value.
    hash: u32,
    /// Number of the only node with the value, if this node has no other value at the key; or, with
    /// the top bit set, a position in [`Index::many`].
    target: u32,
}

const MANY: u32 = 1 << 31;

/// Nodes that have a value; see [`Indexes::find`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Posting<'a> {
    One(u32),
    Many(&'a PostingList),
}

impl Posting<'_> {
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(list) => list.len(),
        }
    }
}

impl Indexes {
    pub(super) fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        let index = |key: &str| Index {
            key: Text::from(key),
            path: Mutex::new(Path::new(key)),
            table: HashTable::new(),
            many: Vec::new(),
            free: Vec::new(),
        };
        Self {
            indexes: keys.into_iter().map(index).collect(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Text> {
        self.indexes.iter().map(|index| &index.key)
    }

    /// Adds a new node.
    pub(super) fn add(&mut self, index: u32, metadata: &Metadata, nodes: &impl Nodes) {
        for table in &mut self.indexes {
            let values = table.values(metadata);
            table.enter(&values, index, &self.hasher, nodes);
        }
    }

    /// Removes a node.
    pub(super) fn remove(&mut self, index: u32, metadata: &Metadata, nodes: &impl Nodes) {
        for table in &mut self.indexes {
            for value in table.values(metadata) {
                table.remove(&value, index, &self.hasher, nodes);
            }
        }
    }

    /// Updates a node whose metadata has changed; `nodes` may contain either revision.
    pub(super) fn update(
        &mut self,
        index: u32,
        old: &Metadata,
        new: &Metadata,
        nodes: &impl Nodes,
    ) {
        for table in &mut self.indexes {
            if table.is_same(old, new) {
                continue;
            }
            let (old, new) = (table.values(old), table.values(new));
            if old == new {
                continue;
            }
            // All entries are replaced, because an entry depends on the number of values of its
            // node.
            for value in &old {
                table.remove(value, index, &self.hasher, nodes);
            }
            table.enter(&new, index, &self.hasher, nodes);
        }
    }

    /// Returns the nodes whose value at a key equals a literal; `None` if no index covers the key.
    pub(super) fn find(
        &self,
        key: &str,
        predicate: &Predicate,
        nodes: &impl Nodes,
    ) -> Option<Option<Posting<'_>>> {
        let index = self.indexes.iter().find(|index| index.key == *key)?;
        let value = match predicate {
            Predicate::Text(text) => Value::Text(text.clone()),
            Predicate::Int(number) => Value::Int(*number),
            _ => return None,
        };
        let hash = Hash::of(&value, &self.hasher);
        let path = index.path.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |entry: &Entry| is_value(&index.many, &path, nodes, *entry, hash, &value);
        let entry = index.table.find(hash.whole(), is_it);
        let entry = entry.copied();
        drop(path);
        Some(entry.map(|entry| index.posting(entry)))
    }
}

/// Data of the graph that an index reads.
pub(super) trait Nodes {
    /// Returns the sequence number of the insertion of a node, by which nodes are ordered.
    fn born(&self, index: u32) -> u64;
    /// Returns the metadata of a node.
    fn metadata(&self, index: u32) -> Option<&Metadata>;
}

impl Index {
    fn posting(&self, entry: Entry) -> Posting<'_> {
        match entry.many().and_then(|position| self.many.get(position)) {
            Some((_, list)) => Posting::Many(list),
            None => Posting::One(entry.target),
        }
    }

    /// Adds a node under all its values.
    fn enter(
        &mut self,
        values: &[Value],
        index: u32,
        hasher: &DefaultHashBuilder,
        nodes: &impl Nodes,
    ) {
        let is_only = values.len() == 1;
        for value in values {
            self.insert(value, index, is_only, hasher, nodes);
        }
    }

    fn insert(
        &mut self,
        value: &Value,
        index: u32,
        is_only: bool,
        hasher: &DefaultHashBuilder,
        nodes: &impl Nodes,
    ) {
        let hash = Hash::of(value, hasher);
        let path = self.path.get_mut().unwrap_or_else(PoisonError::into_inner);
        let is_it = |entry: &Entry| is_value(&self.many, path, nodes, *entry, hash, value);
        let Some(found) = self.table.find_mut(hash.whole(), is_it) else {
            let target = match is_only {
                true => index,
                false => MANY | add_list(&mut self.many, &mut self.free, value, &[index], nodes),
            };
            let entry = Entry {
                hash: hash.0,
                target,
            };
            let whole = |entry: &Entry| Hash(entry.hash).whole();
            self.table.insert_unique(hash.whole(), entry, whole);
            return;
        };
        match found
            .many()
            .and_then(|position| self.many.get_mut(position))
        {
            Some((_, list)) => list.insert(index, |i| nodes.born(i)),
            None => {
                let both = [found.target, index];
                found.target = MANY | add_list(&mut self.many, &mut self.free, value, &both, nodes);
            }
        }
    }

    fn remove(
        &mut self,
        value: &Value,
        index: u32,
        hasher: &DefaultHashBuilder,
        nodes: &impl Nodes,
    ) {
        let hash = Hash::of(value, hasher);
        let many = &self.many;
        // If an entry contains a single node, this node has only one value at the key: the value to
        // remove.
        let is_it = |entry: &Entry| {
            entry.hash == hash.0
                && match entry.many().and_then(|position| many.get(position)) {
                    Some((held, _)) => held == value,
                    None => entry.target == index,
                }
        };
        let Ok(found) = self.table.find_entry(hash.whole(), is_it) else {
            return;
        };
        let Some(position) = found.get().many() else {
            found.remove();
            return;
        };
        let (_, list) = &mut self.many[position];
        list.remove(index, |i| nodes.born(i));
        if list.len() == 0 {
            self.many[position] = (Value::Null, PostingList::default());
            self.free.push(position as u32);
            found.remove();
        }
    }

    fn values(&mut self, metadata: &Metadata) -> Vec<Value> {
        let path = self.path.get_mut().unwrap_or_else(PoisonError::into_inner);
        values(path, metadata)
    }

    fn is_same(&mut self, old: &Metadata, new: &Metadata) -> bool {
        let path = self.path.get_mut().unwrap_or_else(PoisonError::into_inner);
        match (path.find(old), path.find(new)) {
            (None, None) => true,
            (Some(PathMatch::One(old)), Some(PathMatch::One(new))) => old == new,
            (Some(PathMatch::Many(old)), Some(PathMatch::Many(new))) => old == new,
            _ => false,
        }
    }
}

/// Returns the values under which a node is indexed, each once, in [`order`].
fn values(path: &Path, metadata: &Metadata) -> Vec<Value> {
    let mut values = Vec::new();
    match path.find(metadata) {
        None => {}
        Some(PathMatch::One(Value::List(list))) => {
            list.iter().for_each(|value| enter(value, &mut values));
        }
        Some(PathMatch::One(value)) => enter(value, &mut values),
        Some(PathMatch::Many(found)) => found.iter().for_each(|value| enter(value, &mut values)),
    }
    values.sort_unstable_by(order);
    values.dedup();
    values
}

/// Adds the values under which a value is indexed: a string itself, and the integer that the value
/// counts as.
fn enter(value: &Value, values: &mut Vec<Value>) {
    if let Value::Text(_) = value {
        values.push(value.clone());
    }
    values.extend(value.to_int().map(Value::Int));
}

/// Orders strings and integers.
fn order(a: &Value, b: &Value) -> Ordering {
    (a.as_int(), a.as_text()).cmp(&(b.as_int(), b.as_text()))
}

/// Returns whether an entry belongs to a value.
fn is_value(
    many: &[(Value, PostingList)],
    path: &Path,
    nodes: &impl Nodes,
    entry: Entry,
    hash: Hash,
    value: &Value,
) -> bool {
    if entry.hash != hash.0 {
        return false;
    }
    match entry.many().and_then(|position| many.get(position)) {
        Some((held, _)) => held == value,
        None => nodes
            .metadata(entry.target)
            .is_some_and(|metadata| matches!(&values(path, metadata)[..], [only] if only == value)),
    }
}

/// Adds a posting list; returns its position in `many`.
fn add_list(
    many: &mut Vec<(Value, PostingList)>,
    free: &mut Vec<u32>,
    value: &Value,
    indexes: &[u32],
    nodes: &impl Nodes,
) -> u32 {
    let mut list = PostingList::default();
    for index in indexes {
        list.insert(*index, |i| nodes.born(i));
    }
    let entry = (value.clone(), list);
    match free.pop() {
        Some(position) => {
            many[position as usize] = entry;
            position
        }
        None => {
            many.push(entry);
            many.len() as u32 - 1
        }
    }
}

impl Entry {
    /// Returns the position in [`Index::many`]; `None` if the target is a single node.
    const fn many(self) -> Option<usize> {
        match self.target & MANY {
            0 => None,
            _ => Some((self.target ^ MANY) as usize),
        }
    }
}

/// Upper half of the hash of a value; 32 bits are enough for the at most 2^31 nodes of a graph.
#[derive(Clone, Copy)]
struct Hash(u32);

impl Hash {
    fn of(value: &Value, hasher: &DefaultHashBuilder) -> Self {
        let whole = match value {
            Value::Text(text) => hasher.hash_one(text.as_str()),
            Value::Int(number) => hasher.hash_one(number),
            _ => 0,
        };
        Self((whole >> 32) as u32)
    }

    /// Returns the 64-bit hash for the table.
    const fn whole(self) -> u64 {
        (self.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}
