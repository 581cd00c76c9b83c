//! `Item` and `ItemKey`: the parts of an answer, and the keys that identify them across updates.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::flow::{Flow, RawPacket};
use crate::graph::{Edge, Node};
use crate::gremlin::Metric;
use crate::id::Id;
use crate::value::{Text, Value};

/// One item of an answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Item {
    /// A node.
    Node(Arc<Node>),
    /// An edge.
    Edge(Arc<Edge>),
    /// Nodes from source to target.
    Path(Arc<[Arc<Node>]>),
    /// A flow.
    Flow(Arc<Flow>),
    /// The flows of one tracking ID.
    Group(Arc<[Flow]>),
    /// The metrics of a node or a flow.
    Metrics(Arc<[Metric]>),
    /// The packets of a flow.
    RawPackets(Arc<[RawPacket]>),
    /// A value, a count, a next hop, or the sockets of a node or flow.
    Value(Value),
}

/// Key that identifies an item in successive answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ItemKey {
    /// The id of a node or edge.
    Id(Id),
    /// The ids of the nodes of a path.
    Path(Vec<Id>),
    /// The UUID of a flow, or the name of a series; empty for a single value.
    Name(Text),
    /// The JSON form of a value in a list; a long form is truncated and followed by its hash.
    Value(String),
}

impl Item {
    /// Returns the approximate heap size in bytes, excluding the graph's elements.
    pub(super) fn bytes(&self) -> usize {
        let packets = |packets: &[RawPacket]| -> usize {
            packets
                .iter()
                .map(|packet| size_of::<RawPacket>() + packet.data.len())
                .sum()
        };
        let flow = |flow: &Flow| size_of::<Flow>() + FLOW_TEXTS + packets(&flow.last_raw_packets);
        match self {
            Self::Node(_) | Self::Edge(_) => 0,
            Self::Path(nodes) => size_of_val(&**nodes),
            Self::Flow(one) => flow(one),
            Self::Group(flows) => flows.iter().map(flow).sum(),
            Self::Metrics(metrics) => size_of_val(&**metrics),
            Self::RawPackets(list) => packets(list),
            Self::Value(value) => value.heap_bytes(),
        }
    }

    /// Returns whether two items are equal. Shared elements are compared by pointer first.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Node(one), Self::Node(other)) => is_same(one, other),
            (Self::Edge(one), Self::Edge(other)) => is_same(one, other),
            (Self::Path(one), Self::Path(other)) => {
                one.len() == other.len()
                    && one
                        .iter()
                        .zip(&**other)
                        .all(|(one, other)| is_same(one, other))
            }
            (Self::Flow(one), Self::Flow(other)) => one == other,
            (Self::Group(one), Self::Group(other)) => one == other,
            (Self::Metrics(one), Self::Metrics(other)) => one == other,
            (Self::RawPackets(one), Self::RawPackets(other)) => one == other,
            (Self::Value(one), Self::Value(other)) => one == other,
            _ => false,
        }
    }
}

/// Average size of the strings of a flow, in bytes.
const FLOW_TEXTS: usize = 256;

/// Returns whether two shared values are equal; most are the same allocation.
fn is_same<T: PartialEq>(one: &Arc<T>, other: &Arc<T>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Node(node) => node.serialize(serializer),
            Self::Edge(edge) => edge.serialize(serializer),
            Self::Path(nodes) => nodes.serialize(serializer),
            Self::Flow(flow) => flow.serialize(serializer),
            Self::Group(flows) => flows.serialize(serializer),
            Self::Metrics(metrics) => metrics.serialize(serializer),
            Self::RawPackets(packets) => Some(packets)
                .filter(|packets| !packets.is_empty())
                .serialize(serializer),
            Self::Value(value) => value.serialize(serializer),
        }
    }
}

impl ItemKey {
    /// Returns the approximate heap size in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Id(_) => 0,
            Self::Path(ids) => size_of_val(&**ids),
            Self::Name(name) => name.heap_bytes(),
            Self::Value(text) => text.len(),
        }
    }
}

impl fmt::Display for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Path(ids) => {
                for (position, id) in ids.iter().enumerate() {
                    if position > 0 {
                        f.write_str("/")?;
                    }
                    write!(f, "{id}")?;
                }
                Ok(())
            }
            Self::Name(name) => f.write_str(name),
            Self::Value(text) => f.write_str(text),
        }
    }
}

impl Serialize for ItemKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
