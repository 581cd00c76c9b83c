//! `Values`, `ValueMap`, `Keys`, `Sum` over nodes, and what lists of values can do.

use std::collections::BTreeMap;

use arcstr::ArcStr;
use hashbrown::HashSet;

use super::filter::Distinct;
use crate::filter::{Fields, Filter, Predicate};
use crate::graph::{ElementKey, Node, NodeRef};
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::value::{Map, Path, PathMatch, Shape, Text, Value};

/// What each node holds at a key.
pub(in crate::gremlin) fn values(
    nodes: &[NodeRef],
    key: &str,
    budget: &Budget<'_>,
) -> Result<Vec<Value>, QueryError> {
    let key = ElementKey::parse(key);
    let mut room = budget.room();
    let mut values = Vec::new();
    for node in nodes {
        budget.tick()?;
        if let Some(value) = node.value(&key).and_then(shown) {
            room.add(size_of::<Value>() + value.heap_bytes())?;
            values.push(value);
        }
    }
    Ok(values)
}

/// What each node holds at several keys, as an object.
pub(in crate::gremlin) fn value_map(
    nodes: &[NodeRef],
    keys: &[Text],
    budget: &Budget<'_>,
) -> Result<Vec<Value>, QueryError> {
    let keys: Vec<(ArcStr, ElementKey)> = keys
        .iter()
        .map(|key| (ArcStr::from(key.as_str()), ElementKey::parse(key)))
        .collect();
    let mut room = budget.room();
    let mut maps = Vec::new();
    for node in nodes {
        budget.tick()?;
        let found = keys
            .iter()
            .filter_map(|(name, key)| Some((name.clone(), node.value(key).and_then(shown)?)));
        let map = Map::from_pairs(found);
        if !map.is_empty() {
            let value = Value::from(map);
            room.add(size_of::<Value>() + value.heap_bytes())?;
            maps.push(value);
        }
    }
    Ok(maps)
}

/// A value as lists show it; nothing for an empty array or object.
///
/// COMPAT: what counts as an integer comes out as one: `"0x10"` as 16, true as 1, null as 0.
fn shown(value: Value) -> Option<Value> {
    match &value {
        Value::List(list) if list.is_empty() => None,
        Value::Map(map) if map.is_empty() => None,
        _ => Some(value.to_int().map_or(value, Value::Int)),
    }
}

/// The names of all keys that nodes have, dotted where objects nest, each once.
pub(in crate::gremlin) fn keys(
    nodes: &[NodeRef],
    budget: &Budget<'_>,
) -> Result<Vec<Value>, QueryError> {
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let mut tree = KeyTree::default();
    for node in nodes {
        budget.tick()?;
        tree.add(&node.metadata);
    }
    let mut names: Vec<Value> = ELEMENT_KEYS.into_iter().map(Value::from).collect();
    tree.list("", &mut names, budget)?;
    Ok(names)
}

const ELEMENT_KEYS: [&str; 7] = [
    "@CreatedAt",
    "@DeletedAt",
    "@Host",
    "@ID",
    "@Origin",
    "@Revision",
    "@UpdatedAt",
];

/// Keys and the keys of the objects under them.
#[derive(Default)]
struct KeyTree {
    keys: BTreeMap<ArcStr, Self>,
    /// Key lists already entered; elements of one kind share theirs.
    known: Vec<Shape>,
}

impl KeyTree {
    fn add(&mut self, map: &Map) {
        if !self.known.iter().any(|shape| shape.is_same(map.shape())) {
            for key in map.shape().keys() {
                self.keys.entry(key.clone()).or_default();
            }
            if self.known.len() < MAX_KNOWN_SHAPES {
                self.known.push(map.shape().clone());
            }
        }
        for (key, value) in map.iter() {
            if let (Value::Map(inner), Some(under)) = (value, self.keys.get_mut(key)) {
                under.add(inner);
            }
        }
    }

    fn list(
        &self,
        prefix: &str,
        names: &mut Vec<Value>,
        budget: &Budget<'_>,
    ) -> Result<(), QueryError> {
        for (key, under) in &self.keys {
            budget.tick()?;
            let name = format!("{prefix}{key}");
            names.push(Value::from(name.as_str()));
            under.list(&format!("{name}."), names, budget)?;
        }
        Ok(())
    }
}

const MAX_KNOWN_SHAPES: usize = 64;

/// The sum of what nodes hold at a key; missing ones count nothing.
///
/// # Errors
/// A value that counts as no integer.
pub(in crate::gremlin) fn sum(
    nodes: &[NodeRef],
    name: &str,
    budget: &Budget<'_>,
) -> Result<i64, QueryError> {
    let key = ElementKey::parse(name);
    let mut sum: i64 = 0;
    for node in nodes {
        budget.tick()?;
        match node.value(&key) {
            Some(value) => {
                let number = value.to_int().ok_or_else(|| no_number(&value))?;
                sum = sum.saturating_add(number);
            }
            None => {
                if let Some(part) = scalar_in_the_way(node, &key) {
                    let message =
                        format!("{part} is not a supported type(map[string]interface {{}})");
                    return Err(QueryError::execute(message));
                }
            }
        }
    }
    Ok(sum)
}

fn no_number(value: &Value) -> QueryError {
    let mut text = serde_json::to_string(value).unwrap_or_default();
    if let Some((cut, _)) = text.char_indices().nth(80) {
        text.truncate(cut);
        text.push('…');
    }
    QueryError::execute(format!("unable to cast {text} to int64"))
}

/// The part of a dotted key where the path ends at something that has no keys.
fn scalar_in_the_way(node: &Node, key: &ElementKey) -> Option<String> {
    let name = key.metadata_of_node()?.name().to_string();
    let mut map = &node.metadata;
    for part in name.split('.') {
        match map.get(part)? {
            Value::Map(inner) => map = inner,
            Value::List(_) => return None,
            _ => return Some(part.to_owned()),
        }
    }
    None
}

/// The objects of a list that pass a filter; anything else goes.
pub(in crate::gremlin) fn filter_list(
    list: Vec<Value>,
    filter: &Filter,
    budget: &Budget<'_>,
) -> Result<Vec<Value>, QueryError> {
    let filter = filter.map_keys(&mut |key| Path::new(key));
    let mut passing = Vec::new();
    for value in list {
        budget.tick()?;
        if value
            .as_map()
            .is_some_and(|map| filter.matches(&Object(map)))
        {
            passing.push(value);
        }
    }
    Ok(passing)
}

struct Object<'a>(&'a Map);

impl Fields<Path> for Object<'_> {
    fn test(&self, key: &Path, predicate: &Predicate) -> bool {
        match key.find(self.0) {
            None => false,
            Some(PathMatch::One(value)) => predicate.matches(value),
            Some(PathMatch::Many(values)) => {
                matches!(predicate, Predicate::Present)
                    || values.iter().any(|value| predicate.matches(value))
            }
        }
    }
}

/// The values of a list that differ, the first of each.
pub(in crate::gremlin) fn dedup_list(
    list: Vec<Value>,
    budget: &Budget<'_>,
) -> Result<Vec<Value>, QueryError> {
    let mut room = budget.room();
    let mut seen = HashSet::new();
    let mut different = Vec::new();
    for value in list {
        budget.tick()?;
        let key = Distinct::new(value.clone());
        room.add(key.bytes())?;
        if seen.insert(key) {
            different.push(value);
        }
    }
    Ok(different)
}
