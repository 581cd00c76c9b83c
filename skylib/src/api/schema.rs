//! What a node or an edge must hold to be accepted from a client.

use crate::graph::{Edge, Metadata, Node};
use crate::value::Value;

/// Checks a node that came from a publisher or over REST: it has a name, and something that tells
/// what it is.
///
/// ```
/// use skylib::api::schema;
/// use skylib::graph::{Metadata, Node};
/// use skylib::time::Timestamp;
/// let node = |metadata| Node::new("n1", "", "", metadata, Timestamp::ZERO);
/// let whole = Metadata::from_iter([("Name", "eth0"), ("Type", "device")]);
/// assert!(schema::check_node(&node(whole)).is_ok());
/// assert!(schema::check_node(&node(Metadata::from_iter([("Name", "eth0")]))).is_err());
/// ```
///
/// # Errors
/// The rule that is broken.
pub fn check_node(node: &Node) -> Result<(), SchemaError> {
    let metadata = &node.metadata;
    if !is_filled(metadata, "Name") {
        return Err(SchemaError(
            "Metadata.Name must be a string that is not empty",
        ));
    }
    // A namespace and an Open vSwitch port tell themselves by Path and UUID, with or without Type.
    let known_by = |kind: &str, key: &str| {
        let type_fits = match metadata.get("Type") {
            None => true,
            Some(found) => found.as_text() == Some(kind),
        };
        type_fits
            && metadata
                .get(key)
                .is_some_and(|value| value.as_text().is_some())
    };
    let plain = is_filled(metadata, "Type")
        && !matches!(
            metadata.get("Type").and_then(Value::as_text),
            Some("netns" | "ovsport")
        );
    if plain || known_by("netns", "Path") || known_by("ovsport", "UUID") {
        return Ok(());
    }
    Err(SchemaError(
        "Metadata.Type must be a string that is not empty; netns needs Path, ovsport needs UUID",
    ))
}

/// Checks an edge that came from a publisher or over REST: it says what relation it is.
///
/// # Errors
/// The rule that is broken.
pub fn check_edge(edge: &Edge) -> Result<(), SchemaError> {
    if is_filled(&edge.metadata, "RelationType") {
        Ok(())
    } else {
        Err(SchemaError(
            "Metadata.RelationType must be a string that is not empty",
        ))
    }
}

fn is_filled(metadata: &Metadata, key: &str) -> bool {
    metadata
        .get(key)
        .and_then(Value::as_text)
        .is_some_and(|text| !text.is_empty())
}

/// An element that no client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid schema: {0}")]
pub struct SchemaError(&'static str);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn metadata(json: &str) -> Metadata {
        serde_json::from_str(json).unwrap()
    }

    fn accepts(json: &str) -> bool {
        check_node(&Node::new("n", "", "", metadata(json), Timestamp::ZERO)).is_ok()
    }

    #[test]
    fn nodes_need_a_name_and_a_kind() {
        for good in [
            r#"{"Name":"x","Type":"device"}"#,
            r#"{"Name":"x","Type":"netns","Path":"/run/netns/x"}"#,
            r#"{"Name":"x","Path":""}"#,
            r#"{"Name":"x","Type":"ovsport","UUID":"u"}"#,
            r#"{"Name":"x","UUID":"u"}"#,
        ] {
            assert!(accepts(good), "{good}");
        }
        for bad in [
            "{}",
            r#"{"Name":"x"}"#,
            r#"{"Type":"device"}"#,
            r#"{"Name":"","Type":"device"}"#,
            r#"{"Name":5,"Type":"device"}"#,
            r#"{"Name":"x","Type":""}"#,
            r#"{"Name":"x","Type":5}"#,
            r#"{"Name":"x","Type":"netns"}"#,
            r#"{"Name":"x","Type":"netns","UUID":"u"}"#,
            r#"{"Name":"x","Type":"ovsport","Path":"p"}"#,
            r#"{"Name":"x","Path":5}"#,
            r#"{"Name":"x","Type":"","Path":"p"}"#,
            r#"{"Name":"x","Type":null,"Path":"p"}"#,
        ] {
            assert!(!accepts(bad), "{bad}");
        }
    }

    #[test]
    fn edges_need_a_relation() {
        let edge = |json| Edge::new("e", "a", "b", "", "", metadata(json), Timestamp::ZERO);
        assert!(check_edge(&edge(r#"{"RelationType":"layer2"}"#)).is_ok());
        for bad in ["{}", r#"{"RelationType":""}"#, r#"{"RelationType":1}"#] {
            let error = check_edge(&edge(bad)).unwrap_err().to_string();
            assert!(
                error.starts_with("invalid schema: Metadata.RelationType"),
                "{error}"
            );
        }
    }
}
