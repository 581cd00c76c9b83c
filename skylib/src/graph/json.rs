//! Nodes and edges as JSON, key order and input rules as clients know them.

use serde::de::Error as _;
use serde::ser::SerializeStruct;

use super::{Edge, EdgeId, GraphError, Metadata, Node, NodeId};
use crate::time::Timestamp;
use crate::value::Text;

impl serde::Serialize for Node {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Node", 8)?;
        fields.serialize_field("ID", &self.id)?;
        fields.serialize_field("Metadata", &self.metadata)?;
        fields.serialize_field("Host", &self.host)?;
        fields.serialize_field("Origin", &self.origin)?;
        fields.serialize_field("CreatedAt", &self.created_at.as_ms())?;
        fields.serialize_field("UpdatedAt", &self.updated_at.as_ms())?;
        fields.serialize_field("DeletedAt", &self.deleted_at.map(Timestamp::as_ms))?;
        fields.serialize_field("Revision", &self.revision)?;
        fields.end()
    }
}

impl serde::Serialize for Edge {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Edge", 10)?;
        fields.serialize_field("ID", &self.id)?;
        fields.serialize_field("Metadata", &self.metadata)?;
        fields.serialize_field("Host", &self.host)?;
        fields.serialize_field("Origin", &self.origin)?;
        fields.serialize_field("CreatedAt", &self.created_at.as_ms())?;
        fields.serialize_field("UpdatedAt", &self.updated_at.as_ms())?;
        fields.serialize_field("DeletedAt", &self.deleted_at.map(Timestamp::as_ms))?;
        fields.serialize_field("Revision", &self.revision)?;
        fields.serialize_field("Parent", &self.parent)?;
        fields.serialize_field("Child", &self.child)?;
        fields.end()
    }
}

/// What may be written of an element; everything may be missing or `null`.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Wire {
    #[serde(rename = "ID")]
    id: Option<String>,
    metadata: Option<Metadata>,
    host: Option<Text>,
    origin: Option<Text>,
    created_at: Option<i64>,
    updated_at: Option<i64>,
    deleted_at: Option<i64>,
    revision: Option<i64>,
    parent: Option<String>,
    child: Option<String>,
}

fn time(ms: Option<i64>) -> Timestamp {
    ms.map_or(Timestamp::ZERO, Timestamp::from_ms)
}

impl TryFrom<Wire> for Node {
    type Error = GraphError;

    fn try_from(wire: Wire) -> Result<Self, GraphError> {
        let id = NodeId::from(wire.id.unwrap_or_default());
        if id.is_empty() {
            return Err(GraphError::MissingId);
        }
        Ok(Self {
            id,
            metadata: wire.metadata.unwrap_or_default(),
            host: wire.host.unwrap_or_default(),
            origin: wire.origin.unwrap_or_default(),
            created_at: time(wire.created_at),
            updated_at: time(wire.updated_at),
            deleted_at: wire.deleted_at.map(Timestamp::from_ms),
            revision: wire.revision.unwrap_or_default(),
        })
    }
}

impl TryFrom<Wire> for Edge {
    type Error = GraphError;

    fn try_from(wire: Wire) -> Result<Self, GraphError> {
        let id = EdgeId::from(wire.id.unwrap_or_default());
        if id.is_empty() {
            return Err(GraphError::MissingId);
        }
        let parent = NodeId::from(wire.parent.unwrap_or_default());
        if parent.is_empty() {
            return Err(GraphError::MissingParent);
        }
        let child = NodeId::from(wire.child.unwrap_or_default());
        if child.is_empty() {
            return Err(GraphError::MissingChild);
        }
        Ok(Self {
            id,
            parent,
            child,
            metadata: wire.metadata.unwrap_or_default(),
            host: wire.host.unwrap_or_default(),
            origin: wire.origin.unwrap_or_default(),
            created_at: time(wire.created_at),
            updated_at: time(wire.updated_at),
            deleted_at: wire.deleted_at.map(Timestamp::from_ms),
            revision: wire.revision.unwrap_or_default(),
        })
    }
}

macro_rules! reading {
    ($name:ident) => {
        impl<'de> serde::Deserialize<'de> for $name {
            /// Times that are missing are left at zero: see `stamp`.
            fn deserialize<D: serde::Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
                Self::try_from(Wire::deserialize(de)?).map_err(D::Error::custom)
            }
        }

        impl $name {
            /// Reads one element from JSON; missing times become `now`.
            ///
            /// # Errors
            /// `No ID found for graph element` and its like for what is missing, or where the
            /// text is no such JSON.
            pub fn from_json(json: &[u8], now: Timestamp) -> Result<Self, GraphError> {
                let wire: Wire = serde_json::from_slice(json)
                    .map_err(|error| GraphError::Malformed(error.to_string()))?;
                let mut element = Self::try_from(wire)?;
                element.stamp(now);
                Ok(element)
            }

            /// Gives creation and update times that were missing on the wire a value.
            pub fn stamp(&mut self, now: Timestamp) {
                for time in [&mut self.created_at, &mut self.updated_at] {
                    if *time == Timestamp::ZERO {
                        *time = now;
                    }
                }
            }
        }
    };
}

reading!(Node);
reading!(Edge);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
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
        assert!(node(r#"{"ID":"n","CreatedAt":"1"}"#).is_err());
        assert!(node(r#"{"ID":"n","CreatedAt":1.0}"#).is_err());
        let node = node(r#"{"ID":"n","Metadata":null,"CreatedAt":null}"#).unwrap();
        assert_eq!(
            (node.created_at, node.revision, node.metadata.len()),
            (now, 0, 0)
        );
    }

    #[test]
    fn json_comes_back_as_it_was() {
        let json = r#"{"ID":"e","Metadata":{"A":[1,{"B":null}]},"Host":"h","Origin":"o.h","#
            .to_owned()
            + r#""CreatedAt":1,"UpdatedAt":2,"DeletedAt":3,"Revision":4,"#
            + r#""Parent":"p","Child":"c"}"#;
        let edge: Edge = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&edge).unwrap(), json);
    }
}
