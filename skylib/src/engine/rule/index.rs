//! `FilterIndex`: finds the filters that a node matches, without testing all of them.
//!
//! The inverse of an index of nodes: each filter is filed under one equality that it requires, such
//! as `Name = eth0`, in a hash table per key. A node is looked up with its values of these keys, and
//! only the filters found are tested. Filters without such an equality are tested every time. A
//! lookup costs `O(k + c)` for `k` different keys and `c` candidates.

use std::collections::{BTreeSet, HashMap};

use crate::filter::{Filter, Predicate};
use crate::graph::{ElementKey, MetadataKey, Node};
use crate::value::{PathMatch, Text, Value};

/// Filters of nodes, each with a value of type `T` that identifies it.
pub(super) struct FilterIndex<T> {
    keys: HashMap<Text, Bucket<T>>,
    by_id: HashMap<Text, Vec<Entry<T>>>,
    /// Filters that require no equality.
    others: Vec<Entry<T>>,
    locations: HashMap<T, Location>,
}

struct Entry<T> {
    target: T,
    filter: Filter<ElementKey>,
}

/// The filters that require a value of one metadata key.
struct Bucket<T> {
    key: MetadataKey,
    by_text: HashMap<Text, Vec<Entry<T>>>,
    by_int: HashMap<i64, Vec<Entry<T>>>,
}

/// Where the filter of a target is filed.
#[derive(Clone)]
enum Location {
    Id(Text),
    Text(Text, Text),
    Int(Text, i64),
    Others,
}

impl<T> Default for FilterIndex<T> {
    fn default() -> Self {
        Self {
            keys: HashMap::new(),
            by_id: HashMap::new(),
            others: Vec::new(),
            locations: HashMap::new(),
        }
    }
}

impl<T: Copy + Ord + std::hash::Hash> FilterIndex<T> {
    /// Files the filter of a target, which must not have one yet.
    pub(super) fn insert(&mut self, target: T, filter: Filter<ElementKey>) {
        let (location, entries) = match required(&filter) {
            Some((None, Predicate::Text(id))) => (
                Location::Id(id.clone()),
                self.by_id.entry(id.clone()).or_default(),
            ),
            Some((Some(key), Predicate::Text(text))) => (
                Location::Text(key.name().clone(), text.clone()),
                self.bucket(&key).by_text.entry(text.clone()).or_default(),
            ),
            Some((Some(key), Predicate::Int(number))) => (
                Location::Int(key.name().clone(), number),
                self.bucket(&key).by_int.entry(number).or_default(),
            ),
            _ => (Location::Others, &mut self.others),
        };
        entries.push(Entry { target, filter });
        self.locations.insert(target, location);
    }

    fn bucket(&mut self, key: &MetadataKey) -> &mut Bucket<T> {
        self.keys
            .entry(key.name().clone())
            .or_insert_with(|| Bucket {
                key: key.clone(),
                by_text: HashMap::new(),
                by_int: HashMap::new(),
            })
    }

    /// Removes the filter of a target, if it has one.
    pub(super) fn remove(&mut self, target: T) {
        let Some(location) = self.locations.remove(&target) else {
            return;
        };
        match location {
            Location::Id(id) => {
                remove_from(&mut self.by_id, &id, target);
            }
            Location::Text(key, text) => {
                if let Some(bucket) = self.keys.get_mut(&key) {
                    remove_from(&mut bucket.by_text, &text, target);
                }
                self.remove_if_empty(&key);
            }
            Location::Int(key, number) => {
                if let Some(bucket) = self.keys.get_mut(&key) {
                    remove_from(&mut bucket.by_int, &number, target);
                }
                self.remove_if_empty(&key);
            }
            Location::Others => self.others.retain(|entry| entry.target != target),
        }
    }

    fn remove_if_empty(&mut self, key: &Text) {
        let is_empty = |bucket: &Bucket<T>| bucket.by_text.is_empty() && bucket.by_int.is_empty();
        if self.keys.get(key).is_some_and(is_empty) {
            self.keys.remove(key);
        }
    }

    /// Returns the targets whose filters a node matches.
    pub(super) fn matches(&self, node: &Node) -> BTreeSet<T> {
        let mut found = BTreeSet::new();
        let mut test = |entries: Option<&Vec<Entry<T>>>| {
            let matching = entries
                .into_iter()
                .flatten()
                .filter(|entry| entry.filter.matches(node));
            found.extend(matching.map(|entry| entry.target));
        };
        if !self.by_id.is_empty() {
            node.id.as_id().with_text(|id| test(self.by_id.get(id)));
        }
        for bucket in self.keys.values() {
            let Some(values) = bucket.key.path().find(&node.metadata) else {
                continue;
            };
            each_value(&values, &mut |value| {
                if let Value::Text(text) = value {
                    test(bucket.by_text.get(text));
                }
                if !bucket.by_int.is_empty()
                    && let Some(number) = value.to_int()
                {
                    test(bucket.by_int.get(&number));
                }
            });
        }
        test(Some(&self.others));
        found
    }
}

fn remove_from<K: std::hash::Hash + Eq, T: Eq>(
    entries: &mut HashMap<K, Vec<Entry<T>>>,
    key: &K,
    target: T,
) {
    if let Some(list) = entries.get_mut(key) {
        list.retain(|entry| entry.target != target);
        if list.is_empty() {
            entries.remove(key);
        }
    }
}

/// Calls a function with each value that an equality is compared with: that at the path, the
/// elements of an array there, or what arrays on the path contain.
fn each_value(found: &PathMatch<'_>, then: &mut dyn FnMut(&Value)) {
    let mut with_elements = |value: &Value| match value {
        Value::List(list) => list.iter().for_each(&mut *then),
        value => then(value),
    };
    match found {
        PathMatch::One(value) => with_elements(value),
        PathMatch::Many(values) => values.iter().for_each(|value| with_elements(value)),
    }
}

/// Returns an equality that every match satisfies: a metadata key, or `None` for the id, and the
/// predicate.
fn required(filter: &Filter<ElementKey>) -> Option<(Option<MetadataKey>, Predicate)> {
    match filter {
        Filter::All(filters) => filters.iter().find_map(required),
        Filter::Test(ElementKey::Id, id @ Predicate::Text(_)) => Some((None, id.clone())),
        Filter::Test(key, value @ (Predicate::Text(_) | Predicate::Int(_))) => {
            Some((Some(key.metadata_of_node()?.clone()), value.clone()))
        }
        Filter::Any(filters) => match &filters[..] {
            [only] => required(only),
            _ => None,
        },
        Filter::Not(_) | Filter::Test(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gremlin::Query;
    use crate::gremlin::live::node_search;
    use crate::time::Timestamp;

    fn node(id: &str, metadata: &str) -> Node {
        let metadata = serde_json::from_str(metadata).unwrap();
        Node::new(id, metadata, Timestamp::from_ms(5))
    }

    /// Searches of all forms: with the index, each must find what its filter alone finds.
    const SEARCHES: [&str; 12] = [
        "G.V()",
        "G.V('a')",
        "G.V().Has('Name', 'a')",
        "G.V().Has('Type', 'device', 'Name', 'b')",
        "G.V().Has('MTU', 1500)",
        "G.V().Has('MTU', GT(1000))",
        "G.V().Has('List', 'x')",
        "G.V().Has('Deep.Key', 7)",
        "G.V().Has('Up', true)",
        "G.V().HasEither('Name', 'a', 'Name', 'b')",
        "G.V().Has('Name', NE('a'))",
        "G.V().Has('Parent', 'p')",
    ];

    #[test]
    fn the_index_finds_what_a_scan_finds() {
        let filter = |text: &str| node_search(&Query::parse(text).unwrap()).unwrap();
        let mut index = FilterIndex::default();
        for (number, text) in SEARCHES.iter().enumerate() {
            index.insert(number, filter(text));
        }
        let nodes = [
            node("a", "{}"),
            node("b", r#"{"Name":"a","Type":"device","MTU":1500}"#),
            node(
                "c",
                r#"{"Name":"b","Type":"device","MTU":"1500","Up":true}"#,
            ),
            node("d", r#"{"Name":["a","b"],"List":["x","y"],"Parent":"p"}"#),
            node("e", r#"{"Deep":{"Key":7},"MTU":9000.5}"#),
            node("f", r#"{"Deep":[{"Key":7},{"Key":[7,8]}],"List":[["x"]]}"#),
        ];
        for removed in [None, Some(2), Some(4), Some(0), Some(1)] {
            if let Some(number) = removed {
                index.remove(number);
            }
            for node in &nodes {
                let scan: BTreeSet<usize> = (0..SEARCHES.len())
                    .filter(|number| index.locations.contains_key(number))
                    .filter(|number| filter(SEARCHES[*number]).matches(node))
                    .collect();
                assert_eq!(index.matches(node), scan, "{}", node.id);
            }
        }
    }

    #[test]
    fn an_equality_is_filed_and_removed() {
        let mut index = FilterIndex::default();
        let filter = node_search(&Query::parse("G.V().Has('Name', 'a')").unwrap()).unwrap();
        index.insert(1, filter);
        assert!(index.others.is_empty());
        index.remove(1);
        assert!(index.keys.is_empty() && index.locations.is_empty());
    }
}
