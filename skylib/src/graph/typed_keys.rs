//! Metadata keys of nodes whose values have a fixed shape, as in Skydive, which decodes them into
//! structures and refuses a node if a value does not match.

use super::{GraphError, Metadata};
use crate::value::Value;

/// Checks the shape of the values of a node that have a fixed one; `null` is always valid.
///
/// # Errors
/// Returns [`GraphError::MetadataShape`] with a key whose value has another shape.
pub(super) fn check(metadata: &Metadata) -> Result<(), GraphError> {
    for (key, value) in metadata.iter() {
        let (is_valid, expected) = match key.as_str() {
            "BlockDev" | "BlockdevMetric" | "Container" | "Contrail" | "LLDP" | "LXD"
            | "LastUpdateMetric" | "Libvirt" | "Metric" | "Neutron" | "Ovs" | "SFlow" => {
                (is_object(value), "an object")
            }
            "CPU" | "Captures" | "FDB" | "Neighbors" | "PacketInjections" | "RoutingTables"
            | "Vfs" => (is_object_array(value), "an array of objects"),
            _ => continue,
        };
        if !is_valid {
            let key = key.to_string();
            return Err(GraphError::MetadataShape { key, expected });
        }
    }
    Ok(())
}

/// Returns `true` if a value is an array of objects, or `null`.
fn is_object_array(value: &Value) -> bool {
    match value {
        Value::List(items) => items.iter().all(is_object),
        other => matches!(other, Value::Null),
    }
}

/// Returns `true` if a value is an object or `null`.
const fn is_object(value: &Value) -> bool {
    matches!(value, Value::Map(_) | Value::Null)
}

#[cfg(test)]
mod tests {
    use crate::graph::Node;

    fn fault(metadata: &str) -> Option<String> {
        let json = format!(r#"{{"ID":"n","Metadata":{metadata}}}"#);
        let node: Result<Node, _> = serde_json::from_str(&json);
        node.err().map(|error| error.to_string())
    }

    #[test]
    fn values_of_known_shape_are_accepted() {
        for metadata in [
            "{}",
            r#"{"Metric":{"RxBytes":1},"Captures":[{"ID":"c"}],"FDB":[],"Vfs":null,"CPU":[null]}"#,
            r#"{"Name":5,"Docker":"x","MTU":[]}"#,
        ] {
            assert_eq!(fault(metadata), None, "{metadata}");
        }
    }

    #[test]
    fn values_of_another_shape_are_refused() {
        for (metadata, message) in [
            (r#"{"Metric":5}"#, "metadata key Metric must be an object"),
            (r#"{"LLDP":[]}"#, "metadata key LLDP must be an object"),
            (
                r#"{"Captures":{"ID":"c"}}"#,
                "metadata key Captures must be an array of objects",
            ),
            (
                r#"{"Neighbors":["192.0.2.1"]}"#,
                "metadata key Neighbors must be an array of objects",
            ),
        ] {
            let fault = fault(metadata).unwrap_or_default();
            assert!(fault.starts_with(message), "{metadata}: {fault}");
        }
    }
}
