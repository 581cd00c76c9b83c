//! Protection of data that probes wrote against other writers: the metadata that captures rely on,
//! and the existence of the elements.

use super::{GraphMessage, PartialUpdate};
use crate::api::GraphResource;
use crate::graph::{Edge, EdgeId, Graph, Metadata, MetadataOp, Node, NodeId};
use crate::value::Text;

impl GraphMessage {
    /// Returns the first key that this message would change, although only `origin` may change it;
    /// `None` if the message changes no such key.
    ///
    /// Captures rely on the metadata that the probes of their host wrote: the interface that a node
    /// represents, and the path of its namespace. Other writers may add metadata to these elements,
    /// but not change these keys ([`GraphResource::DEFINING`]).
    #[must_use]
    pub fn changed_protected_key(&self, graph: &Graph, origin: &str) -> Option<&'static str> {
        let node = |id: &NodeId| graph.node(id).filter(|held| &*held.origin == origin);
        let edge = |id: &EdgeId| graph.edge(id).filter(|held| &*held.origin == origin);
        match self {
            Self::NodeUpdated(Node { id, metadata, .. }) => {
                node(id).and_then(|held| differing(&held.metadata, metadata, Node::DEFINING))
            }
            Self::EdgeUpdated(Edge { id, metadata, .. }) => {
                edge(id).and_then(|held| differing(&held.metadata, metadata, Edge::DEFINING))
            }
            Self::NodePartiallyUpdated(PartialUpdate { id, ops, .. }) => {
                node(id).and_then(|_| touched(ops, Node::DEFINING))
            }
            Self::EdgePartiallyUpdated(PartialUpdate { id, ops, .. }) => {
                edge(id).and_then(|_| touched(ops, Edge::DEFINING))
            }
            Self::Sync { .. }
            | Self::NodeAdded(_)
            | Self::NodeDeleted(_)
            | Self::EdgeAdded(_)
            | Self::EdgeDeleted(_) => None,
        }
    }

    /// Returns the origin, according to the graph, of the element that this message would delete;
    /// `None` if the message deletes no single element of the graph.
    ///
    /// An element of an agent, whose probes wrote it, can only be deleted by its origin: the probes
    /// would not write it again.
    #[must_use]
    pub fn deleted_origin(&self, graph: &Graph) -> Option<Text> {
        match self {
            Self::NodeDeleted(Node { id, .. }) => graph.node(id).map(|held| held.origin.clone()),
            Self::EdgeDeleted(Edge { id, .. }) => graph.edge(id).map(|held| held.origin.clone()),
            _ => None,
        }
    }
}

/// Access to the origins of elements.
impl GraphMessage {
    /// Returns the origin, according to the graph, of the element that this message would update or
    /// delete; `None` if there is no such element.
    #[must_use]
    pub fn target_origin(&self, graph: &Graph) -> Option<Text> {
        let node = |id: &NodeId| graph.node(id).map(|held| held.origin.clone());
        let edge = |id: &EdgeId| graph.edge(id).map(|held| held.origin.clone());
        match self {
            Self::NodeUpdated(Node { id, .. })
            | Self::NodePartiallyUpdated(PartialUpdate { id, .. }) => node(id),
            Self::EdgeUpdated(Edge { id, .. })
            | Self::EdgePartiallyUpdated(PartialUpdate { id, .. }) => edge(id),
            _ => self.deleted_origin(graph),
        }
    }

    /// Iterates over the origins of the elements that this message adds.
    pub fn origins(&self) -> impl Iterator<Item = &Text> {
        let (nodes, edges) = match self {
            Self::Sync { nodes, edges } => (&nodes[..], &edges[..]),
            Self::NodeAdded(node) => (std::slice::from_ref(node), &[][..]),
            Self::EdgeAdded(edge) => (&[][..], std::slice::from_ref(edge)),
            _ => (&[][..], &[][..]),
        };
        let of_nodes = nodes.iter().map(|node| &node.origin);
        of_nodes.chain(edges.iter().map(|edge| &edge.origin))
    }
}

/// Returns the first key whose value differs between the two versions of the metadata.
fn differing(held: &Metadata, new: &Metadata, keys: &[&'static str]) -> Option<&'static str> {
    let mut keys = keys.iter().copied();
    keys.find(|key| held.get(key) != new.get(key))
}

/// Returns the first key whose value, or a part of it, an operation changes.
fn touched(ops: &[MetadataOp], keys: &[&'static str]) -> Option<&'static str> {
    let mut keys = keys.iter().copied();
    keys.find(|key| ops.iter().any(|op| op.key().split('.').next() == Some(key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Origin;
    use crate::proto::{GRAPH, Message, Object};
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp::from_ms(1);

    fn message(kind: &str, text: &str) -> GraphMessage {
        let message = Message::new(GRAPH, kind, Object::Json(text.to_owned().into()));
        GraphMessage::decode(&message).unwrap().unwrap()
    }

    #[test]
    fn only_the_origin_changes_defining_keys() {
        let mut graph = Graph::new();
        let mut add = |id: &str, origin: &str| {
            let pairs = [
                ("Type", "netns"),
                ("Name", "blue"),
                ("Path", "/run/netns/blue"),
            ];
            let metadata = Metadata::from_iter(pairs);
            graph
                .add_node(
                    Node::new(id, metadata, NOW)
                        .with_origin(Origin::from_text(origin).with_host("h")),
                )
                .unwrap();
        };
        add("own", "agent.h");
        add("pub", "t.p");
        let related = Metadata::from_iter([("RelationType", "layer2")]);
        let edge =
            Edge::new("e", "own", "pub", related, NOW).with_origin(Origin::new("agent", "h"));
        graph.add_edge(edge).unwrap();

        let changed_key =
            |kind: &str, text: &str| message(kind, text).changed_protected_key(&graph, "agent.h");
        let whole = |id: &str, path: &str| {
            let metadata = format!(r#"{{"Type":"netns","Name":"blue","Path":"{path}","More":1}}"#);
            let text = format!(r#"{{"ID":"{id}","Revision":9,"Metadata":{metadata}}}"#);
            changed_key("NodeUpdated", &text)
        };
        assert_eq!(whole("own", "/tmp/pipe"), Some("Path"));
        assert_eq!(
            whole("own", "/run/netns/blue"),
            None,
            "additional keys are allowed"
        );
        assert_eq!(whole("pub", "/tmp/pipe"), None);
        assert_eq!(whole("absent", "/tmp/pipe"), None);
        let partial = |kind: &str, id: &str, key: &str| {
            let op = format!(r#"{{"Type":1,"Key":"{key}","Value":"x"}}"#);
            changed_key(
                kind,
                &format!(r#"{{"ID":"{id}","Revision":9,"Ops":[{op}]}}"#),
            )
        };
        let node = "NodePartiallyUpdated";
        for key in ["Path", "Path.x", "Name", "Type", "TID", "EncapType"] {
            assert_eq!(partial(node, "own", key), key.split('.').next(), "{key}");
            assert_eq!(partial(node, "pub", key), None);
        }
        assert_eq!(partial(node, "own", "Ext.Path"), None);
        assert_eq!(
            partial("EdgePartiallyUpdated", "e", "RelationType"),
            Some("RelationType")
        );
        assert_eq!(partial("EdgePartiallyUpdated", "e", "Weight"), None);
        let owns =
            r#"{"ID":"e","Parent":"own","Child":"pub","Metadata":{"RelationType":"ownership"}}"#;
        assert_eq!(changed_key("EdgeUpdated", owns), Some("RelationType"));
        assert_eq!(changed_key("NodeDeleted", r#"{"ID":"own"}"#), None);
        let deleted = |kind: &str, text: &str| message(kind, text).deleted_origin(&graph);
        assert_eq!(
            deleted("NodeDeleted", r#"{"ID":"own","Origin":"t.p"}"#).as_deref(),
            Some("agent.h")
        );
        assert_eq!(
            deleted("NodeDeleted", r#"{"ID":"pub"}"#).as_deref(),
            Some("t.p")
        );
        assert_eq!(deleted("EdgeDeleted", owns).as_deref(), Some("agent.h"));
        assert_eq!(deleted("NodeDeleted", r#"{"ID":"absent"}"#), None);
        assert_eq!(deleted("Sync", r#"{"Nodes":[{"ID":"own"}]}"#), None);
    }
}
