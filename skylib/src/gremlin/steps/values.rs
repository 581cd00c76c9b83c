//! `Values`, `ValueMap`, `Keys`, and `Sum` of nodes, and the steps on lists of values.

use std::collections::BTreeMap;

use arcstr::ArcStr;
use hashbrown::HashSet;

use super::filter::Distinct;
use crate::filter::{Fields, Filter, Predicate};
use crate::graph::{ElementKey, Node, NodeRef};
use crate::gremlin::budget::Budget;
use crate::gremlin::error::QueryError;
use crate::value::{Map, Path, PathMatch, Shape, Text, Value};

/// Returns the value of a key of each node that has one.
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
            // The heap memory of the value is shared with the graph, or counted as a pinned
            // revision.
            room.add(size_of::<Value>())?;
            values.push(value);
        }
    }
    Ok(values)
}

/// Returns the values of several keys of each node, as objects. Nodes without any are omitted.
pub(in crate::gremlin) fn value_map(
    nodes: &[NodeRef],
    keys: &[Text],
    budget: &Budget<'_>,
) -> Result<Vec<Value>, QueryError> {
    let own_bytes = size_of::<Value>() + size_of::<Value>() * keys.len() + MAP_BYTES;
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
            room.add(own_bytes)?;
            maps.push(Value::from(map));
        }
    }
    Ok(maps)
}

/// Memory of an object without its values, in bytes, approximately.
pub(super) const MAP_BYTES: usize = 4 * size_of::<usize>();

/// Returns a value in the form that lists contain; `None` for an empty array or object.
///
/// COMPAT: a value that counts as an integer becomes one: `"0x10"` becomes 16, `true` 1, and null
/// 0.
pub(super) fn shown(value: Value) -> Option<Value> {
    match &value {
        Value::List(list) if list.is_empty() => None,
        Value::Map(map) if map.is_empty() => None,
        _ => Some(value.to_int().map_or(value, Value::Int)),
    }
}

/// Returns the distinct names of all keys of nodes; keys of nested objects are dotted.
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

/// Keys and, recursively, the keys of the objects under them.
#[derive(Default)]
struct KeyTree {
    keys: BTreeMap<ArcStr, Self>,
    /// Shapes (shared key lists) already added, at most [`MAX_KNOWN_SHAPES`]; elements of one kind
    /// share their shape, so most elements add no key.
    known: Vec<Shape>,
}

impl KeyTree {
    /// Adds the keys of an object.
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

    /// Appends the names of all keys, each with a prefix.
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

/// Maximum number of shapes compared per object.
const MAX_KNOWN_SHAPES: usize = 64;

/// Returns the sum of a key of nodes, saturating. Absent values count as 0.
///
/// # Errors
/// Returns an error if a value does not count as an integer.
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
                // COMPAT: Skydive fails if a dotted key leads through a scalar.
                if let Some(part) = scalar_on_path(node, &key) {
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

/// Returns the part of a dotted key at which the path reaches a scalar, if it does.
fn scalar_on_path(node: &Node, key: &ElementKey) -> Option<String> {
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

/// Returns the objects of a list that match a filter. Values that are not objects are dropped.
pub(in crate::gremlin) fn filter_list(
    list: Vec<Value>,
    filter: &Filter,
    budget: &Budget<'_>,
) -> Result<Vec<Value>, QueryError> {
    let filter = filter.compile(&mut |key| ListKey {
        whole: key.clone(),
        path: Path::new(key),
    });
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

/// Key of an object in a list: a path or, as in the rows of `ValueMap` and `GroupBy`, a single key
/// that contains dots.
struct ListKey {
    whole: Text,
    path: Path,
}

/// Object as the filter reads it.
struct Object<'a>(&'a Map);

impl Fields<ListKey> for Object<'_> {
    fn test(&self, key: &ListKey, predicate: &Predicate) -> bool {
        let whole = || self.0.get(&key.whole).map(PathMatch::One);
        match key.path.find(self.0).or_else(whole) {
            None => false,
            Some(PathMatch::One(value)) => predicate.matches(value),
            Some(PathMatch::Many(values)) => {
                matches!(predicate, Predicate::Present)
                    || values.iter().any(|value| predicate.matches(value))
            }
        }
    }
}

/// Returns the value of a key of each object that has it; the key may contain dots.
pub(in crate::gremlin) fn of_maps(list: &[Value], key: &str) -> Vec<Value> {
    let maps = list.iter().filter_map(Value::as_map);
    maps.filter_map(|map| map.get(key).cloned()).collect()
}

/// Returns the distinct values of a list, in order of first occurrence.
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
