//! Tasks on demand: captures and packet injections that an analyzer starts and stops on the nodes
//! of an agent.

use serde_json::value::RawValue;

use super::{Message, Object, ProtoError};
use crate::api::go_json::Members;
use crate::graph::{GraphError, NodeId};

/// Namespace of captures on the nodes of an agent.
pub const ON_DEMAND_CAPTURE: &str = "OnDemandCapture";
/// Namespace of packet injections on the nodes of an agent.
pub const ON_DEMAND_INJECTION: &str = "OnDemandPacketInjection";

/// A task on a node: a capture or a packet injection.
///
/// ```
/// use skylib::proto::{ON_DEMAND_CAPTURE, OnDemandTask};
///
/// let task = OnDemandTask::new("n1".into(), r#"{"UUID":"c1"}"#)?;
/// let message = task.message(ON_DEMAND_CAPTURE, "Stop", 200);
/// assert_eq!(message.object.json()?, r#"{"NodeID":"n1","Resource":{"UUID":"c1"}}"#);
/// assert_eq!(OnDemandTask::decode(&message.object)?.resource_id(), "c1");
/// # Ok::<(), skylib::proto::ProtoError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OnDemandTask {
    /// Node on which the task runs.
    pub node: NodeId,
    /// Definition of the task, a JSON object: the resource, or only its `UUID`.
    pub resource: Box<RawValue>,
}

impl OnDemandTask {
    /// Returns a task with this JSON object as its definition.
    ///
    /// # Errors
    /// Returns [`ProtoError`] if `resource` is not a JSON object.
    pub fn new(node: NodeId, resource: &str) -> Result<Self, ProtoError> {
        let resource: &RawValue =
            serde_json::from_str(resource).map_err(crate::api::go_json::JsonError::Syntax)?;
        Members::from_value(resource)?;
        Ok(Self {
            node,
            resource: resource.to_owned(),
        })
    }

    /// Decodes the object of a message.
    ///
    /// # Errors
    /// Returns [`ProtoError`] if the object names no node or contains no resource.
    pub fn decode(object: &Object) -> Result<Self, ProtoError> {
        let members = Members::parse_whole(object.json()?)?;
        let mut node = String::new();
        members.read("NodeID", &mut node)?;
        if node.is_empty() {
            return Err(GraphError::MissingId.into());
        }
        let resource = members.get("Resource").map_or("null", RawValue::get);
        Self::new(node.into(), resource)
    }

    /// Returns the `UUID` of the resource; empty if it has none.
    #[must_use]
    pub fn resource_id(&self) -> String {
        let mut id = String::new();
        if let Ok(members) = Members::from_value(&self.resource) {
            drop(members.read("UUID", &mut id));
        }
        id
    }

    /// Returns the message about this task, without an identifier.
    #[must_use]
    pub fn message(&self, namespace: &str, kind: &str, status: i64) -> Message {
        let id = serde_json::Value::from(self.node.to_string());
        let json = format!(r#"{{"NodeID":{id},"Resource":{}}}"#, self.resource);
        Message::new(namespace, kind, Object::Json(json.into())).with_status(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Result<OnDemandTask, ProtoError> {
        OnDemandTask::decode(&Object::Json(text.to_owned().into()))
    }

    #[test]
    fn a_task_names_a_node_and_has_a_resource() {
        let task = decode(r#"{"nodeid":"n","RESOURCE":{"uuid":"c","X":[1]},"More":0}"#).unwrap();
        assert_eq!((&*task.node.to_string(), &*task.resource_id()), ("n", "c"));
        let message = task.message(ON_DEMAND_CAPTURE, "StartReply", 404);
        assert_eq!(
            message.object.json().unwrap(),
            r#"{"NodeID":"n","Resource":{"uuid":"c","X":[1]}}"#,
            "the reply repeats the resource unchanged"
        );
        assert_eq!(
            decode(r#"{"NodeID":"n","Resource":{}}"#)
                .unwrap()
                .resource_id(),
            ""
        );
        for text in [
            "null",
            "{}",
            r#"{"NodeID":"n"}"#,
            r#"{"NodeID":"","Resource":{}}"#,
            r#"{"NodeID":5,"Resource":{}}"#,
            r#"{"NodeID":"n","Resource":[]}"#,
            r#"{"NodeID":"n","Resource":null}"#,
        ] {
            assert!(decode(text).is_err(), "{text}");
        }
    }
}
