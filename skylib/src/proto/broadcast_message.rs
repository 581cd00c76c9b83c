//! `BroadcastMessage`: one message for any number of receivers, encoded once for all of them.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Serialize;

use super::message::{write_json, write_message};
use super::{Encoding, GRAPH};
use crate::graph::{Edge, GraphEvent, MetadataOp, Node};
use crate::id::Id;
use crate::time::Timestamp;

/// How a subscriber wants to hear of updates. Complete by definition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpdatePolicy {
    /// The whole element.
    #[default]
    Full,
    /// Only what changed.
    Partial,
}

impl UpdatePolicy {
    /// Reads the value of `X-Update-Policy`, in any case; empty means full.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "" => Some(Self::Full),
            _ if name.eq_ignore_ascii_case("full") => Some(Self::Full),
            _ if name.eq_ignore_ascii_case("partial") => Some(Self::Partial),
            _ => None,
        }
    }
}

/// A message that the daemon sends: made once, handed to every subscriber's queue.
///
/// ```
/// use std::sync::Arc;
/// use skylib::graph::{GraphEvent, Metadata, Node};
/// use skylib::proto::{Encoding, BroadcastMessage, UpdatePolicy};
/// use skylib::time::Timestamp;
///
/// let node = Node::new("n1", Metadata::new(), Timestamp::from_ms(1));
/// let message = BroadcastMessage::graph_event(GraphEvent::NodeAdded(Arc::new(node)));
/// let text = message.encoded(Encoding::Json, UpdatePolicy::Full);
/// assert!(text.starts_with(br#"{"Namespace":"Graph","Type":"NodeAdded","UUID":""#));
/// ```
#[derive(Debug)]
pub struct BroadcastMessage {
    namespace: Cow<'static, str>,
    uuid: Id,
    content: Content,
    weight: usize,
    sequence: u64,
    author: Option<u64>,
    encodings: [OnceLock<Bytes>; 4],
}

#[derive(Debug)]
enum Content {
    Graph(GraphEvent),
    Object {
        kind: Cow<'static, str>,
        json: Bytes,
    },
}

impl BroadcastMessage {
    /// The message for something that happened to the graph.
    #[must_use]
    pub fn graph_event(event: GraphEvent) -> Self {
        // Once as it is, once as text.
        let weight = BASE_WEIGHT + 2 * event.metadata_bytes();
        Self::new(Cow::Borrowed(GRAPH), Content::Graph(event), weight)
    }

    /// A message of any namespace around an object that is JSON text already.
    #[must_use]
    pub fn object(
        namespace: impl Into<Cow<'static, str>>,
        kind: impl Into<Cow<'static, str>>,
        json: impl Into<Bytes>,
    ) -> Self {
        let json = json.into();
        // Once as it is, once in its envelope.
        let weight = BASE_WEIGHT + 2 * json.len();
        Self::new(
            namespace.into(),
            Content::Object {
                kind: kind.into(),
                json,
            },
            weight,
        )
    }

    fn new(namespace: Cow<'static, str>, content: Content, weight: usize) -> Self {
        let encodings = Default::default();
        Self {
            namespace,
            uuid: Id::random(),
            content,
            weight,
            sequence: 0,
            author: None,
            encodings,
        }
    }

    /// Says after which change of the graph this happened ([`Graph::sequence`]), so that a
    /// subscriber can order it against a reply that shows the graph as of some sequence number.
    ///
    /// [`Graph::sequence`]: crate::graph::Graph::sequence
    #[must_use]
    pub fn with_sequence(mut self, sequence: u64) -> Self {
        self.sequence = sequence;
        self
    }

    /// Says which connection caused it, so that it is not sent back to that one.
    #[must_use]
    pub fn with_author(mut self, author: Option<u64>) -> Self {
        self.author = author;
        self
    }

    /// The namespace that receivers select by.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The connection that caused it, if it was one.
    #[must_use]
    pub const fn author(&self) -> Option<u64> {
        self.author
    }

    /// The change of the graph it tells of; 0 if of none.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What happened to the graph, if that is what it tells.
    #[must_use]
    pub const fn event(&self) -> Option<&GraphEvent> {
        match &self.content {
            Content::Graph(event) => Some(event),
            Content::Object { .. } => None,
        }
    }

    /// Roughly how many bytes it takes in a queue; the same at every call.
    #[must_use]
    pub const fn weight(&self) -> usize {
        self.weight
    }

    /// The message in one encoding, made by the first caller and shared with all others.
    pub fn encoded(&self, encoding: Encoding, policy: UpdatePolicy) -> Bytes {
        let partial = match (policy, &self.content) {
            (UpdatePolicy::Partial, Content::Graph(event)) => Partial::of(event),
            _ => None,
        };
        let slot = match (encoding, partial.is_some()) {
            (Encoding::Json, false) => 0,
            (Encoding::Protobuf, false) => 1,
            (Encoding::Json, true) => 2,
            (Encoding::Protobuf, true) => 3,
        };
        self.encodings[slot]
            .get_or_init(|| self.encode(encoding, partial))
            .clone()
    }

    fn encode(&self, encoding: Encoding, partial: Option<Partial<'_>>) -> Bytes {
        let kind = match (&self.content, partial) {
            (Content::Object { kind, .. }, _) => kind,
            (Content::Graph(_), Some(partial)) => partial.kind(),
            (Content::Graph(event), None) => kind_of(event),
        };
        let uuid = self.uuid.to_string();
        write_message(
            encoding,
            &self.namespace,
            kind,
            &uuid,
            STATUS_OK,
            |out| match (&self.content, partial) {
                (Content::Object { json, .. }, _) => out.extend_from_slice(json),
                (Content::Graph(_), Some(partial)) => write_json(out, &partial),
                (Content::Graph(event), None) => match event {
                    GraphEvent::NodeAdded(node)
                    | GraphEvent::NodeUpdated { node, .. }
                    | GraphEvent::NodeDeleted(node) => write_json(out, node),
                    GraphEvent::EdgeAdded(edge)
                    | GraphEvent::EdgeUpdated { edge, .. }
                    | GraphEvent::EdgeDeleted(edge) => write_json(out, edge),
                },
            },
        )
        .into()
    }
}

const fn kind_of(event: &GraphEvent) -> &'static str {
    match event {
        GraphEvent::NodeAdded(_) => "NodeAdded",
        GraphEvent::NodeUpdated { .. } => "NodeUpdated",
        GraphEvent::NodeDeleted(_) => "NodeDeleted",
        GraphEvent::EdgeAdded(_) => "EdgeAdded",
        GraphEvent::EdgeUpdated { .. } => "EdgeUpdated",
        GraphEvent::EdgeDeleted(_) => "EdgeDeleted",
    }
}

/// An update as the operations that make it.
#[derive(Clone, Copy)]
enum Partial<'a> {
    Node(&'a Arc<Node>, &'a [MetadataOp]),
    Edge(&'a Arc<Edge>, &'a [MetadataOp]),
}

impl<'a> Partial<'a> {
    /// `None` for what is no update, and for one that no operations can express.
    fn of(event: &'a GraphEvent) -> Option<Self> {
        match event {
            GraphEvent::NodeUpdated {
                node,
                ops: Some(ops),
            } => Some(Self::Node(node, ops)),
            GraphEvent::EdgeUpdated {
                edge,
                ops: Some(ops),
            } => Some(Self::Edge(edge, ops)),
            _ => None,
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Node(..) => "NodePartiallyUpdated",
            Self::Edge(..) => "EdgePartiallyUpdated",
        }
    }
}

impl Serialize for Partial<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Wire<'a, I> {
            #[serde(rename = "ID")]
            id: &'a I,
            updated_at: i64,
            revision: i64,
            ops: &'a [MetadataOp],
        }

        let ms = Timestamp::as_ms;
        match self {
            Self::Node(node, ops) => {
                let (updated_at, revision) = (ms(node.updated_at), node.revision);
                Wire {
                    id: &node.id,
                    updated_at,
                    revision,
                    ops,
                }
                .serialize(serializer)
            }
            Self::Edge(edge, ops) => {
                let (updated_at, revision) = (ms(edge.updated_at), edge.revision);
                Wire {
                    id: &edge.id,
                    updated_at,
                    revision,
                    ops,
                }
                .serialize(serializer)
            }
        }
    }
}

/// What an element weighs besides its metadata: ids, times, the envelope.
const BASE_WEIGHT: usize = 700;
const STATUS_OK: i64 = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Metadata, Origin};
    use crate::proto::Message;

    const AT: Timestamp = Timestamp::from_ms(7);

    fn node() -> Arc<Node> {
        let metadata = Metadata::from_iter([("Name", "eth0")]);
        let mut node =
            Node::new("n1", metadata, Timestamp::from_ms(1)).with_origin(Origin::new("t", "h"));
        node.updated_at = AT;
        node.revision = 2;
        Arc::new(node)
    }

    fn edge() -> Arc<Edge> {
        Arc::new(Edge::new("e1", "n1", "n2", Metadata::new(), AT))
    }

    fn ops() -> Option<Arc<[MetadataOp]>> {
        Some([MetadataOp::set("Ext.Id", 5), MetadataOp::delete("Old")].into())
    }

    fn shown(
        message: &BroadcastMessage,
        encoding: Encoding,
        policy: UpdatePolicy,
    ) -> (String, String) {
        let decoded = Message::decode(&message.encoded(encoding, policy), encoding).unwrap();
        assert_eq!((decoded.namespace.as_str(), decoded.status), ("Graph", 200));
        assert_eq!(decoded.uuid.unwrap().len(), 36);
        (decoded.kind, decoded.object.json().unwrap().to_owned())
    }

    #[test]
    fn every_event_has_its_message_in_both_encodings() {
        let whole_node = serde_json::to_string(&node()).unwrap();
        let whole_edge = serde_json::to_string(&edge()).unwrap();
        for (event, kind, object) in [
            (GraphEvent::NodeAdded(node()), "NodeAdded", &whole_node),
            (
                GraphEvent::NodeUpdated {
                    node: node(),
                    ops: ops(),
                },
                "NodeUpdated",
                &whole_node,
            ),
            (GraphEvent::NodeDeleted(node()), "NodeDeleted", &whole_node),
            (GraphEvent::EdgeAdded(edge()), "EdgeAdded", &whole_edge),
            (
                GraphEvent::EdgeUpdated {
                    edge: edge(),
                    ops: None,
                },
                "EdgeUpdated",
                &whole_edge,
            ),
            (GraphEvent::EdgeDeleted(edge()), "EdgeDeleted", &whole_edge),
        ] {
            let message = BroadcastMessage::graph_event(event);
            for encoding in [Encoding::Json, Encoding::Protobuf] {
                let got = shown(&message, encoding, UpdatePolicy::Full);
                assert_eq!(got, (kind.to_owned(), object.clone()));
            }
        }
    }

    #[test]
    fn partial_receivers_get_the_operations_where_there_are_any() {
        let partial = |event| {
            shown(
                &BroadcastMessage::graph_event(event),
                Encoding::Json,
                UpdatePolicy::Partial,
            )
        };
        let (kind, object) = partial(GraphEvent::NodeUpdated {
            node: node(),
            ops: ops(),
        });
        assert_eq!(kind, "NodePartiallyUpdated");
        let wanted = concat!(
            r#"{"ID":"n1","UpdatedAt":7,"Revision":2,"Ops":[{"Type":1,"Key":"Ext.Id","Value":5},"#,
            r#"{"Type":2,"Key":"Old","Value":null}]}"#
        );
        assert_eq!(object, wanted);
        let none: Option<Arc<[MetadataOp]>> = Some([].into());
        let (kind, object) = partial(GraphEvent::EdgeUpdated {
            edge: edge(),
            ops: none,
        });
        assert_eq!(kind, "EdgePartiallyUpdated");
        assert!(object.ends_with(r#""Ops":[]}"#), "{object}");
        let (kind, _) = partial(GraphEvent::NodeUpdated {
            node: node(),
            ops: None,
        });
        assert_eq!(kind, "NodeUpdated", "a change that no operation expresses");
        let (kind, _) = partial(GraphEvent::NodeAdded(node()));
        assert_eq!(kind, "NodeAdded");
    }

    #[test]
    fn an_encoding_is_made_once_and_shared() {
        let message = BroadcastMessage::graph_event(GraphEvent::NodeUpdated {
            node: node(),
            ops: ops(),
        });
        let all = [Encoding::Json, Encoding::Protobuf]
            .map(|e| [UpdatePolicy::Full, UpdatePolicy::Partial].map(|p| message.encoded(e, p)));
        let mut places: Vec<*const u8> = all.iter().flatten().map(|b| b.as_ptr()).collect();
        places.sort();
        places.dedup();
        assert_eq!(places.len(), 4, "four different texts");
        let again = message.encoded(Encoding::Json, UpdatePolicy::Full);
        assert_eq!(again.as_ptr(), all[0][0].as_ptr());
        let added = BroadcastMessage::graph_event(GraphEvent::NodeAdded(node()));
        let full = added.encoded(Encoding::Json, UpdatePolicy::Full);
        let partial = added.encoded(Encoding::Json, UpdatePolicy::Partial);
        assert_eq!(
            full.as_ptr(),
            partial.as_ptr(),
            "no second text where both are the same"
        );
    }

    #[test]
    fn objects_keep_their_namespace_author_and_order() {
        let message = BroadcastMessage::object("flow/c1".to_owned(), "store", "[]")
            .with_author(Some(3))
            .with_sequence(9);
        assert_eq!(
            (message.namespace(), message.author(), message.sequence()),
            ("flow/c1", Some(3), 9)
        );
        assert!(message.event().is_none());
        let bytes = message.encoded(Encoding::Protobuf, UpdatePolicy::Partial);
        let decoded = Message::decode(&bytes, Encoding::Protobuf).unwrap();
        assert_eq!(
            (decoded.kind.as_str(), decoded.object.json().unwrap()),
            ("store", "[]")
        );
        assert!(message.weight() >= 2);
    }

    #[test]
    fn policies_are_read_in_any_case() {
        assert_eq!(UpdatePolicy::parse(""), Some(UpdatePolicy::Full));
        assert_eq!(UpdatePolicy::parse("FULL"), Some(UpdatePolicy::Full));
        assert_eq!(UpdatePolicy::parse("Partial"), Some(UpdatePolicy::Partial));
        assert_eq!(UpdatePolicy::parse("delta"), None);
    }
}
