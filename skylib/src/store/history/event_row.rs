//! `EventRow`: a change of the graph as a row, and the element that results from it. Performs no
//! I/O.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::graph::{Edge, GraphEvent, Metadata, MetadataOp, Node, NodeId};
use crate::time::Timestamp;
use crate::value::{Text, Value};

/// A change of the graph. Times are in Unix milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct EventRow {
    /// Identifier of the element.
    pub(super) id: Text,
    /// Number of the event in the store; increases with each event.
    pub(super) seq: i64,
    /// Number of the event that inserted the element; 0 if unknown.
    #[serde(skip)]
    pub(super) born: i64,
    /// `UpdatedAt` of the element; of a deletion `DeletedAt`.
    pub(super) time: i64,
    /// Time of the recorder's clock.
    pub(super) recorded: i64,
    pub(super) event: EventKind,
    pub(super) host: Text,
    pub(super) origin: Text,
    pub(super) created_at: i64,
    pub(super) revision: i64,
    /// Parent and child of an edge.
    pub(super) ends: Option<(Text, Text)>,
    /// Whole metadata after the event as JSON; of an update of counters only `Metric` and
    /// `LastUpdateMetric`; `None` for a deletion.
    pub(super) body: Option<Arc<str>>,
    /// Whether the event changed only the counters of a node.
    pub(super) is_counter: bool,
}

/// Kind of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum EventKind {
    #[default]
    NodeAdded,
    NodeUpdated,
    NodeDeleted,
    EdgeAdded,
    EdgeUpdated,
    EdgeDeleted,
}

impl EventKind {
    const ALL: [(Self, &'static str); 6] = [
        (Self::NodeAdded, "NodeAdded"),
        (Self::NodeUpdated, "NodeUpdated"),
        (Self::NodeDeleted, "NodeDeleted"),
        (Self::EdgeAdded, "EdgeAdded"),
        (Self::EdgeUpdated, "EdgeUpdated"),
        (Self::EdgeDeleted, "EdgeDeleted"),
    ];

    /// Returns the name in files and messages.
    pub(super) fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(kind, _)| *kind == self);
        found.map_or("", |(_, name)| name)
    }

    /// Returns the kind with a name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(kind, _)| *kind)
    }

    pub(super) const fn is_edge(self) -> bool {
        matches!(
            self,
            Self::EdgeAdded | Self::EdgeUpdated | Self::EdgeDeleted
        )
    }

    pub(super) const fn is_deletion(self) -> bool {
        matches!(self, Self::NodeDeleted | Self::EdgeDeleted)
    }
}

impl EventRow {
    /// Returns the row of an event.
    pub(super) fn of(event: &GraphEvent, seq: i64, recorded: Timestamp) -> Self {
        let row = match event {
            GraphEvent::NodeAdded(node) => Self::of_node(node, EventKind::NodeAdded),
            GraphEvent::NodeUpdated { node, ops } => {
                let counters = ops.as_deref().and_then(|ops| counters(ops, &node.metadata));
                let row = Self::of_node(node, EventKind::NodeUpdated);
                match counters {
                    Some(counters) => Self {
                        body: Some(counters.into()),
                        is_counter: true,
                        ..row
                    },
                    None => row,
                }
            }
            GraphEvent::NodeDeleted(node) => Self::of_node(node, EventKind::NodeDeleted),
            GraphEvent::EdgeAdded(edge) => Self::of_edge(edge, EventKind::EdgeAdded),
            GraphEvent::EdgeUpdated { edge, .. } => Self::of_edge(edge, EventKind::EdgeUpdated),
            GraphEvent::EdgeDeleted(edge) => Self::of_edge(edge, EventKind::EdgeDeleted),
        };
        Self {
            seq,
            recorded: recorded.as_ms(),
            ..row
        }
    }

    fn of_node(node: &Node, event: EventKind) -> Self {
        Self {
            id: node.id.to_string().as_str().into(),
            time: time(event, node.updated_at, node.deleted_at),
            event,
            host: node.host.clone(),
            origin: node.origin.clone(),
            created_at: node.created_at.as_ms(),
            revision: node.revision,
            body: body(event, &node.metadata),
            ..Self::default()
        }
    }

    fn of_edge(edge: &Edge, event: EventKind) -> Self {
        let text = |id: &NodeId| Text::from(id.to_string().as_str());
        Self {
            id: edge.id.to_string().as_str().into(),
            time: time(event, edge.updated_at, edge.deleted_at),
            event,
            host: edge.host.clone(),
            origin: edge.origin.clone(),
            created_at: edge.created_at.as_ms(),
            revision: edge.revision,
            ends: Some((text(&edge.parent), text(&edge.child))),
            body: body(event, &edge.metadata),
            ..Self::default()
        }
    }

    /// Returns the event of an addition or an update that leads to this metadata.
    pub(super) fn to_event(&self, metadata: Metadata) -> GraphEvent {
        if let Some((parent, child)) = &self.ends {
            let (parent, child) = (NodeId::from(parent.as_str()), NodeId::from(child.as_str()));
            let created = Timestamp::from_ms(self.created_at);
            let mut edge = Edge::new(self.id.as_str(), parent, child, metadata, created);
            edge.updated_at = Timestamp::from_ms(self.time);
            edge.revision = self.revision;
            (edge.host, edge.origin) = (self.host.clone(), self.origin.clone());
            return GraphEvent::EdgeAdded(Arc::new(edge));
        }
        let created = Timestamp::from_ms(self.created_at);
        let mut node = Node::new(self.id.as_str(), metadata, created);
        node.updated_at = Timestamp::from_ms(self.time);
        node.revision = self.revision;
        (node.host, node.origin) = (self.host.clone(), self.origin.clone());
        GraphEvent::NodeAdded(Arc::new(node))
    }

    /// Returns the memory in bytes, approximately; text that it shares with other rows counts as if
    /// owned.
    pub(super) fn bytes(&self) -> usize {
        let ends = self.ends.iter().flat_map(|(parent, child)| [parent, child]);
        let texts = [&self.id, &self.host, &self.origin].into_iter().chain(ends);
        let texts: usize = texts.map(Text::heap_bytes).sum();
        let counts = 2 * size_of::<usize>();
        let body = self.body.as_ref().map_or(0, |body| body.len() + counts);
        size_of::<Self>() + texts + body
    }
}

/// Returns the event that deletes the element of an addition.
pub(super) fn deletion_of(event: &GraphEvent, at: i64) -> Option<GraphEvent> {
    let at = Some(Timestamp::from_ms(at));
    match event {
        GraphEvent::NodeAdded(node) => {
            let mut node = Node::clone(node);
            node.deleted_at = at;
            Some(GraphEvent::NodeDeleted(Arc::new(node)))
        }
        GraphEvent::EdgeAdded(edge) => {
            let mut edge = Edge::clone(edge);
            edge.deleted_at = at;
            Some(GraphEvent::EdgeDeleted(Arc::new(edge)))
        }
        _ => None,
    }
}

/// Returns the metadata of a body; empty if the body is not valid JSON.
pub(super) fn parse_body(body: &str) -> Metadata {
    serde_json::from_str(body).unwrap_or_default()
}

/// Replaces the counters in metadata.
pub(super) fn set_counters(metadata: &mut Metadata, counters: &str) {
    let counters = parse_body(counters);
    for key in COUNTER_KEYS {
        if let Some(value) = counters.get(key) {
            metadata.set(key, value.clone());
        }
    }
}

/// Returns `Metric` and `LastUpdateMetric` as JSON if operations change nothing else, and both have
/// only known counters, which fit into columns.
fn counters(ops: &[MetadataOp], metadata: &Metadata) -> Option<String> {
    if !sets_counters_only(ops) {
        return None;
    }
    let mut found = Metadata::new();
    for key in COUNTER_KEYS {
        let Some(value) = metadata.get(key) else {
            continue;
        };
        let Value::Map(map) = value else {
            return None;
        };
        let is_known = |(name, value): (&arcstr::ArcStr, &Value)| {
            COUNTERS.contains(&name.as_str()) && matches!(value, Value::Int(_))
        };
        if map.is_empty() || !map.iter().all(is_known) {
            return None;
        }
        found.set(key, value.clone());
    }
    serde_json::to_string(&found).ok()
}

/// Returns whether operations set `Metric` or `LastUpdateMetric`, and change nothing else.
pub(super) fn sets_counters_only(ops: &[MetadataOp]) -> bool {
    let is_counter = |op: &MetadataOp| {
        let MetadataOp::Set { key, .. } = op else {
            return false;
        };
        let root = key.split('.').next().unwrap_or_default();
        COUNTER_KEYS.contains(&root)
    };
    !ops.is_empty() && ops.iter().all(is_counter)
}

fn time(event: EventKind, updated_at: Timestamp, deleted_at: Option<Timestamp>) -> i64 {
    let deleted_at = deleted_at.filter(|_| event.is_deletion());
    deleted_at.unwrap_or(updated_at).as_ms()
}

fn body(event: EventKind, metadata: &Metadata) -> Option<Arc<str>> {
    let json = (!event.is_deletion()).then(|| serde_json::to_string(metadata).ok());
    json.flatten().map(Arc::from)
}

/// Metadata keys of counters.
pub(super) const COUNTER_KEYS: [&str; 2] = ["Metric", "LastUpdateMetric"];

/// Counters of an interface, and the times of their interval.
pub(super) const COUNTERS: [&str; 25] = [
    "Collisions",
    "Last",
    "Multicast",
    "RxBytes",
    "RxCompressed",
    "RxCrcErrors",
    "RxDropped",
    "RxErrors",
    "RxFifoErrors",
    "RxFrameErrors",
    "RxLengthErrors",
    "RxMissedErrors",
    "RxOverErrors",
    "RxPackets",
    "Start",
    "TxAbortedErrors",
    "TxBytes",
    "TxCarrierErrors",
    "TxCompressed",
    "TxDropped",
    "TxErrors",
    "TxFifoErrors",
    "TxHeartbeatErrors",
    "TxPackets",
    "TxWindowErrors",
];

/// Returns a row that deletes the element of `row` at `time`.
pub(super) fn closing(row: &EventRow, seq: i64, time: i64, recorded: i64) -> EventRow {
    EventRow {
        seq,
        time,
        recorded,
        event: if row.event.is_edge() {
            EventKind::EdgeDeleted
        } else {
            EventKind::NodeDeleted
        },
        body: None,
        is_counter: false,
        ..row.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::EdgeId;

    fn updated(before: &str, after: &str, key: &str) -> EventRow {
        let (before, after) = (parse_body(before), parse_body(after));
        let value = after.get(key).cloned().unwrap();
        let op = MetadataOp::set(key, value);
        let mut applied = before;
        op.apply(&mut applied);
        assert_eq!(applied, after);
        let node = Arc::new(Node::new("n", after, Timestamp::from_ms(5)));
        let ops = Some(vec![op].into());
        EventRow::of(
            &GraphEvent::NodeUpdated { node, ops },
            7,
            Timestamp::from_ms(9),
        )
    }

    #[test]
    fn updates_of_counters_alone_are_recognized() {
        let row = updated(
            r#"{"Name":"eth0","Metric":{"RxBytes":1}}"#,
            r#"{"Name":"eth0","Metric":{"RxBytes":2,"Last":5}}"#,
            "Metric",
        );
        assert!(row.is_counter);
        assert_eq!(
            row.body.as_deref(),
            Some(r#"{"Metric":{"Last":5,"RxBytes":2}}"#)
        );
        let unknown = updated("{}", r#"{"Metric":{"Other":2}}"#, "Metric");
        assert!(!unknown.is_counter);
        let text = updated("{}", r#"{"Metric":{"RxBytes":"2"}}"#, "Metric");
        assert!(!text.is_counter);
        let state = updated("{}", r#"{"State":"UP"}"#, "State");
        assert!(!state.is_counter);
        let mut metadata = parse_body(r#"{"Name":"eth0","Metric":{"RxBytes":1}}"#);
        set_counters(&mut metadata, row.body.as_deref().unwrap());
        assert_eq!(
            metadata,
            parse_body(r#"{"Name":"eth0","Metric":{"RxBytes":2,"Last":5}}"#)
        );
    }

    #[test]
    fn elements_survive() {
        let metadata = parse_body(r#"{"Name":"eth0","Big":9007199254740993,"Half":0.5,"No":null}"#);
        let mut node = Node::new("n1", metadata.clone(), Timestamp::from_ms(5));
        (node.updated_at, node.revision) = (Timestamp::from_ms(8), 3);
        (node.host, node.origin) = ("h".into(), "agent.h".into());
        let event = GraphEvent::NodeAdded(Arc::new(node));
        let row = EventRow::of(&event, 1, Timestamp::from_ms(9));
        let json = serde_json::to_vec(&row).unwrap();
        let row: EventRow = serde_json::from_slice(&json).unwrap();
        assert_eq!(
            row.to_event(parse_body(row.body.as_deref().unwrap())),
            event
        );

        let (a, b) = (NodeId::from("a"), NodeId::from("b"));
        let edge = Edge::new(EdgeId::from("e"), a, b, metadata, Timestamp::from_ms(5));
        let event = GraphEvent::EdgeAdded(Arc::new(edge));
        let row = EventRow::of(&event, 1, Timestamp::from_ms(9));
        assert_eq!(
            row.to_event(parse_body(row.body.as_deref().unwrap())),
            event
        );
        let deletion = deletion_of(&event, 7).unwrap();
        let row = EventRow::of(&deletion, 2, Timestamp::from_ms(9));
        assert_eq!((row.time, row.body), (7, None));
    }
}
