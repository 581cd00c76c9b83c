//! Secondary indexes: from a metadata key and a value to the nodes that have it.

use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Metadata;
use super::posting::Posting;
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
    table: HashTable<(Value, Posting)>,
}

impl Indexes {
    pub(super) fn new<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        let index = |key: &str| Index {
            key: Text::from(key),
            path: Mutex::new(Path::new(key)),
            table: HashTable::new(),
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
            for value in old.iter().filter(|value| !new.contains(value)) {
                table.remove(value, index, &self.hasher, born);
            }
            for value in new.into_iter().filter(|value| !old.contains(value)) {
                table.insert(value, index, &self.hasher, born);
            }
        }
    }

    /// The nodes whose value at a key equals a literal; `None` where no index can tell.
    pub(super) fn find(&self, key: &str, predicate: &Predicate) -> Option<Option<&Posting>> {
        let index = self.indexes.iter().find(|index| index.key == *key)?;
        let value = match predicate {
            Predicate::Text(text) => Value::Text(text.clone()),
            Predicate::Int(number) => Value::Int(*number),
            _ => return None,
        };
        let hash = hash(&value, &self.hasher);
        Some(
            index
                .table
                .find(hash, |(held, _)| *held == value)
                .map(|(_, posting)| posting),
        )
    }
}

impl Index {
    fn insert(
        &mut self,
        value: Value,
        index: u32,
        hasher: &DefaultHashBuilder,
        born: impl Fn(u32) -> u64,
    ) {
        let hash_of = |value: &Value| hash(value, hasher);
        match self
            .table
            .find_mut(hash_of(&value), |(held, _)| *held == value)
        {
            Some((_, posting)) => posting.insert(index, born),
            None => {
                let hash = hash_of(&value);
                self.table
                    .insert_unique(hash, (value, Posting::One(index)), |(v, _)| hash_of(v));
            }
        }
    }

    fn remove(
        &mut self,
        value: &Value,
        index: u32,
        hasher: &DefaultHashBuilder,
        born: impl Fn(u32) -> u64,
    ) {
        if let Ok(mut entry) = self
            .table
            .find_entry(hash(value, hasher), |(held, _)| held == value)
            && entry.get_mut().1.remove(index, born)
        {
            entry.remove();
        }
    }

    /// What a node is entered under, each value once.
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
    let text = matches!(value, Value::Text(_)).then(|| value.clone());
    let number = value.to_int().map(Value::Int);
    for value in text.into_iter().chain(number) {
        if !values.contains(&value) {
            values.push(value);
        }
    }
}

fn hash(value: &Value, hasher: &DefaultHashBuilder) -> u64 {
    match value {
        Value::Text(text) => hasher.hash_one(text.as_str()),
        Value::Int(number) => hasher.hash_one(number),
        _ => 0,
    }
}
