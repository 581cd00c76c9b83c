//! `Edge`: a relation between two nodes.

use super::{EdgeId, Metadata, NodeId};
use crate::time::Timestamp;
use crate::value::Text;

/// One relation from a parent to a child (ownership, layer 2…) in one revision.
///
/// ```
/// use skylib::graph::{Edge, EdgeId, Metadata};
/// use skylib::time::Timestamp;
///
/// let metadata = Metadata::from_iter([("RelationType", "ownership")]);
/// let now = Timestamp::from_ms(1000);
/// let edge = Edge::new("", "host", "eth0", "edge-01", "agent.edge-01", metadata, now);
/// assert_eq!(edge.id, EdgeId::derived("hosteth0"), "no id given: it follows from the ends");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// Its name in the graph.
    pub id: EdgeId,
    /// Where it starts.
    pub parent: NodeId,
    /// Where it ends.
    pub child: NodeId,
    /// What is known about it.
    pub metadata: Metadata,
    /// The host it belongs to; may be empty.
    pub host: Text,
    /// Who brought it: `<service>.<host>`; may be empty.
    pub origin: Text,
    /// When it came.
    pub created_at: Timestamp,
    /// When this revision came.
    pub updated_at: Timestamp,
    /// When it went; `None` while it lives.
    pub deleted_at: Option<Timestamp>,
    /// Counts the changes of its metadata; 1 when made here.
    pub revision: i64,
}

impl Edge {
    /// A new edge in its first revision; an empty id becomes [`EdgeId::between`] its ends.
    pub fn new(
        id: impl Into<EdgeId>,
        parent: impl Into<NodeId>,
        child: impl Into<NodeId>,
        host: impl Into<Text>,
        origin: impl Into<Text>,
        metadata: Metadata,
        now: Timestamp,
    ) -> Self {
        let (mut id, parent, child) = (id.into(), parent.into(), child.into());
        if id.is_empty() {
            id = EdgeId::between(&parent, &child);
        }
        Self {
            id,
            parent,
            child,
            metadata,
            host: host.into(),
            origin: origin.into(),
            created_at: now,
            updated_at: now,
            deleted_at: None,
            revision: 1,
        }
    }
}
