//! Schema of the nodes and edges that publishers and REST clients add.
//!
//! Agents, replication, `Sync` messages, and partial updates are not checked.
//!
//! ```
//! use skylib::graph::schema;
//! let node = serde_json::from_str(r#"{"ID":"n1","Metadata":{"Type":"netns","Name":"blue"}}"#)?;
//! let fault = schema::check_node(&node).map_err(|fault| fault.to_string());
//! assert_eq!(fault, Err("invalid schema: Metadata: Path is required".to_owned()));
//! # Ok::<(), serde_json::Error>(())
//! ```

use super::Metadata;
use crate::value::{Map, Value};

/// Violations of the schema by one element; displayed as one message per line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid schema: {}", .messages.join("\n"))]
pub struct SchemaError {
    messages: Vec<String>,
}

/// Checks the JSON document of a node.
///
/// # Errors
/// [`SchemaError`] with all violations.
pub fn check_node(document: &Value) -> Result<(), SchemaError> {
    let mut faults = Faults::default();
    if let Some(node) = faults.element(document) {
        faults.metadata(node, Faults::node_metadata);
    }
    faults.into_result()
}

/// Checks the JSON document of an edge.
///
/// # Errors
/// [`SchemaError`] with all violations.
pub fn check_edge(document: &Value) -> Result<(), SchemaError> {
    let mut faults = Faults::default();
    if let Some(edge) = faults.element(document) {
        for end in ["Parent", "Child"] {
            faults.require_text("", edge, end);
        }
        faults.metadata(edge, Faults::edge_metadata);
    }
    faults.into_result()
}

/// Checks new metadata of a node.
///
/// # Errors
/// [`SchemaError`] with all violations.
pub fn check_node_metadata(metadata: &Metadata) -> Result<(), SchemaError> {
    let mut faults = Faults::default();
    faults.node_metadata(metadata);
    faults.into_result()
}

/// Checks new metadata of an edge.
///
/// # Errors
/// [`SchemaError`] with all violations.
pub fn check_edge_metadata(metadata: &Metadata) -> Result<(), SchemaError> {
    let mut faults = Faults::default();
    faults.edge_metadata(metadata);
    faults.into_result()
}

#[derive(Default)]
struct Faults {
    messages: Vec<String>,
}

impl Faults {
    fn into_result(self) -> Result<(), SchemaError> {
        if self.messages.is_empty() {
            Ok(())
        } else {
            Err(SchemaError {
                messages: self.messages,
            })
        }
    }

    fn add(&mut self, object: &str, message: &str) {
        let separator = if object.is_empty() { "" } else { ": " };
        self.messages.push(format!("{object}{separator}{message}"));
    }

    /// Checks the fields that nodes and edges have in common.
    fn element<'a>(&mut self, document: &'a Value) -> Option<&'a Map> {
        let Value::Map(element) = document else {
            self.add("", "an object is expected");
            return None;
        };
        self.require_text("", element, "ID");
        for key in ["Host", "Origin"] {
            if !matches!(element.get(key), None | Some(Value::Null | Value::Text(_))) {
                self.add("", &format!("{key} is neither a string nor null"));
            }
        }
        for key in ["CreatedAt", "UpdatedAt"] {
            if !matches!(element.get(key), None | Some(Value::Null | Value::Int(_))) {
                self.add("", &format!("{key} is neither an integer nor null"));
            }
        }
        Some(element)
    }

    fn metadata(&mut self, element: &Map, check: fn(&mut Self, &Map)) {
        match element.get("Metadata") {
            Some(Value::Map(metadata)) => check(self, metadata),
            Some(_) => self.add("", "Metadata is not an object"),
            None => self.add("", "Metadata is required"),
        }
    }

    /// Checks for a name and for what identifies the node: a type; in addition a path for a
    /// namespace and a UUID for an Open vSwitch port; either of these for a node without a type.
    fn node_metadata(&mut self, metadata: &Map) {
        self.require_text("Metadata", metadata, "Name");
        let has_text = |key| matches!(metadata.get(key), Some(Value::Text(_)));
        let fault = match metadata.get("Type") {
            None if has_text("Path") || has_text("UUID") => None,
            None => Some("Type is required, or Path, or UUID"),
            Some(Value::Text(kind)) => match kind.as_str() {
                "" => Some("Type is empty"),
                "netns" if !has_text("Path") => Some("Path is required"),
                "ovsport" if !has_text("UUID") => Some("UUID is required"),
                _ => None,
            },
            Some(_) => Some("Type is not a string"),
        };
        if let Some(fault) = fault {
            self.add("Metadata", fault);
        }
    }

    fn edge_metadata(&mut self, metadata: &Map) {
        self.require_text("Metadata", metadata, "RelationType");
    }

    fn require_text(&mut self, object: &str, map: &Map, key: &str) {
        let fault = match map.get(key) {
            Some(Value::Text(text)) if !text.is_empty() => return,
            Some(Value::Text(_)) => "empty",
            Some(_) => "not a string",
            None => "required",
        };
        self.add(object, &format!("{key} is {fault}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(check: fn(&Value) -> Result<(), SchemaError>, json: &str) -> String {
        let document = serde_json::from_str(json).unwrap();
        check(&document).map_or_else(|fault| fault.to_string(), |()| String::new())
    }

    fn node(metadata: &str) -> bool {
        fault(
            check_node,
            &format!(r#"{{"ID":"n","Metadata":{metadata}}}"#),
        )
        .is_empty()
    }

    #[test]
    fn nodes_are_known_by_type_path_or_uuid() {
        for good in [
            r#"{"Type":"device","Name":"eth0","Anything":[1]}"#,
            r#"{"Type":"netns","Name":"blue","Path":""}"#,
            r#"{"Name":"blue","Path":"/run/netns/blue"}"#,
            r#"{"Type":"ovsport","Name":"p","UUID":"u"}"#,
            r#"{"Name":"p","UUID":"u"}"#,
        ] {
            assert!(node(good), "{good}");
        }
        for bad in [
            "{}",
            "null",
            "[]",
            r#"{"Type":"device"}"#,
            r#"{"Type":"device","Name":""}"#,
            r#"{"Type":"device","Name":7}"#,
            r#"{"Type":"","Name":"x","Path":"p"}"#,
            r#"{"Type":null,"Name":"x","Path":"p"}"#,
            r#"{"Name":"x"}"#,
            r#"{"Type":"netns","Name":"x","UUID":"u"}"#,
            r#"{"Type":"ovsport","Name":"x","UUID":1}"#,
        ] {
            assert!(!node(bad), "{bad}");
        }
    }

    #[test]
    fn edges_have_ends_and_a_relation() {
        let good = r#"{"ID":"e","Parent":"p","Child":"c","Metadata":{"RelationType":"layer2"}}"#;
        assert_eq!(fault(check_edge, good), "");
        assert_eq!(
            fault(
                check_edge,
                r#"{"ID":"e","Parent":"","Metadata":{"RelationType":1}}"#
            ),
            "invalid schema: Parent is empty\nChild is required\n\
             Metadata: RelationType is not a string"
        );
    }

    #[test]
    fn the_envelope_is_checked_too() {
        let with = |more: &str| {
            let json = r#"{"ID":"n","Metadata":{"Type":"t","Name":"n"}"#.to_owned() + more + "}";
            fault(check_node, &json)
        };
        assert_eq!(with(r#","Host":null,"CreatedAt":null,"Extra":{}"#), "");
        assert_eq!(
            with(r#","Host":1"#),
            "invalid schema: Host is neither a string nor null"
        );
        assert!(with(r#","UpdatedAt":"1""#).contains("UpdatedAt"));
        assert_eq!(
            fault(check_node, "7"),
            "invalid schema: an object is expected"
        );
        assert_eq!(
            fault(check_node, "{}"),
            "invalid schema: ID is required\nMetadata is required"
        );
    }
}
