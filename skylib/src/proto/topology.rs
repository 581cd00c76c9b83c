//! Messages of the namespace `Graph`: changes by publishers, and synchronization of readers.

use serde::de::DeserializeOwned;

use super::{Message, Object, ProtoError};
use crate::api::go_json::{JsonError, Members};
use crate::graph::schema::{self, SchemaError};
use crate::graph::{Edge, EdgeId, Graph, GraphError, MetadataOp, Node, NodeId, typed_keys};
use crate::time::Timestamp;
use crate::value::Text;

/// A client's request for a snapshot of the graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncRequest {
    /// Time of the snapshot, in Unix milliseconds; 0 for the current time.
    pub time_ms: i64,
    /// Gremlin filter of the connection: `Some("")` removes it, another string replaces it, `None`
    /// leaves it unchanged.
    pub filter: Option<String>,
}

impl SyncRequest {
    /// Decodes the object of a `SyncRequest`; `null` and absent members mean defaults.
    ///
    /// # Errors
    /// Returns [`ProtoError`] if the object is not a JSON object, or a member has another type.
    pub fn decode(object: &Object) -> Result<Self, ProtoError> {
        let mut request = Self::default();
        let text = object.json()?;
        if text.trim_ascii() != "null" {
            let members = Members::parse_whole(text)?;
            members.read("Time", &mut request.time_ms)?;
            members.read("GremlinFilter", &mut request.filter)?;
        }
        Ok(request)
    }
}

/// Change that a publisher makes to its part of the graph.
#[derive(Clone, Debug, PartialEq)]
pub enum GraphMessage {
    /// Replaces everything that the publisher has sent before.
    Sync {
        /// Nodes of the publisher.
        nodes: Vec<Node>,
        /// Edges of the publisher.
        edges: Vec<Edge>,
    },
    /// Adds a node.
    NodeAdded(Node),
    /// Replaces the metadata of a node.
    NodeUpdated(Node),
    /// Changes some metadata of a node.
    NodePartiallyUpdated(PartialUpdate<NodeId>),
    /// Deletes a node and its edges.
    NodeDeleted(Node),
    /// Adds an edge.
    EdgeAdded(Edge),
    /// Replaces the metadata of an edge.
    EdgeUpdated(Edge),
    /// Changes some metadata of an edge.
    EdgePartiallyUpdated(PartialUpdate<EdgeId>),
    /// Deletes an edge.
    EdgeDeleted(Edge),
}

/// New revision of an element, as a list of operations on its metadata.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PartialUpdate<I> {
    /// Identifier of the element.
    pub id: I,
    /// Time of the update; `None` for the current time.
    pub updated_at: Option<Timestamp>,
    /// Number of the new revision.
    pub revision: i64,
    /// Operations, in order.
    pub ops: Vec<MetadataOp>,
}

impl GraphMessage {
    /// Decodes a message of the namespace `Graph`; returns `None` if its type is not a change.
    ///
    /// # Errors
    /// Returns [`ProtoError`] if the object does not have the form that the type requires.
    pub fn decode(message: &Message) -> Result<Option<Self>, ProtoError> {
        let object = &message.object;
        Ok(Some(match message.kind.as_str() {
            "Sync" | "SyncReply" => Self::decode_sync(object)?,
            "NodeAdded" => Self::NodeAdded(decode_element(object)?),
            "NodeUpdated" => Self::NodeUpdated(decode_element(object)?),
            "NodePartiallyUpdated" => {
                let update = PartialUpdate::decode(object)?;
                typed_keys::check_ops(&update.ops)?;
                Self::NodePartiallyUpdated(update)
            }
            "NodeDeleted" => Self::NodeDeleted(decode_element(object)?),
            "EdgeAdded" => Self::EdgeAdded(decode_element(object)?),
            "EdgeUpdated" => Self::EdgeUpdated(decode_element(object)?),
            "EdgePartiallyUpdated" => Self::EdgePartiallyUpdated(PartialUpdate::decode(object)?),
            "EdgeDeleted" => Self::EdgeDeleted(decode_element(object)?),
            _ => return Ok(None),
        }))
    }

    fn decode_sync(object: &Object) -> Result<Self, ProtoError> {
        let members = Members::parse_whole(object.json()?)?;
        // Go programs send `null` for a list without elements.
        let (mut nodes, mut edges) = (None, None);
        members.read("Nodes", &mut nodes)?;
        members.read("Edges", &mut edges)?;
        Ok(Self::Sync {
            nodes: nodes.unwrap_or_default(),
            edges: edges.unwrap_or_default(),
        })
    }

    /// Checks a single complete element; a `Sync` and partial updates have no schema.
    ///
    /// # Errors
    /// Returns [`SchemaError`] with all violations if the element violates the schema.
    pub fn check_schema(&self) -> Result<(), SchemaError> {
        match self {
            Self::NodeAdded(node) | Self::NodeUpdated(node) | Self::NodeDeleted(node) => {
                schema::check_node_metadata(&node.metadata)
            }
            Self::EdgeAdded(edge) | Self::EdgeUpdated(edge) | Self::EdgeDeleted(edge) => {
                schema::check_edge_metadata(&edge.metadata)
            }
            Self::Sync { .. } | Self::NodePartiallyUpdated(_) | Self::EdgePartiallyUpdated(_) => {
                Ok(())
            }
        }
    }

    /// Sets the origin of every element in the message.
    pub fn set_origin(&mut self, origin: &Text) {
        match self {
            Self::Sync { nodes, edges } => {
                nodes
                    .iter_mut()
                    .for_each(|node| node.origin = origin.clone());
                edges
                    .iter_mut()
                    .for_each(|edge| edge.origin = origin.clone());
            }
            Self::NodeAdded(node) | Self::NodeUpdated(node) | Self::NodeDeleted(node) => {
                node.origin = origin.clone();
            }
            Self::EdgeAdded(edge) | Self::EdgeUpdated(edge) | Self::EdgeDeleted(edge) => {
                edge.origin = origin.clone();
            }
            Self::NodePartiallyUpdated(_) | Self::EdgePartiallyUpdated(_) => {}
        }
    }

    /// Returns whether the message adds or updates an element of an origin.
    #[must_use]
    pub fn has_origin(&self, origin: &str) -> bool {
        match self {
            Self::Sync { nodes, edges } => {
                nodes.iter().any(|node| *node.origin == *origin)
                    || edges.iter().any(|edge| *edge.origin == *origin)
            }
            Self::NodeAdded(node) | Self::NodeUpdated(node) => *node.origin == *origin,
            Self::EdgeAdded(edge) | Self::EdgeUpdated(edge) => *edge.origin == *origin,
            Self::NodeDeleted(_)
            | Self::EdgeDeleted(_)
            | Self::NodePartiallyUpdated(_)
            | Self::EdgePartiallyUpdated(_) => false,
        }
    }

    /// Applies the change to the graph; a `Sync` replaces the elements of `origin`.
    ///
    /// Additions of existing elements, and updates whose revision is not greater than the revision
    /// in the graph, are ignored.
    ///
    /// # Errors
    /// Returns [`GraphError`] if an element or an end of an edge does not exist, or a limit is
    /// reached. A `Sync` omits such elements, and returns the error of the first limit that it
    /// reached.
    pub fn apply(self, graph: &mut Graph, origin: &str, now: Timestamp) -> Result<(), GraphError> {
        match self {
            Self::Sync { nodes, edges } => {
                graph.delete_origin(origin, now);
                let mut refused = Ok(());
                let mut note = |added: Result<(), GraphError>| match added {
                    Err(error) if error.is_limit() && refused.is_ok() => refused = Err(error),
                    _ => {}
                };
                for mut node in nodes {
                    node.stamp(now);
                    note(graph.add_node(node));
                }
                for mut edge in edges {
                    edge.stamp(now);
                    note(graph.add_edge(edge));
                }
                refused
            }
            Self::NodeAdded(mut node) => {
                node.stamp(now);
                ignore_known(graph.add_node(node))
            }
            Self::EdgeAdded(mut edge) => {
                edge.stamp(now);
                ignore_known(graph.add_edge(edge))
            }
            Self::NodeUpdated(mut node) => {
                node.stamp(now);
                graph.sync_node(&node).map(drop)
            }
            Self::EdgeUpdated(mut edge) => {
                edge.stamp(now);
                graph.sync_edge(&edge).map(drop)
            }
            Self::NodePartiallyUpdated(update) => {
                let at = update.updated_at.unwrap_or(now);
                graph
                    .sync_patch_node(&update.id, update.revision, at, &update.ops)
                    .map(drop)
            }
            Self::EdgePartiallyUpdated(update) => {
                let at = update.updated_at.unwrap_or(now);
                graph
                    .sync_patch_edge(&update.id, update.revision, at, &update.ops)
                    .map(drop)
            }
            Self::NodeDeleted(node) => graph.delete_node(&node.id, node.deleted_at.unwrap_or(now)),
            Self::EdgeDeleted(edge) => graph.delete_edge(&edge.id, edge.deleted_at.unwrap_or(now)),
        }
    }
}

/// Ignores the error that an element already exists.
fn ignore_known(result: Result<(), GraphError>) -> Result<(), GraphError> {
    match result {
        Err(GraphError::NodeConflict | GraphError::EdgeConflict) => Ok(()),
        other => other,
    }
}

fn decode_element<T: DeserializeOwned>(object: &Object) -> Result<T, ProtoError> {
    let read = serde_json::from_str(object.json()?);
    Ok(read.map_err(JsonError::Syntax)?)
}

impl<I: From<String>> PartialUpdate<I> {
    fn decode(object: &Object) -> Result<Self, ProtoError> {
        let members = Members::parse_whole(object.json()?)?;
        let (mut id, mut revision, mut ops) = (String::new(), 0, Vec::new());
        let mut updated_at: Option<i64> = None;
        members.read("ID", &mut id)?;
        members.read("UpdatedAt", &mut updated_at)?;
        members.read("Revision", &mut revision)?;
        members.read("Ops", &mut ops)?;
        if id.is_empty() {
            return Err(GraphError::MissingId.into());
        }
        // Zero means "no time", as in complete elements.
        let updated_at = updated_at.map(Timestamp::from_ms);
        let updated_at = updated_at.filter(|time| *time != Timestamp::ZERO);
        Ok(Self {
            id: id.into(),
            updated_at,
            revision,
            ops,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphEvent, Origin};
    use crate::proto::GRAPH;

    const NOW: Timestamp = Timestamp::from_ms(1_000);

    fn object(text: &str) -> Object {
        Object::Json(text.to_owned().into())
    }

    fn read(kind: &str, text: &str) -> Result<Option<GraphMessage>, ProtoError> {
        GraphMessage::decode(&Message::new(GRAPH, kind, object(text)))
    }

    /// Applies a message of the publisher `t.p`; returns one word for each event.
    fn send(graph: &mut Graph, kind: &str, text: &str) -> Result<Vec<String>, GraphError> {
        let mut message = read(kind, text).unwrap().unwrap();
        message.set_origin(&Text::from("t.p"));
        message.apply(graph, "t.p", NOW)?;
        Ok(graph.take_events().iter().map(shown).collect())
    }

    fn shown(event: &GraphEvent) -> String {
        match event {
            GraphEvent::NodeAdded(n) => format!("+{}", n.id),
            GraphEvent::NodeUpdated { node: n, .. } => format!("~{} r{}", n.id, n.revision),
            GraphEvent::NodeDeleted(n) => {
                format!("-{} at {}", n.id, n.deleted_at.unwrap_or_default().as_ms())
            }
            GraphEvent::EdgeAdded(e) => format!("+{}", e.id),
            GraphEvent::EdgeUpdated { edge: e, .. } => format!("~{} r{}", e.id, e.revision),
            GraphEvent::EdgeDeleted(e) => {
                format!("-{} at {}", e.id, e.deleted_at.unwrap_or_default().as_ms())
            }
        }
    }

    fn node(id: &str, more: &str) -> String {
        format!(r#"{{"ID":"{id}","Metadata":{{"Name":"{id}","Type":"device"}}{more}}}"#)
    }

    fn edge(id: &str, parent: &str, child: &str) -> String {
        let ends = format!(r#""Parent":"{parent}","Child":"{child}""#);
        format!(r#"{{"ID":"{id}",{ends},"Metadata":{{"RelationType":"layer2"}},"Revision":1}}"#)
    }

    #[test]
    fn sync_requests_are_decoded_leniently() {
        let read = |text| SyncRequest::decode(&object(text));
        for text in [
            "null",
            "{}",
            " null ",
            r#"{"Time":null,"GremlinFilter":null,"TimeSlice":null}"#,
        ] {
            assert_eq!(read(text).unwrap(), SyncRequest::default(), "{text}");
        }
        let request = read(r#"{"time":5,"gremlinfilter":"G","TimePoint":false}"#).unwrap();
        assert_eq!(
            request,
            SyncRequest {
                time_ms: 5,
                filter: Some("G".to_owned())
            }
        );
        assert_eq!(
            read(r#"{"GremlinFilter":""}"#).unwrap().filter.as_deref(),
            Some("")
        );
        for text in [
            "\"text\"",
            "[]",
            r#"{"Time":"noon"}"#,
            r#"{"Time":1.5}"#,
            r#"{"GremlinFilter":5}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(SyncRequest::decode(&Object::Protobuf("x".into())).is_err());
    }

    #[test]
    fn objects_of_the_wrong_shape_are_refused() {
        for (kind, text) in [
            ("NodeAdded", "null"),
            ("NodeAdded", "[]"),
            ("NodeAdded", r#"{"Metadata":{}}"#),
            ("NodeAdded", r#"{"ID":"","Metadata":{}}"#),
            ("NodeAdded", r#"{"ID":"x","Metadata":[]}"#),
            ("NodeAdded", r#"{"ID":"x","Host":5}"#),
            ("NodeAdded", r#"{"ID":"x","CreatedAt":"today"}"#),
            ("NodeAdded", r#"{"ID":"x","CreatedAt":1.5}"#),
            ("EdgeAdded", r#"{"ID":"x","Parent":"p"}"#),
            ("EdgeDeleted", r#"{"ID":"x","Child":"c"}"#),
            ("NodePartiallyUpdated", r#"{"Revision":2}"#),
            (
                "NodePartiallyUpdated",
                r#"{"ID":"x","Ops":[{"Type":3,"Key":"X"}]}"#,
            ),
            ("NodePartiallyUpdated", r#"{"ID":"x","Ops":{}}"#),
            ("Sync", "null"),
            ("Sync", r#"{"Nodes":[null]}"#),
            ("SyncReply", r#"{"Edges":[null]}"#),
            ("Sync", r#"{"Nodes":{}}"#),
        ] {
            assert!(read(kind, text).is_err(), "{kind} {text}");
        }
        assert_eq!(read("syncrequest", "{}").unwrap(), None);
        assert_eq!(
            read("nodeadded", "null").unwrap(),
            None,
            "types are case-sensitive"
        );
    }

    #[test]
    fn complete_elements_have_a_schema() {
        let check =
            |kind: &str, text: &str| read(kind, text).unwrap().unwrap().check_schema().is_ok();
        assert!(check("NodeAdded", &node("n", "")));
        assert!(!check("NodeDeleted", r#"{"ID":"n"}"#));
        assert!(check("EdgeUpdated", &edge("e", "a", "b")));
        assert!(!check(
            "EdgeAdded",
            r#"{"ID":"e","Parent":"a","Child":"b"}"#
        ));
        assert!(check("Sync", r#"{"Nodes":[{"ID":"n"}]}"#));
        assert!(check("NodePartiallyUpdated", r#"{"ID":"n"}"#));
    }

    #[test]
    fn elements_are_added_and_deleted_with_the_senders_origin() {
        let mut graph = Graph::new().with_journal();
        let text = node("a", r#","Origin":"agent.other","UpdatedAt":5"#);
        assert_eq!(send(&mut graph, "NodeAdded", &text).unwrap(), ["+a"]);
        let held = graph.node(&"a".into()).unwrap();
        assert_eq!(
            (
                held.origin.as_str(),
                held.created_at,
                held.updated_at.as_ms()
            ),
            ("t.p", NOW, 5)
        );
        assert!(
            send(&mut graph, "NodeAdded", &text).unwrap().is_empty(),
            "known: ignored"
        );
        send(&mut graph, "NodeAdded", &node("b", "")).unwrap();
        let added = send(&mut graph, "EdgeAdded", &edge("e", "a", "b")).unwrap();
        assert_eq!(added, ["+e"]);
        let error = send(&mut graph, "EdgeAdded", &edge("x", "a", "zz")).unwrap_err();
        assert_eq!(error, GraphError::ChildNotFound);
        let text = node("a", r#","DeletedAt":77"#);
        assert_eq!(
            send(&mut graph, "NodeDeleted", &text).unwrap(),
            ["-e at 77", "-a at 77"]
        );
        assert_eq!(
            send(&mut graph, "NodeDeleted", &node("b", "")).unwrap(),
            ["-b at 1000"]
        );
        assert!(send(&mut graph, "NodeDeleted", &node("b", "")).is_err());
        assert!(send(&mut graph, "EdgeDeleted", &edge("e", "a", "b")).is_err());
    }

    #[test]
    fn a_revision_must_grow() {
        let mut graph = Graph::new().with_journal();
        send(&mut graph, "NodeAdded", &node("a", r#","Revision":1"#)).unwrap();
        let mut update = |more: &str| send(&mut graph, "NodeUpdated", &node("a", more)).unwrap();
        assert!(update(r#","Revision":1"#).is_empty());
        assert!(update("").is_empty());
        assert_eq!(update(r#","Revision":4"#), ["~a r4"]);
        assert!(update(r#","Revision":3"#).is_empty());
        let mut patch = |text: &str| send(&mut graph, "NodePartiallyUpdated", text).unwrap();
        assert!(
            patch(r#"{"ID":"a","Revision":4,"Ops":[{"Type":1,"Key":"X","Value":1}]}"#).is_empty()
        );
        let text = r#"{"id":"a","revision":5,"ops":[{"Type":1,"Key":"X.Y","Value":1}]}"#;
        assert_eq!(patch(text), ["~a r5"]);
        assert_eq!(
            patch(r#"{"ID":"a","UpdatedAt":9,"Revision":6,"Ops":null}"#),
            ["~a r6"]
        );
        let text = r#"{"ID":"b","UpdatedAt":0,"Revision":6,"Ops":null}"#;
        send(&mut graph, "NodeAdded", &node("b", "")).unwrap();
        send(&mut graph, "NodePartiallyUpdated", text).unwrap();
        let held = graph.node(&"b".into()).unwrap();
        assert_eq!(
            (held.revision, held.updated_at),
            (6, NOW),
            "zero is no time"
        );
        let held = graph.node(&"a".into()).unwrap();
        assert_eq!(
            (held.updated_at.as_ms(), held.metadata.get_path("X.Y")),
            (9, Some(&1.into()))
        );
    }

    #[test]
    fn a_sync_replaces_the_elements_of_the_sender_only() {
        let mut graph = Graph::new().with_journal();
        for id in ["p1", "p2"] {
            send(&mut graph, "NodeAdded", &node(id, "")).unwrap();
        }
        send(&mut graph, "EdgeAdded", &edge("e", "p1", "p2")).unwrap();
        let q1 = Node::new("q1", Default::default(), NOW).with_origin(Origin::from_text("t.q"));
        graph.add_node(q1).unwrap();
        graph.take_events();
        let nodes = [node("p2", ""), node("p3", ""), node("q1", "")].join(",");
        let edges = [edge("f", "p3", "q1"), edge("bad", "p3", "absent")].join(",");
        let text = format!(r#"{{"Nodes":[{nodes}],"Edges":[{edges}]}}"#);
        let events = send(&mut graph, "Sync", &text).unwrap();
        assert_eq!(
            events,
            [
                "-e at 1000",
                "-p1 at 1000",
                "-p2 at 1000",
                "+p2",
                "+p3",
                "+f"
            ]
        );
        assert_eq!(graph.node(&"q1".into()).unwrap().origin, *"t.q");
        let events = send(&mut graph, "SyncReply", r#"{"Nodes":[]}"#).unwrap();
        assert_eq!(events, ["-p2 at 1000", "-f at 1000", "-p3 at 1000"]);
        for text in [r#"{"Nodes":null,"Edges":null}"#, "{}", r#"{"Edges":null}"#] {
            send(&mut graph, "NodeAdded", &node("p4", "")).unwrap();
            assert_eq!(
                send(&mut graph, "Sync", text).unwrap(),
                ["-p4 at 1000"],
                "{text}"
            );
        }
    }
}
