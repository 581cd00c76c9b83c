//! Secondary indexes: from a metadata key and a value to the nodes that have it.

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Metadata;
use super::posting_list::PostingList;
use crate::filter::Predicate;
use crate::value::{Found, Path, Text, Value};

/// The keys that a graph indexes unless it is told otherwise.
pub(super) const DEFAULT_KEYS: [&str; 5] = ["Type", "Name", "TID", "MAC", "Manager"];

/// All indexes of a graph.
pub(super) struct Indexes {
    indexes: Vec<Index>,
    hasher: DefaultHashBuilder,
}

/// One key's table. It holds what equality can find and nothing else: texts under themselves, and
/// everything that counts as an integer under that integer; a list stands under each of its
/// elements.
struct Index {
    key: Text,
    /// Remembers where the key stands in key lists, which is not for several threads at a time.
    path: Mutex<Path>,
    table: HashTable<Entry>,
    /// What entries with more than one node point to.
    many: Vec<(Value, PostingList)>,
    /// Places in `many` that are empty.
    free: Vec<u32>,
}

/// Where the nodes are that have a value. A table of names and addresses is the biggest part of an
/// index: it holds no values, those are in the nodes.
#[derive(Clone, Copy)]
struct Entry {
    /// Half of the value's hash.
    hash: u32,
    /// The only node with that value, which has no other value at the key; or, with the top bit
    /// set, a place in [`Index::many`].
    place: u32,
}

const MANY: u32 = 1 << 31;

/// The nodes that have a value; see [`Indexes::find`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Posting<'a> {
    One(u32),
    Many(&'a PostingList),
}

impl Posting<'_> {
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(chunks) => chunks.len(),
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

    /// Enters a new node.
    pub(super) fn add(&mut self, index: u32, metadata: &Metadata, nodes: &impl Nodes) {
        for table in &mut self.indexes {
            let values = table.values(metadata);
            table.enter(&values, index, &self.hasher, nodes);
        }
    }

    /// Takes a node out.
    pub(super) fn remove(&mut self, index: u32, metadata: &Metadata, nodes: &impl Nodes) {
        for table in &mut self.indexes {
            for value in table.values(metadata) {
                table.remove(&value, index, &self.hasher, nodes);
            }
        }
    }

    /// Moves a node whose metadata changed; `nodes` may tell either.
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
            // An entry tells whether its node has other values too: none may stay as it is.
            for value in &old {
                table.remove(value, index, &self.hasher, nodes);
            }
            table.enter(&new, index, &self.hasher, nodes);
        }
    }

    /// The nodes whose value at a key equals a literal; `None` where no index can tell.
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

/// What an index asks of the graph.
pub(super) trait Nodes {
    /// The change that brought a node, by which nodes are ordered.
    fn born(&self, index: u32) -> u64;
    /// What is known about a node.
    fn metadata(&self, index: u32) -> Option<&Metadata>;
}

impl Index {
    fn posting(&self, entry: Entry) -> Posting<'_> {
        match entry.many().and_then(|place| self.many.get(place)) {
            Some((_, chunks)) => Posting::Many(chunks),
            None => Posting::One(entry.place),
        }
    }

    /// Enters a node under all its values.
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
            let place = match is_only {
                true => index,
                false => MANY | keep(&mut self.many, &mut self.free, value, &[index], nodes),
            };
            let entry = Entry {
                hash: hash.0,
                place,
            };
            let whole = |entry: &Entry| Hash(entry.hash).whole();
            self.table.insert_unique(hash.whole(), entry, whole);
            return;
        };
        match found.many().and_then(|place| self.many.get_mut(place)) {
            Some((_, chunks)) => chunks.insert(index, |i| nodes.born(i)),
            None => {
                let both = [found.place, index];
                found.place = MANY | keep(&mut self.many, &mut self.free, value, &both, nodes);
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
        // The only node of an entry has one value: this one, or it would not be looked for.
        let is_it = |entry: &Entry| {
            entry.hash == hash.0
                && match entry.many().and_then(|place| many.get(place)) {
                    Some((held, _)) => held == value,
                    None => entry.place == index,
                }
        };
        let Ok(found) = self.table.find_entry(hash.whole(), is_it) else {
            return;
        };
        let Some(place) = found.get().many() else {
            found.remove();
            return;
        };
        let (_, chunks) = &mut self.many[place];
        chunks.remove(index, |i| nodes.born(i));
        if chunks.len() == 0 {
            self.many[place] = (Value::Null, PostingList::default());
            self.free.push(place as u32);
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
            (Some(Found::One(old)), Some(Found::One(new))) => old == new,
            (Some(Found::Many(old)), Some(Found::Many(new))) => old == new,
            _ => false,
        }
    }
}

/// What a node is entered under, each value once, in [`order`].
fn values(path: &Path, metadata: &Metadata) -> Vec<Value> {
    let mut values = Vec::new();
    match path.find(metadata) {
        None => {}
        Some(Found::One(Value::List(list))) => {
            list.iter().for_each(|value| enter(value, &mut values));
        }
        Some(Found::One(value)) => enter(value, &mut values),
        Some(Found::Many(found)) => found.iter().for_each(|value| enter(value, &mut values)),
    }
    values.sort_unstable_by(order);
    values.dedup();
    values
}

/// The values that equality finds a value by.
fn enter(value: &Value, values: &mut Vec<Value>) {
    if let Value::Text(_) = value {
        values.push(value.clone());
    }
    values.extend(value.to_int().map(Value::Int));
}

/// An order of texts and integers.
fn order(a: &Value, b: &Value) -> Ordering {
    (a.as_int(), a.as_text()).cmp(&(b.as_int(), b.as_text()))
}

/// Whether an entry stands for a value.
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
    match entry.many().and_then(|place| many.get(place)) {
        Some((held, _)) => held == value,
        None => nodes
            .metadata(entry.place)
            .is_some_and(|metadata| matches!(&values(path, metadata)[..], [only] if only == value)),
    }
}

/// Makes a list of nodes and tells its place.
fn keep(
    many: &mut Vec<(Value, PostingList)>,
    free: &mut Vec<u32>,
    value: &Value,
    indexes: &[u32],
    nodes: &impl Nodes,
) -> u32 {
    let mut chunks = PostingList::default();
    for index in indexes {
        chunks.insert(*index, |i| nodes.born(i));
    }
    let kept = (value.clone(), chunks);
    match free.pop() {
        Some(place) => {
            many[place as usize] = kept;
            place
        }
        None => {
            many.push(kept);
            many.len() as u32 - 1
        }
    }
}

impl Entry {
    /// The place in [`Index::many`], where there is more than a node.
    const fn many(self) -> Option<usize> {
        match self.place & MANY {
            0 => None,
            _ => Some((self.place ^ MANY) as usize),
        }
    }
}

/// Half of a value's hash, which is enough for a graph of 32-bit numbers.
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

    /// A hash with all bits to place an entry by.
    const fn whole(self) -> u64 {
        (self.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}
