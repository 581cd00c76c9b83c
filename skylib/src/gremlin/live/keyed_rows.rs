//! `KeyedRows`: an answer as lists of items with keys.

use std::sync::Arc;

use uuid::Uuid;

use super::item::{Item, ItemKey};
use crate::flow::Flow;
use crate::graph::{Edge, Node};
use crate::gremlin::Answer;
use crate::value::{Text, Value};

/// An item with its key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeyedRow {
    pub(super) key: ItemKey,
    pub(super) item: Item,
}

/// An answer as lists of items. A graph has two lists, its nodes and its edges; any other answer has
/// one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KeyedRows {
    /// Kind of the answer ([`Answer::kind`]), or `value` for a single value or number. Answers of
    /// different kinds have no diff.
    pub(super) kind: &'static str,
    pub(super) lists: [Vec<KeyedRow>; 2],
}

impl KeyedRows {
    /// Splits an answer into items.
    pub(super) fn of(answer: &Answer) -> Self {
        let mut edges_of_graph = Vec::new();
        let list: Vec<KeyedRow> = match answer {
            Answer::Graph { nodes, edges } => {
                edges_of_graph = edges.iter().map(KeyedRow::edge).collect();
                nodes.iter().map(KeyedRow::node).collect()
            }
            Answer::Nodes(nodes) => nodes.iter().map(KeyedRow::node).collect(),
            Answer::Edges(edges) => edges.iter().map(KeyedRow::edge).collect(),
            Answer::Paths(paths) => paths.iter().map(|path| KeyedRow::path(path)).collect(),
            Answer::Flows(set) => {
                let row =
                    |flow: &Flow| KeyedRow::named(&flow.uuid, Item::Flow(Arc::new(flow.clone())));
                set.flows.iter().map(row).collect()
            }
            Answer::Groups(groups) => named(groups, |flows| Item::Group(flows.as_slice().into())),
            Answer::Metrics(metrics) => metrics
                .iter()
                .map(|(name, series)| KeyedRow::named(name, Item::Metrics(series.into())))
                .collect(),
            Answer::RawPackets(packets) => named(packets, |packets| {
                Item::RawPackets(packets.as_slice().into())
            }),
            Answer::Sockets(sockets) => {
                named(sockets, |list| Item::Value(Value::from(list.clone())))
            }
            Answer::NextHops(hops) => named(hops, |hop| Item::Value(hop.clone())),
            // COMPAT: an empty list of values is null.
            Answer::Value(Value::Null) => Vec::new(),
            Answer::Value(Value::List(list)) => list.iter().map(KeyedRow::value).collect(),
            Answer::Value(value) => return Self::single(value.clone()),
            Answer::Number(number) => return Self::single(Value::Int(*number)),
        };
        Self {
            kind: answer.kind(),
            lists: [list, edges_of_graph],
        }
    }

    fn single(value: Value) -> Self {
        let row = KeyedRow::named(&Text::default(), Item::Value(value));
        Self {
            kind: "value",
            lists: [vec![row], Vec::new()],
        }
    }

    /// Returns the approximate size in bytes, excluding the graph's elements.
    pub(super) fn bytes(&self) -> usize {
        self.lists.iter().flatten().map(KeyedRow::bytes).sum()
    }

    /// Returns the number of items in all lists.
    pub(super) fn len(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }
}

impl KeyedRow {
    /// Returns the approximate size in bytes, including its index entry and excluding the graph's
    /// elements.
    pub(super) fn bytes(&self) -> usize {
        2 * size_of::<Self>() + self.key.bytes() + self.item.bytes()
    }

    pub(super) fn node(node: &Arc<Node>) -> Self {
        Self {
            key: ItemKey::Id(node.id.as_id().clone()),
            item: Item::Node(Arc::clone(node)),
        }
    }

    pub(super) fn edge(edge: &Arc<Edge>) -> Self {
        Self {
            key: ItemKey::Id(edge.id.as_id().clone()),
            item: Item::Edge(Arc::clone(edge)),
        }
    }

    fn path(nodes: &[Arc<Node>]) -> Self {
        Self {
            key: ItemKey::Path(nodes.iter().map(|node| node.id.as_id().clone()).collect()),
            item: Item::Path(nodes.into()),
        }
    }

    fn named(name: &Text, item: Item) -> Self {
        Self {
            key: ItemKey::Name(name.clone()),
            item,
        }
    }

    fn value(value: &Value) -> Self {
        Self {
            key: ItemKey::Value(value_key(value)),
            item: Item::Value(value.clone()),
        }
    }
}

/// Maximum length of the key of a value, in bytes, without the hash.
const MAX_VALUE_KEY: usize = 64;

/// Returns the JSON form of a value. A long form is truncated and followed by its hash, a UUID of
/// version 5, so that an answer of long values does not need memory for their text a second time.
fn value_key(value: &Value) -> String {
    let json = serde_json::to_string(value).unwrap_or_default();
    if json.len() <= MAX_VALUE_KEY {
        return json;
    }
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, json.as_bytes());
    let start = &json[..json.floor_char_boundary(MAX_VALUE_KEY)];
    format!("{start}… {hash}")
}

fn named<T>(entries: &[(Text, T)], item: impl Fn(&T) -> Item) -> Vec<KeyedRow> {
    let row = |(name, entry): &(Text, T)| KeyedRow::named(name, item(entry));
    entries.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_value_is_its_own_key() {
        assert_eq!(value_key(&Value::from("eth0")), "\"eth0\"");
    }

    #[test]
    fn long_values_with_the_same_start_have_short_different_keys() {
        let [one, other] = ["a", "b"].map(|end| value_key(&Value::from("é".repeat(5_000) + end)));
        assert_ne!(one, other);
        assert!(one.len() < 120, "{one}");
        assert!(one.starts_with("\"éé"), "{one}");
    }
}
