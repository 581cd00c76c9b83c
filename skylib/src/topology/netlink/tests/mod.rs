//! Messages from the kernel and their effects on the graph; no privilege is needed.

mod link_table;
mod messages;
mod neighbors;
mod pairs;

use std::collections::HashMap;
use std::sync::Arc;

use super::link::LinkMessage;
use super::link_state::LinkFacts;
use super::link_table::{EventSource, FollowUp, LinkTable, NamespaceKey};
use super::wire::NetlinkEvent;
use crate::graph::{
    Direction, Edge, Graph, GraphEvent, Metadata, MetadataOp, Node, NodeId, Origin,
};
use crate::time::Timestamp;
use crate::value::{Map, Text, Value};

/// A graph and a table at a fixed time, which a test may change.
struct Fixture {
    graph: Graph,
    table: LinkTable,
    facts: HashMap<u32, LinkFacts>,
    now: Timestamp,
}

impl Fixture {
    fn new() -> Self {
        Self {
            graph: Graph::new().with_journal(),
            table: LinkTable::new(Origin::new("agent", "edge-01"), Arc::default()),
            facts: HashMap::new(),
            now: Timestamp::from_ms(1000),
        }
    }

    /// Adds a namespace with its node.
    fn namespace(&mut self, name: &str) -> NamespaceKey {
        let node = NodeId::random();
        let metadata = Metadata::from_iter([("Name", name), ("Type", "netns")]);
        let node_of = Node::new(node.clone(), metadata, self.now)
            .with_origin(Origin::new("agent", "edge-01"));
        self.graph.add_node(node_of).unwrap();
        self.graph.take_events();
        self.table.add_namespace(node, name.into(), None)
    }

    fn notify(&mut self, key: NamespaceKey, events: Vec<NetlinkEvent>) -> FollowUp {
        self.table.apply(
            &mut self.graph,
            key,
            events,
            &self.facts,
            EventSource::Notification,
            self.now,
        )
    }

    fn reply(&mut self, key: NamespaceKey, events: Vec<NetlinkEvent>) -> FollowUp {
        self.table.apply(
            &mut self.graph,
            key,
            events,
            &self.facts,
            EventSource::Reply,
            self.now,
        )
    }

    /// Returns the last node with this name.
    fn node(&self, name: &str) -> Option<&Node> {
        let named = |n: &&Node| n.metadata.get("Name").and_then(Value::as_text) == Some(name);
        self.graph.nodes().map(|n| &**n).filter(named).last()
    }

    fn json(&self, name: &str, key: &str) -> String {
        let value = self.node(name).and_then(|node| node.metadata.get(key));
        value
            .map(|v| serde_json::to_string(v).unwrap())
            .unwrap_or_default()
    }

    /// Returns the layer 2 edges as "parent>child Type", sorted.
    fn edges(&self) -> Vec<String> {
        let name = |id: &NodeId| {
            self.graph
                .node(id)
                .unwrap()
                .metadata
                .get("Name")
                .unwrap()
                .as_text()
                .unwrap()
                .to_owned()
        };
        let layer2 = |e: &&Edge| e.metadata.get("RelationType") == Some(&"layer2".into());
        let edges = self.graph.edges().map(|e| &**e).filter(layer2);
        let mut edges: Vec<String> = edges
            .map(|e| {
                let kind = e
                    .metadata
                    .get("Type")
                    .and_then(Value::as_text)
                    .unwrap_or("-");
                format!("{}>{} {kind}", name(&e.parent), name(&e.child))
            })
            .collect();
        edges.sort();
        edges
    }
}

/// Returns a link of a kind with default properties.
fn link(index: u32, name: &str, kind: &str) -> LinkMessage {
    LinkMessage {
        index,
        hardware: 1,
        flags: 1,
        name: name.into(),
        kind: (!kind.is_empty()).then(|| Text::from(kind)),
        mtu: 1500,
        is_complete: true,
        ..LinkMessage::default()
    }
}

/// Returns one end of a veth pair.
fn veth(index: u32, name: &str, peer: u32, nsid: Option<i32>) -> LinkMessage {
    LinkMessage {
        link: peer,
        link_netnsid: nsid,
        ..link(index, name, "veth")
    }
}

fn link_events(links: impl IntoIterator<Item = LinkMessage>) -> Vec<NetlinkEvent> {
    links
        .into_iter()
        .map(|link| NetlinkEvent::Link(Box::new(link)))
        .collect()
}

fn json(value: impl Into<Value>) -> String {
    serde_json::to_string(&value.into()).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    let pairs = (0..digits.len()).step_by(2);
    pairs
        .map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap())
        .collect()
}
