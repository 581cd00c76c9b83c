//! Secondary indexes: from a metadata key and a value to the nodes that have it.

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Metadata;
use super::posting::Chunks;
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
    /// Only ever used through `&mut`, where the lock costs nothing; a path alone is not `Sync`.
    path: Mutex<Path>,
    table: HashTable<(Value, Entry)>,
    /// What entries with more than one node point to.
    many: Vec<Chunks>,
    /// Places in `many` that are empty.
    free: Vec<u32>,
}

/// The only node that has a value, or, with the top bit set, where its nodes are: a table of names
/// and addresses is the biggest part of an index.
#[derive(Clone, Copy)]
struct Entry(u32);

const MANY: u32 = 1 << 31;

/// The nodes that have a value; see [`Indexes::find`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Posting<'a> {
    One(u32),
    Many(&'a Chunks),
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
    pub(super) fn add(
        &mut self,
        index: u32,
        metadata: &Metadata,
        born: impl Fn(u32) -> u64 + Copy,
    ) {
        for table in &mut self.indexes {
            for value in table.values(metadata) {
                table.insert(value, index, &self.hasher, born);
            }
        }
    }

    /// Takes a node out.
    pub(super) fn remove(
        &mut self,
        index: u32,
        metadata: &Metadata,
        born: impl Fn(u32) -> u64 + Copy,
    ) {
        for table in &mut self.indexes {
            for value in table.values(metadata) {
                table.remove(&value, index, &self.hasher, born);
            }
        }
    }

    /// Moves a node whose metadata changed.
    pub(super) fn update(
        &mut self,
        index: u32,
        old: &Metadata,
        new: &Metadata,
        born: impl Fn(u32) -> u64 + Copy,
    ) {
        for table in &mut self.indexes {
            if table.is_same(old, new) {
                continue;
            }
            let (old, new) = (table.values(old), table.values(new));
            let is_in = |value: &Value, sorted: &[Value]| {
                sorted.binary_search_by(|held| order(held, value)).is_ok()
            };
            for value in old.iter().filter(|value| !is_in(value, &new)) {
                table.remove(value, index, &self.hasher, born);
            }
            for value in new.into_iter().filter(|value| !is_in(value, &old)) {
                table.insert(value, index, &self.hasher, born);
            }
        }
    }

    /// The nodes whose value at a key equals a literal; `None` where no index can tell.
    pub(super) fn find(&self, key: &str, predicate: &Predicate) -> Option<Option<Posting<'_>>> {
        let index = self.indexes.iter().find(|index| index.key == *key)?;
        let value = match predicate {
            Predicate::Text(text) => Value::Text(text.clone()),
            Predicate::Int(number) => Value::Int(*number),
            _ => return None,
        };
        let hash = hash(&value, &self.hasher);
        let entry = index.table.find(hash, |(held, _)| *held == value);
        Some(entry.map(|(_, entry)| index.posting(*entry)))
    }
}

impl Index {
    fn posting(&self, Entry(entry): Entry) -> Posting<'_> {
        match entry
            .checked_sub(MANY)
            .and_then(|place| self.many.get(place as usize))
        {
            Some(chunks) => Posting::Many(chunks),
            None => Posting::One(entry),
        }
    }

    fn insert(
        &mut self,
        value: Value,
        index: u32,
        hasher: &DefaultHashBuilder,
        born: impl Fn(u32) -> u64 + Copy,
    ) {
        let hash_of = |value: &Value| hash(value, hasher);
        let hash = hash_of(&value);
        let Some((_, Entry(entry))) = self.table.find_mut(hash, |(held, _)| *held == value) else {
            self.table
                .insert_unique(hash, (value, Entry(index)), |(held, _)| hash_of(held));
            return;
        };
        if let Some(chunks) = entry
            .checked_sub(MANY)
            .and_then(|i| self.many.get_mut(i as usize))
        {
            chunks.insert(index, born);
            return;
        }
        let mut chunks = Chunks::default();
        chunks.insert(*entry, born);
        chunks.insert(index, born);
        let place = match self.free.pop() {
            Some(place) => {
                self.many[place as usize] = chunks;
                place
            }
            None => {
                self.many.push(chunks);
                self.many.len() as u32 - 1
            }
        };
        *entry = MANY | place;
    }

    fn remove(
        &mut self,
        value: &Value,
        index: u32,
        hasher: &DefaultHashBuilder,
        born: impl Fn(u32) -> u64 + Copy,
    ) {
        let found = self
            .table
            .find_entry(hash(value, hasher), |(held, _)| held == value);
        let Ok(mut found) = found else { return };
        let Entry(entry) = &mut found.get_mut().1;
        let Some(place) = entry.checked_sub(MANY) else {
            found.remove();
            return;
        };
        let chunks = &mut self.many[place as usize];
        chunks.remove(index, born);
        if let Some(last) = chunks.only() {
            *entry = last;
            *chunks = Chunks::default();
            self.free.push(place);
        }
    }

    /// What a node is entered under, each value once, in [`order`].
    fn values(&mut self, metadata: &Metadata) -> Vec<Value> {
        let mut values = Vec::new();
        match self
            .path
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .find(metadata)
        {
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

fn hash(value: &Value, hasher: &DefaultHashBuilder) -> u64 {
    match value {
        Value::Text(text) => hasher.hash_one(text.as_str()),
        Value::Int(number) => hasher.hash_one(number),
        _ => 0,
    }
}
