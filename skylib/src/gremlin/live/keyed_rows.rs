//! `Rows`: an answer taken apart into items.

use std::sync::Arc;

use super::item::{Item, Key};
use crate::flow::Flow;
use crate::graph::{Edge, Node};
use crate::gremlin::Answer;
use crate::value::{Text, Value};

/// An item under its key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) item: Item,
}

/// An answer as lists of items: a graph has two, its nodes and its edges, anything else one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rows {
    /// What kind of answer it is; those of different kinds have nothing in common.
    pub(super) kind: &'static str,
    pub(super) lists: [Vec<Row>; 2],
}

impl Rows {
    pub(super) fn of(answer: &Answer) -> Self {
        let mut edges_of_graph = Vec::new();
        let list: Vec<Row> = match answer {
            Answer::Graph { nodes, edges } => {
                edges_of_graph = edges.iter().map(Row::edge).collect();
                nodes.iter().map(Row::node).collect()
            }
            Answer::Nodes(nodes) => nodes.iter().map(Row::node).collect(),
            Answer::Edges(edges) => edges.iter().map(Row::edge).collect(),
            Answer::Paths(paths) => paths.iter().map(|path| Row::path(path)).collect(),
            Answer::Flows(set) => {
                let row = |flow: &Flow| Row::named(&flow.uuid, Item::Flow(Arc::new(flow.clone())));
                set.flows.iter().map(row).collect()
            }
            Answer::Groups(groups) => named(groups, |flows| Item::Group(flows.as_slice().into())),
            Answer::Metrics(metrics) => metrics
                .iter()
                .map(|(name, series)| Row::named(name, Item::Metrics(series.into())))
                .collect(),
            Answer::RawPackets(packets) => named(packets, |packets| {
                Item::RawPackets(packets.as_slice().into())
            }),
            Answer::Sockets(sockets) => {
                named(sockets, |list| Item::Value(Value::from(list.clone())))
            }
            Answer::NextHops(hops) => named(hops, |hop| Item::Value(hop.clone())),
            // No values are null on the wire.
            Answer::Value(Value::Null) => Vec::new(),
            Answer::Value(Value::List(list)) => list.iter().map(Row::value).collect(),
            Answer::Value(value) => return Self::single(value.clone()),
            Answer::Number(number) => return Self::single(Value::Int(*number)),
        };
        Self {
            kind: answer.kind(),
            lists: [list, edges_of_graph],
        }
    }

    fn single(value: Value) -> Self {
        let row = Row::named(&Text::default(), Item::Value(value));
        Self {
            kind: "value",
            lists: [vec![row], Vec::new()],
        }
    }

    /// Bytes it takes beside the graph, approximately.
    pub(super) fn bytes(&self) -> usize {
        self.lists.iter().flatten().map(Row::bytes).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }
}

impl Row {
    /// Bytes it takes beside the graph, the index that finds it included, approximately.
    pub(super) fn bytes(&self) -> usize {
        2 * size_of::<Self>() + self.key.bytes() + self.item.bytes()
    }

    pub(super) fn node(node: &Arc<Node>) -> Self {
        Self {
            key: Key::Id(node.id.as_id().clone()),
            item: Item::Node(Arc::clone(node)),
        }
    }

    pub(super) fn edge(edge: &Arc<Edge>) -> Self {
        Self {
            key: Key::Id(edge.id.as_id().clone()),
            item: Item::Edge(Arc::clone(edge)),
        }
    }

    fn path(nodes: &[Arc<Node>]) -> Self {
        Self {
            key: Key::Path(nodes.iter().map(|node| node.id.as_id().clone()).collect()),
            item: Item::Path(nodes.into()),
        }
    }

    fn named(name: &Text, item: Item) -> Self {
        Self {
            key: Key::Name(name.clone()),
            item,
        }
    }

    fn value(value: &Value) -> Self {
        Self {
            key: Key::Value(serde_json::to_string(value).unwrap_or_default()),
            item: Item::Value(value.clone()),
        }
    }
}

fn named<T>(entries: &[(Text, T)], item: impl Fn(&T) -> Item) -> Vec<Row> {
    let row = |(name, entry): &(Text, T)| Row::named(name, item(entry));
    entries.iter().map(row).collect()
}
