//! `UnsealedEvent`: a change of the graph that is not yet in a segment. Performs no I/O.

use std::sync::Arc;

use super::event_row::{EventRow, sets_counters_only};
use super::graph_segment::GraphSpan;
use crate::graph::GraphEvent;
use crate::time::Timestamp;
use crate::value::Text;

/// A change of the graph that is in memory because no segment contains it yet.
///
/// An addition or an update shares the element with the graph, and its row is rendered when it is
/// written or read: the metadata is in memory once.
#[derive(Clone, Debug)]
pub(super) enum UnsealedEvent {
    /// Addition or update with whole metadata.
    Shared {
        /// The event, without the operations of an update.
        event: GraphEvent,
        seq: i64,
        recorded: Timestamp,
    },
    /// Deletion, update of counters alone, or event that was read from a log.
    Row(Arc<EventRow>),
}

impl UnsealedEvent {
    /// Returns an event with its number in the store.
    pub(super) fn new(event: GraphEvent, seq: i64, recorded: Timestamp) -> Self {
        let is_small = match &event {
            GraphEvent::NodeDeleted(_) | GraphEvent::EdgeDeleted(_) => true,
            GraphEvent::NodeUpdated { ops, .. } => ops.as_deref().is_some_and(sets_counters_only),
            _ => false,
        };
        if is_small {
            let row = EventRow::of(&event, seq, recorded);
            if row.is_counter || row.event.is_deletion() {
                return Self::Row(Arc::new(row));
            }
        }
        let event = match event {
            GraphEvent::NodeUpdated { node, .. } => GraphEvent::NodeUpdated { node, ops: None },
            GraphEvent::EdgeUpdated { edge, .. } => GraphEvent::EdgeUpdated { edge, ops: None },
            other => other,
        };
        Self::Shared {
            event,
            seq,
            recorded,
        }
    }

    /// Returns the row of the event. Renders the metadata of a shared element.
    pub(super) fn row(&self) -> EventRow {
        match self {
            Self::Shared {
                event,
                seq,
                recorded,
            } => EventRow::of(event, *seq, *recorded),
            Self::Row(row) => EventRow::clone(row),
        }
    }

    /// Returns the number of the event in the store.
    pub(super) fn seq(&self) -> i64 {
        match self {
            Self::Shared { seq, .. } => *seq,
            Self::Row(row) => row.seq,
        }
    }

    /// Returns the time of the recorder's clock, in Unix milliseconds.
    pub(super) fn recorded(&self) -> i64 {
        match self {
            Self::Shared { recorded, .. } => recorded.as_ms(),
            Self::Row(row) => row.recorded,
        }
    }

    /// Returns the time of the change, in Unix milliseconds.
    pub(super) fn time(&self) -> i64 {
        match self {
            Self::Shared { event, .. } => match event {
                GraphEvent::NodeAdded(node)
                | GraphEvent::NodeUpdated { node, .. }
                | GraphEvent::NodeDeleted(node) => node.updated_at.as_ms(),
                GraphEvent::EdgeAdded(edge)
                | GraphEvent::EdgeUpdated { edge, .. }
                | GraphEvent::EdgeDeleted(edge) => edge.updated_at.as_ms(),
            },
            Self::Row(row) => row.time,
        }
    }

    /// Returns whether the element is an edge.
    pub(super) fn is_edge(&self) -> bool {
        match self {
            Self::Shared { event, .. } => matches!(
                event,
                GraphEvent::EdgeAdded(_)
                    | GraphEvent::EdgeUpdated { .. }
                    | GraphEvent::EdgeDeleted(_)
            ),
            Self::Row(row) => row.event.is_edge(),
        }
    }

    /// Returns whether the event deletes the element.
    pub(super) fn is_deletion(&self) -> bool {
        match self {
            Self::Shared { .. } => false,
            Self::Row(row) => row.event.is_deletion(),
        }
    }

    /// Returns whether the event changes only counters, without the rest of the metadata.
    pub(super) fn is_counter(&self) -> bool {
        match self {
            Self::Shared { .. } => false,
            Self::Row(row) => row.is_counter,
        }
    }

    /// Calls `then` with the identifier of the element.
    pub(super) fn with_id<R>(&self, then: impl FnOnce(&str) -> R) -> R {
        match self {
            Self::Shared { event, .. } => match event {
                GraphEvent::NodeAdded(node)
                | GraphEvent::NodeUpdated { node, .. }
                | GraphEvent::NodeDeleted(node) => node.id.as_id().with_text(then),
                GraphEvent::EdgeAdded(edge)
                | GraphEvent::EdgeUpdated { edge, .. }
                | GraphEvent::EdgeDeleted(edge) => edge.id.as_id().with_text(then),
            },
            Self::Row(row) => then(row.id.as_str()),
        }
    }

    /// Returns the identifier of the element.
    pub(super) fn id(&self) -> Text {
        match self {
            Self::Shared { .. } => self.with_id(|id| Text::from(id)),
            Self::Row(row) => row.id.clone(),
        }
    }

    /// Returns the span of the event alone.
    pub(super) fn span(&self) -> GraphSpan {
        GraphSpan::of(self.time(), self.recorded(), self.seq())
    }

    /// Returns the memory in bytes. An element counts as if only this event retained it, which is
    /// true once it has been changed or deleted.
    pub(super) fn bytes(&self) -> usize {
        let owned = match self {
            Self::Shared { event, .. } => event.element_bytes(),
            Self::Row(row) => row.bytes() + 2 * size_of::<usize>(),
        };
        size_of::<Self>() + owned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Edge, Metadata, MetadataOp, Node, NodeId};
    use crate::value::Value;

    fn node(deleted_at: Option<i64>) -> Arc<Node> {
        let metric = Metadata::from_iter([("RxBytes", Value::Int(7))]);
        let metadata = Metadata::from_iter([("Name", Value::from("eth0"))]);
        let mut node = Node::new("n1", metadata, Timestamp::from_ms(5));
        MetadataOp::set("Metric", metric).apply(&mut node.metadata);
        node.updated_at = Timestamp::from_ms(8);
        node.deleted_at = deleted_at.map(Timestamp::from_ms);
        Arc::new(node)
    }

    fn events() -> Vec<GraphEvent> {
        let ops = |key: &str| {
            let value = node(None).metadata.get(key).cloned().unwrap();
            Some(vec![MetadataOp::set(key, value)].into())
        };
        let (a, b) = (NodeId::from("a"), NodeId::from("b"));
        let edge = Edge::new("e1", a, b, Metadata::new(), Timestamp::from_ms(5));
        let edge = Arc::new(edge);
        let updated = |ops| GraphEvent::NodeUpdated {
            node: node(None),
            ops,
        };
        vec![
            GraphEvent::NodeAdded(node(None)),
            updated(ops("Name")),
            updated(ops("Metric")),
            updated(None),
            GraphEvent::NodeDeleted(node(Some(9))),
            GraphEvent::EdgeAdded(Arc::clone(&edge)),
            GraphEvent::EdgeUpdated {
                edge: Arc::clone(&edge),
                ops: None,
            },
            GraphEvent::EdgeDeleted(edge),
        ]
    }

    #[test]
    fn an_unsealed_event_has_the_row_of_its_event() {
        for event in events() {
            let recorded = Timestamp::from_ms(11);
            let row = EventRow::of(&event, 3, recorded);
            let unsealed = UnsealedEvent::new(event.clone(), 3, recorded);
            assert_eq!(unsealed.row(), row, "{event:?}");
            assert_eq!(unsealed.id(), row.id);
            assert_eq!(unsealed.time(), row.time);
            assert_eq!((unsealed.seq(), unsealed.recorded()), (3, 11));
            assert_eq!(unsealed.is_edge(), row.event.is_edge());
            assert_eq!(unsealed.is_deletion(), row.event.is_deletion());
            let is_small = row.is_counter || row.event.is_deletion();
            let is_row = matches!(unsealed, UnsealedEvent::Row(_));
            assert_eq!(is_row, is_small, "metadata is shared: {event:?}");
            assert!(unsealed.bytes() > size_of::<EventRow>());
        }
    }
}
