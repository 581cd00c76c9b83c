//! JSON of nodes and edges, with the key order and the input rules of Skydive.

use std::fmt;

use serde::de::Error as _;
use serde::ser::SerializeStruct;

use super::element::Element;
use super::typed_keys;
use super::{Edge, EdgeId, GraphError, Metadata, Node, NodeId};
use crate::id::Id;
use crate::time::Timestamp;
use crate::value::{JsonWriter, Text};

fn write<E: Element, S: serde::Serializer>(element: &E, serializer: S) -> Result<S::Ok, S::Error> {
    let fields = element.fields();
    let len = if fields.ends.is_some() { 10 } else { 8 };
    let mut json = serializer.serialize_struct("Element", len)?;
    json.serialize_field("ID", fields.id)?;
    json.serialize_field("Metadata", element.metadata())?;
    json.serialize_field("Host", fields.host)?;
    json.serialize_field("Origin", fields.origin)?;
    json.serialize_field("CreatedAt", &fields.created_at.as_ms())?;
    json.serialize_field("UpdatedAt", &fields.updated_at.as_ms())?;
    json.serialize_field("DeletedAt", &fields.deleted_at.map(Timestamp::as_ms))?;
    json.serialize_field("Revision", &fields.revision)?;
    if let Some((parent, child)) = fields.ends {
        json.serialize_field("Parent", parent)?;
        json.serialize_field("Child", child)?;
    }
    json.end()
}

/// Writes the same JSON as [`write`], without `serde`.
fn write_text<E: Element>(element: &E, out: &mut JsonWriter) {
    let fields = element.fields();
    out.constant(b"{\"ID\":");
    write_id(fields.id, out);
    out.constant(b",\"Metadata\":");
    out.map(element.metadata());
    out.constant(b",\"Host\":");
    out.text(fields.host);
    out.constant(b",\"Origin\":");
    out.text(fields.origin);
    out.constant(b",\"CreatedAt\":");
    out.int(fields.created_at.as_ms());
    out.constant(b",\"UpdatedAt\":");
    out.int(fields.updated_at.as_ms());
    match fields.deleted_at {
        None => out.constant(b",\"DeletedAt\":null,\"Revision\":"),
        Some(time) => {
            out.constant(b",\"DeletedAt\":");
            out.int(time.as_ms());
            out.constant(b",\"Revision\":");
        }
    }
    out.int(fields.revision);
    if let Some((parent, child)) = fields.ends {
        out.constant(b",\"Parent\":");
        write_id(parent.as_id(), out);
        out.constant(b",\"Child\":");
        write_id(child.as_id(), out);
    }
    out.constant(b"}");
}

fn write_id(id: &Id, out: &mut JsonWriter) {
    match id.as_uuid() {
        Some(uuid) => out.uuid(uuid.into_bytes()),
        None => id.with_text(|text| out.string(text)),
    }
}

/// Element with a fast JSON writer.
pub(crate) trait WriteJson {
    /// Writes the same JSON as [`serde_json`].
    fn write_json(&self, out: &mut JsonWriter);
}

/// Element on the wire; every field may be missing or `null`.
#[derive(Default)]
struct Wire {
    id: Option<Id>,
    metadata: Option<Metadata>,
    host: Option<Text>,
    origin: Option<Text>,
    created_at: Option<Ms>,
    updated_at: Option<Ms>,
    deleted_at: Option<Ms>,
    revision: Option<i64>,
    parent: Option<Id>,
    child: Option<Id>,
}

/// Unix milliseconds; only an integer is accepted.
#[derive(Clone, Copy)]
struct Ms(Timestamp);

impl<'de> serde::Deserialize<'de> for Ms {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer).map(|ms| Self(Timestamp::from_ms(ms)))
    }
}

/// Keys in Skydive's order.
const KEYS: [&str; 10] = [
    "ID",
    "Metadata",
    "Host",
    "Origin",
    "CreatedAt",
    "UpdatedAt",
    "DeletedAt",
    "Revision",
    "Parent",
    "Child",
];

/// Position of a key in [`KEYS`], and whether the case of its letters is the same; `None` for an
/// unknown key.
struct Key(Option<(usize, bool)>);

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E>(self, text: &str) -> Result<Key, E> {
                let exact = KEYS
                    .iter()
                    .position(|key| *key == text)
                    .map(|key| (key, true));
                let like = |key: &&str| key.eq_ignore_ascii_case(text);
                let key = exact.or_else(|| Some((KEYS.iter().position(like)?, false)));
                Ok(Key(key))
            }
        }
        deserializer.deserialize_identifier(Visitor)
    }
}

impl<'de> serde::Deserialize<'de> for Wire {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Wire;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a graph element")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Wire, A::Error> {
                let mut wire = Wire::default();
                // COMPAT: hand-written clients: keys match in any case, an exact match has priority.
                let mut settled = [false; KEYS.len()];
                while let Some(Key(key)) = map.next_key()? {
                    let Some((key, is_exact)) = key.filter(|(key, exact)| *exact || !settled[*key])
                    else {
                        map.next_value::<serde::de::IgnoredAny>()?;
                        continue;
                    };
                    settled[key] |= is_exact;
                    match key {
                        0 => wire.id = map.next_value()?,
                        1 => wire.metadata = map.next_value()?,
                        2 => wire.host = map.next_value()?,
                        3 => wire.origin = map.next_value()?,
                        4 => wire.created_at = map.next_value()?,
                        5 => wire.updated_at = map.next_value()?,
                        6 => wire.deleted_at = map.next_value()?,
                        7 => wire.revision = map.next_value()?,
                        8 => wire.parent = map.next_value()?,
                        _ => wire.child = map.next_value()?,
                    }
                }
                Ok(wire)
            }
        }
        deserializer.deserialize_struct("Element", &KEYS, Visitor)
    }
}

fn time(ms: Option<Ms>) -> Timestamp {
    ms.map_or(Timestamp::ZERO, |ms| ms.0)
}

fn required(id: Option<Id>, missing: GraphError) -> Result<Id, GraphError> {
    id.filter(|id| !id.is_empty()).ok_or(missing)
}

impl TryFrom<Wire> for Node {
    type Error = GraphError;

    fn try_from(wire: Wire) -> Result<Self, GraphError> {
        let metadata = wire.metadata.unwrap_or_default();
        typed_keys::check(&metadata)?;
        Ok(Self {
            id: NodeId::from(required(wire.id, GraphError::MissingId)?),
            metadata,
            host: wire.host.unwrap_or_default(),
            origin: wire.origin.unwrap_or_default(),
            created_at: time(wire.created_at),
            updated_at: time(wire.updated_at),
            deleted_at: wire.deleted_at.map(|ms| ms.0),
            revision: wire.revision.unwrap_or_default(),
        })
    }
}

impl TryFrom<Wire> for Edge {
    type Error = GraphError;

    fn try_from(wire: Wire) -> Result<Self, GraphError> {
        Ok(Self {
            id: EdgeId::from(required(wire.id, GraphError::MissingId)?),
            parent: NodeId::from(required(wire.parent, GraphError::MissingParent)?),
            child: NodeId::from(required(wire.child, GraphError::MissingChild)?),
            metadata: wire.metadata.unwrap_or_default(),
            host: wire.host.unwrap_or_default(),
            origin: wire.origin.unwrap_or_default(),
            created_at: time(wire.created_at),
            updated_at: time(wire.updated_at),
            deleted_at: wire.deleted_at.map(|ms| ms.0),
            revision: wire.revision.unwrap_or_default(),
        })
    }
}

macro_rules! json {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                write(self, serializer)
            }
        }

        impl WriteJson for $name {
            fn write_json(&self, out: &mut JsonWriter) {
                write_text(self, out);
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            /// Deserializes an element; missing times become zero (see `stamp`).
            fn deserialize<D: serde::Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
                Self::try_from(Wire::deserialize(de)?).map_err(D::Error::custom)
            }
        }

        impl $name {
            /// Parses one element from JSON; missing times become `now`.
            ///
            /// # Errors
            /// Returns [`GraphError::MissingId`], [`GraphError::MissingParent`], or
            /// [`GraphError::MissingChild`] if one of these is missing or empty,
            /// [`GraphError::MetadataShape`] if a known metadata key of a node has a value of another
            /// shape, and [`GraphError::Malformed`] if `json` is not the JSON of an element.
            pub fn from_json(json: &[u8], now: Timestamp) -> Result<Self, GraphError> {
                let wire: Wire = serde_json::from_slice(json)
                    .map_err(|error| GraphError::Malformed(error.to_string()))?;
                let mut element = Self::try_from(wire)?;
                element.stamp(now);
                Ok(element)
            }

            /// Sets the creation and update times that are zero (missing in the JSON) to `now`, and
            /// removes the time of deletion: an element of the graph is alive, also if it is a copy
            /// of a deleted element.
            pub fn stamp(&mut self, now: Timestamp) {
                self.deleted_at = None;
                for time in [&mut self.created_at, &mut self.updated_at] {
                    if *time == Timestamp::ZERO {
                        *time = now;
                    }
                }
            }
        }
    };
}

json!(Node);
json!(Edge);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Origin;

    #[test]
    fn errors_name_what_is_missing() {
        let now = Timestamp::from_ms(7);
        let node = |json: &str| Node::from_json(json.as_bytes(), now).map_err(|e| e.to_string());
        let edge = |json: &str| Edge::from_json(json.as_bytes(), now).map_err(|e| e.to_string());
        assert_eq!(
            node(r#"{"Metadata":{}}"#).unwrap_err(),
            "No ID found for graph element"
        );
        assert_eq!(
            node(r#"{"ID":""}"#).unwrap_err(),
            "No ID found for graph element"
        );
        assert_eq!(
            edge(r#"{"ID":"e","Child":"c"}"#).unwrap_err(),
            "parent ID wrong format"
        );
        assert_eq!(
            edge(r#"{"ID":"e","Parent":"p"}"#).unwrap_err(),
            "child ID wrong format"
        );
        for bad in [
            r#"{"ID":"n","CreatedAt":"1"}"#,
            r#"{"ID":"n","CreatedAt":1.0}"#,
            r#"{"ID":"n","Metadata":[]}"#,
            r#"{"ID":7}"#,
            "null",
            "[]",
        ] {
            assert!(
                matches!(
                    Node::from_json(bad.as_bytes(), now),
                    Err(GraphError::Malformed(_))
                ),
                "{bad}"
            );
        }
        let node = node(r#"{"ID":"n","Metadata":null,"CreatedAt":null,"Odd":[{}]}"#).unwrap();
        assert_eq!(
            (node.created_at, node.revision, node.metadata.len()),
            (now, 0, 0)
        );
    }

    #[test]
    fn an_element_that_is_added_is_alive() {
        let now = Timestamp::from_ms(7);
        let json = br#"{"ID":"e","Parent":"p","Child":"c","CreatedAt":1,"DeletedAt":5}"#;
        let read: Edge = serde_json::from_slice(json).unwrap();
        assert_eq!(read.deleted_at, Some(Timestamp::from_ms(5)));
        let mut node: Node = serde_json::from_str(r#"{"ID":"n","DeletedAt":5}"#).unwrap();
        node.stamp(now);
        assert_eq!((node.created_at, node.deleted_at), (now, None));
        let edge = Edge::from_json(json, now).unwrap();
        assert_eq!(
            (edge.created_at, edge.deleted_at),
            (Timestamp::from_ms(1), None)
        );
    }

    #[test]
    fn json_round_trips() {
        let json = r#"{"ID":"e","Metadata":{"A":[1,{"B":null}]},"Host":"h","Origin":"o.h","#
            .to_owned()
            + r#""CreatedAt":1,"UpdatedAt":2,"DeletedAt":3,"Revision":4,"#
            + r#""Parent":"p","Child":"c"}"#;
        let edge: Edge = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&edge).unwrap(), json);
    }

    #[test]
    fn fast_json_is_the_same() {
        let living: Edge = serde_json::from_str(
            r#"{"ID":"276ec92a-884b-5251-af04-080c9c22b304","Metadata":{},"Host":"a host of some length",
            "Origin":"o\"h","CreatedAt":-1,"UpdatedAt":1700000000000,"Revision":4,"Parent":"p\n",
            "Child":"276EC92A-884B-5251-AF04-080C9C22B304"}"#,
        )
        .unwrap();
        let deleted = Edge {
            deleted_at: Some(Timestamp::from_ms(5)),
            ..living.clone()
        };
        let metadata = Metadata::from_iter([("A", 1)]);
        let node = Node::new("n", metadata, Timestamp::ZERO).with_origin(Origin::from_text("o"));
        let fast = |element: &dyn WriteJson| {
            let mut out = JsonWriter::with_room(0);
            element.write_json(&mut out);
            String::from_utf8(out.as_bytes().to_vec()).unwrap()
        };
        assert_eq!(fast(&living), serde_json::to_string(&living).unwrap());
        assert_eq!(fast(&deleted), serde_json::to_string(&deleted).unwrap());
        assert_eq!(fast(&node), serde_json::to_string(&node).unwrap());
    }

    #[test]
    fn keys_of_any_case_are_read_the_usual_spelling_wins() {
        let read = |json: &str| serde_json::from_str::<Node>(json).unwrap();
        let node = read(r#"{"id":"n","REVISION":3,"metadata":{"a":1}}"#);
        assert_eq!((node.revision, node.metadata.len()), (3, 1));
        assert_eq!(read(r#"{"ID":"a","id":"b"}"#).id, NodeId::from("a"));
        assert_eq!(read(r#"{"id":"b","ID":"a"}"#).id, NodeId::from("a"));
        assert_eq!(
            read(r#"{"ID":"b","ID":"a"}"#).id,
            NodeId::from("a"),
            "the last wins"
        );
    }
}
