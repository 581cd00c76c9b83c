//! `Node`: a thing in the network.

use super::{Metadata, NodeId};
use crate::time::Timestamp;
use crate::value::Text;

/// One thing in the network (a host, an interface, a container…) in one revision.
///
/// ```
/// use skylib::graph::{Metadata, Node};
/// use skylib::time::Timestamp;
///
/// let metadata = Metadata::from_iter([("Name", "eth0"), ("Type", "device")]);
/// let node = Node::new("n1", "edge-01", "agent.edge-01", metadata, Timestamp::from_ms(1000));
/// assert_eq!(
///     serde_json::to_string(&node)?,
///     r#"{"ID":"n1","Metadata":{"Name":"eth0","Type":"device"},"Host":"edge-01","#.to_owned()
///         + r#""Origin":"agent.edge-01","CreatedAt":1000,"UpdatedAt":1000,"#
///         + r#""DeletedAt":null,"Revision":1}"#
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name in the graph.
    pub id: NodeId,
    /// What is known about it.
    pub metadata: Metadata,
    /// The host it belongs to; may be empty.
    pub host: Text,
    /// Who brought it: `<service>.<host>`, for example `agent.edge-01`; may be empty.
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

impl Node {
    /// A new node in its first revision.
    pub fn new(
        id: impl Into<NodeId>,
        host: impl Into<Text>,
        origin: impl Into<Text>,
        metadata: Metadata,
        now: Timestamp,
    ) -> Self {
        Self {
            id: id.into(),
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
