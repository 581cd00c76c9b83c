//! Metadata keys of nodes whose values have a fixed shape, as in Skydive, which decodes them into
//! structures and refuses a node if a value does not match.

use super::{GraphError, Metadata, MetadataOp};
use crate::value::Value;

/// Checks the shape of the values of a node that have a fixed one; `null` is always valid.
///
/// # Errors
/// Returns [`GraphError::MetadataShape`] with a key whose value has another shape.
pub(crate) fn check(metadata: &Metadata) -> Result<(), GraphError> {
    let mut values = metadata.iter();
    values.try_for_each(|(key, value)| check_value(key, value))
}

/// Checks the shape of the values that operations set in a node.
///
/// # Errors
/// Returns [`GraphError::MetadataShape`] with a key whose value has another shape.
pub(crate) fn check_ops(ops: &[MetadataOp]) -> Result<(), GraphError> {
    let sets = ops.iter().filter_map(|op| match op {
        MetadataOp::Set { key, value } => Some((key, value)),
        MetadataOp::Delete { .. } => None,
    });
    for (key, value) in sets {
        match key.split_once('.') {
            None => check_value(key, value)?,
            Some(("Metric" | "LastUpdateMetric", _)) if !is_counter(value) => {
                return Err(refused(key, "an integer"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Checks the shape of the value of a key.
fn check_value(key: &str, value: &Value) -> Result<(), GraphError> {
    let (is_valid, expected) = match key {
        "LastUpdateMetric" | "Metric" => (is_metric(value), "an object of integers"),
        "BlockDev" | "BlockdevMetric" | "Container" | "Contrail" | "LLDP" | "LXD" | "Libvirt"
        | "Neutron" | "Ovs" | "SFlow" => (is_object(value), "an object"),
        "CPU" | "Captures" | "FDB" | "Neighbors" | "PacketInjections" | "RoutingTables" | "Vfs" => {
            (is_object_array(value), "an array of objects")
        }
        _ => return Ok(()),
    };
    if is_valid {
        Ok(())
    } else {
        Err(refused(key, expected))
    }
}

fn refused(key: &str, expected: &'static str) -> GraphError {
    GraphError::MetadataShape {
        key: key.to_owned(),
        expected,
    }
}

/// Returns `true` if a value is an object of counters, or `null`.
fn is_metric(value: &Value) -> bool {
    match value {
        Value::Map(counters) => counters.iter().all(|(_, value)| is_counter(value)),
        other => matches!(other, Value::Null),
    }
}

/// Returns `true` if a value is an integer or `null`.
const fn is_counter(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::Null)
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
    use super::check_ops;
    use crate::graph::{MetadataOp, Node};

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
            (
                r#"{"Metric":5}"#,
                "metadata key Metric must be an object of integers",
            ),
            (
                r#"{"LastUpdateMetric":{"RxBytes":"zz"}}"#,
                "metadata key LastUpdateMetric must be an object of integers",
            ),
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

    #[test]
    fn operations_are_checked_as_whole_nodes_are() {
        let fault = |key: &str, value: &str| {
            let value: crate::value::Value = serde_json::from_str(value).unwrap();
            let ops = [MetadataOp::delete("Metric"), MetadataOp::set(key, value)];
            check_ops(&ops).err().map(|error| error.to_string())
        };
        for (key, value) in [
            ("Metric", r#"{"RxBytes":1}"#),
            ("Metric.RxBytes", "1"),
            ("LastUpdateMetric", "null"),
            ("Name", "5"),
            ("Docker.Metric", "[]"),
        ] {
            assert_eq!(fault(key, value), None, "{key}");
        }
        for (key, value) in [
            ("Metric", "5"),
            ("LastUpdateMetric", r#"{"RxBytes":[1]}"#),
            ("Metric.RxBytes", r#""zz""#),
            ("Captures", r#""x""#),
        ] {
            let start = format!("metadata key {key} must be an ");
            assert!(
                fault(key, value).unwrap_or_default().starts_with(&start),
                "{key}"
            );
        }
    }
}
