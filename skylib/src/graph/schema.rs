//! Schema of the nodes and edges that publishers and REST clients add.
//!
//! Agents, replication, `Sync` messages, and partial updates are not checked.
//!
//! The messages are those of Skydive's JSON Schema validator, one line for each violated rule and
//! each schema around it, sorted. For a node, the messages describe the alternative that its type,
//! path, or UUID suggests.
//!
//! ```
//! use skylib::graph::schema;
//! let edge = serde_json::from_str(
//!     r#"{"ID":"e1","Parent":"a","Child":"b","Metadata":{"RelationType":""}}"#,
//! )?;
//! let fault = schema::check_edge(&edge).unwrap_err().to_string();
//! let lines: Vec<&str> = fault.lines().collect();
//! assert_eq!(
//!     lines,
//!     [
//!         "invalid schema: (root): Must validate all the schemas (allOf)",
//!         "Metadata.RelationType: String length must be greater than or equal to 1",
//!         "Metadata: Must validate all the schemas (allOf)",
//!     ]
//! );
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
/// Returns [`SchemaError`] with all violations if the document violates the schema.
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
/// Returns [`SchemaError`] with all violations if the document violates the schema.
pub fn check_edge(document: &Value) -> Result<(), SchemaError> {
    let mut faults = Faults::default();
    if let Some(edge) = faults.element(document) {
        for end in ["Parent", "Child"] {
            faults.require_text(ROOT, edge, end);
        }
        faults.metadata(edge, Faults::edge_metadata);
    }
    faults.into_result()
}

/// Checks new metadata of a node.
///
/// # Errors
/// Returns [`SchemaError`] with all violations if the metadata violate the schema.
pub fn check_node_metadata(metadata: &Metadata) -> Result<(), SchemaError> {
    let mut faults = Faults::default();
    faults.node_metadata(metadata);
    faults.into_result()
}

/// Checks new metadata of an edge.
///
/// # Errors
/// Returns [`SchemaError`] with all violations if the metadata violate the schema.
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
    fn into_result(mut self) -> Result<(), SchemaError> {
        if self.messages.is_empty() {
            return Ok(());
        }
        // A document must satisfy both the rules for all elements and the rules for its kind.
        self.add(ROOT, ALL_OF);
        self.messages.sort_unstable();
        Err(SchemaError {
            messages: self.messages,
        })
    }

    fn add(&mut self, place: &str, message: &str) {
        self.messages.push(format!("{place}: {message}"));
    }

    /// Checks the fields that nodes and edges have in common.
    fn element<'a>(&mut self, document: &'a Value) -> Option<&'a Map> {
        let Value::Map(element) = document else {
            self.add(ROOT, &wrong_type("object", document));
            return None;
        };
        self.require_text(ROOT, element, "ID");
        for key in ["Host", "Origin"] {
            match element.get(key) {
                None | Some(Value::Null | Value::Text(_)) => {}
                Some(other) => self.add(key, &wrong_type("[string,null]", other)),
            }
        }
        for key in ["CreatedAt", "UpdatedAt"] {
            match element.get(key) {
                None | Some(Value::Null | Value::Int(_)) => {}
                Some(other) => self.add(key, &wrong_type("[integer,null]", other)),
            }
        }
        Some(element)
    }

    fn metadata(&mut self, element: &Map, check: fn(&mut Self, &Map)) {
        match element.get("Metadata") {
            Some(Value::Map(metadata)) => check(self, metadata),
            Some(other) => self.add(METADATA, &wrong_type("object", other)),
            None => self.add(ROOT, "Metadata is required"),
        }
    }

    /// Checks for a name and for the keys that identify the node: `Type`; in addition a path for a
    /// namespace, or a UUID for an Open vSwitch port. A node without a type needs a path or a UUID.
    fn node_metadata(&mut self, metadata: &Map) {
        let before = self.messages.len();
        self.require_text(METADATA, metadata, "Name");
        let has_text = |key| matches!(metadata.get(key), Some(Value::Text(_)));
        match metadata.get("Type") {
            None if has_text("Path") || has_text("UUID") => {}
            Some(Value::Text(kind)) if *kind == *"netns" => {
                self.require_any_text(METADATA, metadata, "Path");
            }
            Some(Value::Text(kind)) if *kind == *"ovsport" => {
                self.require_any_text(METADATA, metadata, "UUID");
            }
            _ => self.require_text(METADATA, metadata, "Type"),
        }
        if self.messages.len() > before {
            self.add(ROOT, "Must validate at least one schema (anyOf)");
            self.add(METADATA, ALL_OF);
        }
    }

    fn edge_metadata(&mut self, metadata: &Map) {
        let before = self.messages.len();
        self.require_text(METADATA, metadata, "RelationType");
        if self.messages.len() > before {
            self.add(METADATA, ALL_OF);
        }
    }

    /// Requires a string that is not empty.
    fn require_text(&mut self, object: &str, map: &Map, key: &str) {
        match map.get(key) {
            Some(Value::Text(text)) if text.is_empty() => self.add(
                &place_of(object, key),
                "String length must be greater than or equal to 1",
            ),
            _ => self.require_any_text(object, map, key),
        }
    }

    /// Requires a string, which may be empty.
    fn require_any_text(&mut self, object: &str, map: &Map, key: &str) {
        match map.get(key) {
            Some(Value::Text(_)) => {}
            Some(other) => self.add(&place_of(object, key), &wrong_type("string", other)),
            None => self.add(object, &format!("{key} is required")),
        }
    }
}

/// Returns the path of a key.
fn place_of(object: &str, key: &str) -> String {
    match object {
        ROOT => key.to_owned(),
        object => format!("{object}.{key}"),
    }
}

/// Returns the message for a value of another type than expected.
fn wrong_type(expected: &str, given: &Value) -> String {
    let given = match given {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Int(_) => "integer",
        Value::Text(_) => "string",
        Value::Float(_) => "number",
        Value::List(_) => "array",
        Value::Map(_) => "object",
    };
    format!("Invalid type. Expected: {expected}, given: {given}")
}

const ROOT: &str = "(root)";
const METADATA: &str = "Metadata";
const ALL_OF: &str = "Must validate all the schemas (allOf)";

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
            "invalid schema: (root): Child is required\n\
             (root): Must validate all the schemas (allOf)\n\
             Metadata.RelationType: Invalid type. Expected: string, given: integer\n\
             Metadata: Must validate all the schemas (allOf)\n\
             Parent: String length must be greater than or equal to 1"
        );
        assert_eq!(
            fault(
                check_edge,
                r#"{"ID":"e","Parent":"p","Child":"c","Metadata":{}}"#
            ),
            "invalid schema: (root): Must validate all the schemas (allOf)\n\
             Metadata: Must validate all the schemas (allOf)\n\
             Metadata: RelationType is required"
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
            "invalid schema: (root): Must validate all the schemas (allOf)\n\
             Host: Invalid type. Expected: [string,null], given: integer"
        );
        assert!(with(r#","UpdatedAt":"1""#).contains("UpdatedAt"));
        assert_eq!(
            fault(check_node, "7"),
            "invalid schema: (root): Invalid type. Expected: object, given: integer\n\
             (root): Must validate all the schemas (allOf)"
        );
        assert_eq!(
            fault(check_node, "{}"),
            "invalid schema: (root): ID is required\n(root): Metadata is required\n\
             (root): Must validate all the schemas (allOf)"
        );
        assert_eq!(
            fault(
                check_node,
                r#"{"ID":"n","Metadata":{"Type":"netns","Name":"blue"}}"#
            ),
            "invalid schema: (root): Must validate all the schemas (allOf)\n\
             (root): Must validate at least one schema (anyOf)\n\
             Metadata: Must validate all the schemas (allOf)\n\
             Metadata: Path is required"
        );
    }
}
