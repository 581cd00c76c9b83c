//! `FilterIndex`: finds the filters that a node matches, without testing every filter.
//!
//! The inverse of an index of nodes: a match of a filter must satisfy at least one of the
//! equalities under which the filter is stored, such as `Name = eth0`. Each key has a hash table. A
//! node is looked up with its values of these keys, and only the filters found are tested. Filters
//! without such equalities are always tested. A lookup costs `O(k + c)` for `k` different keys and
//! `c` candidates.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use crate::filter::{Filter, Predicate};
use crate::graph::{ElementKey, MetadataKey, Node};
use crate::value::{PathMatch, Text, Value};

/// Filters of nodes, each with a value of type `T` that identifies it.
pub(super) struct FilterIndex<T> {
    filters: HashMap<T, Entry>,
    keys: HashMap<Text, Bucket<T>>,
    by_id: HashMap<Text, BTreeSet<T>>,
    /// Filters that require no equality.
    others: BTreeSet<T>,
}

/// Filter, and the equalities under which it is stored; `None` if it requires none.
struct Entry {
    filter: Filter<ElementKey>,
    under: Option<Vec<Equality>>,
}

/// Filters that require a value of one metadata key.
struct Bucket<T> {
    key: MetadataKey,
    by_text: HashMap<Text, BTreeSet<T>>,
    by_int: HashMap<i64, BTreeSet<T>>,
}

impl<T> Bucket<T> {
    /// Returns the bucket of a key, which is added if it is missing.
    fn of<'a>(buckets: &'a mut HashMap<Text, Self>, key: &MetadataKey) -> &'a mut Self {
        buckets.entry(key.name().clone()).or_insert_with(|| Self {
            key: key.clone(),
            by_text: HashMap::new(),
            by_int: HashMap::new(),
        })
    }
}

/// Test for equality with a value.
enum Equality {
    Id(Text),
    Text(MetadataKey, Text),
    Int(MetadataKey, i64),
}

impl<T> Default for FilterIndex<T> {
    fn default() -> Self {
        Self {
            filters: HashMap::new(),
            keys: HashMap::new(),
            by_id: HashMap::new(),
            others: BTreeSet::new(),
        }
    }
}

impl<T: Copy + Ord + Hash> FilterIndex<T> {
    /// Adds the filter of a target, which must not have a filter.
    pub(super) fn insert(&mut self, target: T, filter: Filter<ElementKey>) {
        let under = any_of(&filter).filter(|equalities| equalities.len() <= MAX_EQUALITIES);
        match &under {
            None => {
                self.others.insert(target);
            }
            Some(equalities) => {
                for equality in equalities {
                    self.list(equality).insert(target);
                }
            }
        }
        self.filters.insert(target, Entry { filter, under });
    }

    /// Returns the targets stored under an equality.
    fn list(&mut self, equality: &Equality) -> &mut BTreeSet<T> {
        let keys = &mut self.keys;
        match equality {
            Equality::Id(id) => self.by_id.entry(id.clone()).or_default(),
            Equality::Text(key, text) => {
                let bucket = Bucket::of(keys, key);
                bucket.by_text.entry(text.clone()).or_default()
            }
            Equality::Int(key, number) => {
                let bucket = Bucket::of(keys, key);
                bucket.by_int.entry(*number).or_default()
            }
        }
    }

    /// Removes the filter of a target, if it has one.
    pub(super) fn remove(&mut self, target: T) {
        let Some(Entry { under, .. }) = self.filters.remove(&target) else {
            return;
        };
        let Some(equalities) = under else {
            self.others.remove(&target);
            return;
        };
        for equality in &equalities {
            self.list(equality).remove(&target);
            match equality {
                Equality::Id(id) => remove_if_empty(&mut self.by_id, id),
                Equality::Text(key, text) => {
                    if let Some(bucket) = self.keys.get_mut(key.name()) {
                        remove_if_empty(&mut bucket.by_text, text);
                    }
                }
                Equality::Int(key, number) => {
                    if let Some(bucket) = self.keys.get_mut(key.name()) {
                        remove_if_empty(&mut bucket.by_int, number);
                    }
                }
            }
        }
        self.keys
            .retain(|_, bucket| !(bucket.by_text.is_empty() && bucket.by_int.is_empty()));
    }

    /// Returns the targets whose filters a node matches.
    pub(super) fn matches(&self, node: &Node) -> BTreeSet<T> {
        let mut found = BTreeSet::new();
        let mut add = |list: Option<&BTreeSet<T>>| found.extend(list.into_iter().flatten());
        if !self.by_id.is_empty() {
            node.id.as_id().with_text(|id| add(self.by_id.get(id)));
        }
        for bucket in self.keys.values() {
            let Some(values) = bucket.key.path().find(&node.metadata) else {
                continue;
            };
            each_value(&values, &mut |value| {
                if let Value::Text(text) = value {
                    add(bucket.by_text.get(text));
                }
                if !bucket.by_int.is_empty()
                    && let Some(number) = value.to_int()
                {
                    add(bucket.by_int.get(&number));
                }
            });
        }
        add(Some(&self.others));
        found.retain(|target| self.filters[target].filter.matches(node));
        found
    }
}

fn remove_if_empty<K: Hash + Eq, T>(lists: &mut HashMap<K, BTreeSet<T>>, key: &K) {
    if lists.get(key).is_some_and(BTreeSet::is_empty) {
        lists.remove(key);
    }
}

/// Calls a function with each value to which an equality applies: the value at the path, the
/// elements of an array at the path, or the contents of arrays on the path.
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

/// Returns equalities of which every match satisfies at least one; `None` if the filter has no such
/// equalities.
fn any_of(filter: &Filter<ElementKey>) -> Option<Vec<Equality>> {
    match filter {
        Filter::All(filters) => filters.iter().filter_map(any_of).min_by_key(Vec::len),
        // COMPAT: an empty disjunction matches everything.
        Filter::Any(filters) if filters.is_empty() => None,
        Filter::Any(filters) => {
            let lists = filters.iter().map(any_of);
            Some(
                lists
                    .collect::<Option<Vec<_>>>()?
                    .into_iter()
                    .flatten()
                    .collect(),
            )
        }
        Filter::Test(_, Predicate::OneOf(set)) if set.len() > MAX_EQUALITIES => None,
        Filter::Test(key, Predicate::OneOf(set)) => any_of(&Filter::alternatives(key, set)),
        Filter::Test(ElementKey::Id, Predicate::Text(id)) => Some(vec![Equality::Id(id.clone())]),
        Filter::Test(key, predicate) => {
            let key = key.metadata_of_node()?.clone();
            match predicate {
                Predicate::Text(text) => Some(vec![Equality::Text(key, text.clone())]),
                Predicate::Int(number) => Some(vec![Equality::Int(key, *number)]),
                _ => None,
            }
        }
        Filter::Not(_) => None,
    }
}

/// Maximum number of equalities under which a filter is stored.
const MAX_EQUALITIES: usize = 256;

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

    /// Searches of all forms. With the index, each must find the same nodes as its filter alone.
    const SEARCHES: [&str; 14] = [
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
        "G.V().Has('MTU', Within(1500, 9000, 'x'))",
        "G.V().Has('Name', Within('b', 'z'), 'Type', 'device')",
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
                    .filter(|number| index.filters.contains_key(number))
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
        assert!(index.others.is_empty(), "an alias has the name, too");
        index.remove(1);
        assert!(index.keys.is_empty() && index.filters.is_empty());
    }
}
