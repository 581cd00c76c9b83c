//! Items: what an answer consists of, each with a name by which it is found again.

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
    /// The flows of one tracking id.
    Group(Arc<[Flow]>),
    /// The metrics of a node or a flow.
    Metrics(Arc<[Metric]>),
    /// The packets of a flow.
    RawPackets(Arc<[RawPacket]>),
    /// A value, a count, a next hop, the connections of a node or a flow.
    Value(Value),
}

/// What an item is called: the same item has the same key in the answers before and after.
///
/// The id of a node or an edge, the UUID of a flow, the ids of a path, the name of a series; a
/// value of a list is its own key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Key {
    /// Of a node or an edge.
    Id(Id),
    /// Of a path: the ids of its nodes.
    Path(Vec<Id>),
    /// Of what has a name: the UUID of a flow, the name of a series; empty for a single value.
    Name(Text),
    /// Of a value in a list: its JSON text.
    Value(String),
}

impl Item {
    /// Bytes it holds that are not the graph's, approximately.
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

    /// Whether nothing of it changed.
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

/// What the texts of a flow take, in the mean.
const FLOW_TEXTS: usize = 256;

/// Equal, and mostly the very same.
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

impl Key {
    /// Bytes it holds on the heap, approximately.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Id(_) => 0,
            Self::Path(ids) => size_of_val(&**ids),
            Self::Name(name) => name.heap_bytes(),
            Self::Value(text) => text.len(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Path(ids) => {
                for (place, id) in ids.iter().enumerate() {
                    if place > 0 {
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

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
