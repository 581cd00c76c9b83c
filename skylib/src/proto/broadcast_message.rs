//! `BroadcastMessage`: a message for any number of receivers, encoded once for all of them.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Serialize;

use super::message::{write_json, write_message, write_protobuf};
use super::{Encoding, GRAPH};
use crate::graph::{Edge, GraphEvent, MetadataOp, Node};
use crate::id::Id;
use crate::memory::{MemoryBudget, MemoryCharge, MemoryUse};
use crate::time::Timestamp;

/// Content of the updates that a subscriber receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UpdatePolicy {
    /// The whole element.
    #[default]
    Full,
    /// Only the changes.
    Partial,
}

impl FromStr for UpdatePolicy {
    type Err = ParseUpdatePolicyError;

    /// Parses the value of the header `X-Update-Policy`, case-insensitively; an empty value means
    /// full.
    ///
    /// # Errors
    /// Returns [`ParseUpdatePolicyError`] for any value other than `full` and `partial`.
    fn from_str(name: &str) -> Result<Self, ParseUpdatePolicyError> {
        match name {
            "" => Ok(Self::Full),
            _ if name.eq_ignore_ascii_case("full") => Ok(Self::Full),
            _ if name.eq_ignore_ascii_case("partial") => Ok(Self::Partial),
            _ => Err(ParseUpdatePolicyError),
        }
    }
}

/// Error returned if a string is not a valid [`UpdatePolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown update policy; expected full or partial")]
pub struct ParseUpdatePolicyError;

/// A message that the daemon sends to subscribers: shared by their queues, and encoded lazily, at
/// most once for each combination of [`Encoding`] and [`UpdatePolicy`].
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
    /// Approximate memory of the message, in bytes; constant.
    weight: usize,
    /// Sequence number of the graph after the change; 0 if none.
    sequence: u64,
    /// Connection that caused the message.
    author: Option<u64>,
    /// Charge for the memory of the message, released after the last receiver has sent it.
    _memory: Option<MemoryCharge>,
    /// Encoded forms: JSON, protobuf, JSON of a partial update, protobuf of a partial update.
    encodings: [OnceLock<Bytes>; 4],
}

/// Content of a message before its encoding.
#[derive(Debug)]
enum Content {
    Graph(GraphEvent),
    Object {
        kind: Cow<'static, str>,
        json: Bytes,
        /// Protobuf form of the object, if it has one.
        protobuf: Option<Bytes>,
    },
}

impl BroadcastMessage {
    /// Returns the message for a change to the graph.
    #[must_use]
    pub fn graph_event(event: GraphEvent) -> Self {
        // The metadata are held once as values and once as encoded bytes.
        let weight = BASE_WEIGHT + 2 * event.metadata_bytes();
        Self::new(Cow::Borrowed(GRAPH), Content::Graph(event), weight)
    }

    /// Returns a message of any namespace with an object that is already JSON.
    #[must_use]
    pub fn object(
        namespace: impl Into<Cow<'static, str>>,
        kind: impl Into<Cow<'static, str>>,
        json: impl Into<Bytes>,
    ) -> Self {
        let json = json.into();
        // The JSON is held once alone and once inside the envelope.
        let weight = BASE_WEIGHT + 2 * json.len();
        Self::new(
            namespace.into(),
            Content::Object {
                kind: kind.into(),
                json,
                protobuf: None,
            },
            weight,
        )
    }

    /// Sets the protobuf form of an object. Clients with that encoding receive it instead of the
    /// JSON.
    #[must_use]
    pub fn with_protobuf(mut self, bytes: impl Into<Bytes>) -> Self {
        if let Content::Object { protobuf, .. } = &mut self.content {
            let bytes = bytes.into();
            self.weight += bytes.len();
            *protobuf = Some(bytes);
        }
        self
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
            _memory: None,
            encodings,
        }
    }

    /// Counts the memory of the message in a budget until the last receiver has sent the message.
    #[must_use]
    pub fn with_memory(mut self, budget: &MemoryBudget) -> Self {
        let charge = budget.charge(MemoryUse::Queues);
        charge.count(self.weight);
        self._memory = Some(charge);
        self
    }

    /// Sets the sequence number of the graph after the change ([`Graph::sequence`]).
    ///
    /// The connection to a subscriber uses this number to skip changes that are already part of the
    /// snapshot sent to the subscriber.
    ///
    /// [`Graph::sequence`]: crate::graph::Graph::sequence
    #[must_use]
    pub fn with_sequence(mut self, sequence: u64) -> Self {
        self.sequence = sequence;
        self
    }

    /// Sets the connection that caused the message, which does not receive it.
    #[must_use]
    pub fn with_author(mut self, author: Option<u64>) -> Self {
        self.author = author;
        self
    }

    /// Returns the namespace, by which receivers filter messages.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the connection that caused the message; `None` if no connection did.
    #[must_use]
    pub const fn author(&self) -> Option<u64> {
        self.author
    }

    /// Returns the sequence number of the graph after the change; 0 if there was no change.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the change to the graph; `None` for other messages.
    #[must_use]
    pub const fn event(&self) -> Option<&GraphEvent> {
        match &self.content {
            Content::Graph(event) => Some(event),
            Content::Object { .. } => None,
        }
    }

    /// Returns the approximate memory that the message occupies in a queue, in bytes; constant.
    #[must_use]
    pub const fn weight(&self) -> usize {
        self.weight
    }

    /// Returns the encoded message; the first call encodes it, and later calls share the bytes.
    pub fn encoded(&self, encoding: Encoding, policy: UpdatePolicy) -> Bytes {
        let partial = match (policy, &self.content) {
            (UpdatePolicy::Partial, Content::Graph(event)) => PartialObject::of(event),
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

    fn encode(&self, encoding: Encoding, partial: Option<PartialObject<'_>>) -> Bytes {
        let kind = match (&self.content, partial) {
            (Content::Object { kind, .. }, _) => kind,
            (Content::Graph(_), Some(partial)) => partial.kind(),
            (Content::Graph(event), None) => kind_of(event),
        };
        let uuid = self.uuid.to_string();
        if let (
            Encoding::Protobuf,
            Content::Object {
                protobuf: Some(object),
                ..
            },
        ) = (encoding, &self.content)
        {
            let object = object.clone();
            return write_protobuf(&self.namespace, kind, &uuid, STATUS_OK, object).into();
        }
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

/// Update of an element as a list of operations.
#[derive(Clone, Copy)]
enum PartialObject<'a> {
    Node(&'a Arc<Node>, &'a [MetadataOp]),
    Edge(&'a Arc<Edge>, &'a [MetadataOp]),
}

impl<'a> PartialObject<'a> {
    /// Returns the update of an event; `None` for other events, and for updates that operations
    /// cannot express.
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

impl Serialize for PartialObject<'_> {
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

/// Approximate memory of a message without its metadata (ids, times, envelope), in bytes.
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
    fn partial_receivers_get_the_operations_if_there_are_any() {
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
    fn an_encoding_is_produced_once_and_shared() {
        let message = BroadcastMessage::graph_event(GraphEvent::NodeUpdated {
            node: node(),
            ops: ops(),
        });
        let all = [Encoding::Json, Encoding::Protobuf]
            .map(|e| [UpdatePolicy::Full, UpdatePolicy::Partial].map(|p| message.encoded(e, p)));
        let mut addresses: Vec<*const u8> = all.iter().flatten().map(|b| b.as_ptr()).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 4, "four different texts");
        let again = message.encoded(Encoding::Json, UpdatePolicy::Full);
        assert_eq!(again.as_ptr(), all[0][0].as_ptr());
        let added = BroadcastMessage::graph_event(GraphEvent::NodeAdded(node()));
        let full = added.encoded(Encoding::Json, UpdatePolicy::Full);
        let partial = added.encoded(Encoding::Json, UpdatePolicy::Partial);
        assert_eq!(
            full.as_ptr(),
            partial.as_ptr(),
            "no second text if both are the same"
        );
    }

    #[test]
    fn objects_retain_their_namespace_author_and_order() {
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
    fn an_object_with_a_protobuf_form_is_sent_in_it_to_protobuf_clients() {
        let message =
            BroadcastMessage::object("stats", "stats", "{}").with_protobuf(&b"\x08\x05"[..]);
        let decoded = |encoding| {
            let bytes = message.encoded(encoding, UpdatePolicy::Full);
            Message::decode(&bytes, encoding).unwrap().object
        };
        assert_eq!(decoded(Encoding::Json).json().unwrap(), "{}");
        let object = decoded(Encoding::Protobuf);
        assert_eq!(
            object,
            crate::proto::Object::Protobuf(Bytes::from_static(b"\x08\x05"))
        );
    }

    #[test]
    fn policies_are_parsed_in_any_case() {
        assert_eq!("".parse(), Ok(UpdatePolicy::Full));
        assert_eq!("FULL".parse(), Ok(UpdatePolicy::Full));
        assert_eq!("Partial".parse(), Ok(UpdatePolicy::Partial));
        assert!("delta".parse::<UpdatePolicy>().is_err());
    }
}
