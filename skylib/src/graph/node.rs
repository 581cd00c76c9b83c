//! `Node`: an object in the network.

use super::{Metadata, NodeId, Origin};
use crate::time::Timestamp;
use crate::value::Text;

/// One revision of an object in the network, such as a host, an interface, or a container.
///
/// ```
/// use skylib::graph::{Metadata, Node, Origin};
/// use skylib::time::Timestamp;
///
/// let metadata = Metadata::from_iter([("Name", "eth0"), ("Type", "device")]);
/// let node = Node::new("n1", metadata, Timestamp::from_ms(1000))
///     .with_origin(Origin::new("agent", "edge-01"));
/// assert_eq!(
///     serde_json::to_string(&node)?,
///     r#"{"ID":"n1","Metadata":{"Name":"eth0","Type":"device"},"Host":"edge-01","#.to_owned()
///         + r#""Origin":"agent.edge-01","CreatedAt":1000,"UpdatedAt":1000,"#
///         + r#""DeletedAt":null,"Revision":1}"#
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Node {
    /// Unique identifier among the nodes of a graph.
    pub id: NodeId,
    /// Tree of metadata, which filters can test.
    pub metadata: Metadata,
    /// Host that the node belongs to; empty if unknown.
    pub host: Text,
    /// Service that added the node, as `<service>.<host>`; empty if unknown.
    pub origin: Text,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of this revision.
    pub updated_at: Timestamp,
    /// Time of deletion; `None` while the node exists.
    pub deleted_at: Option<Timestamp>,
    /// Number of this revision: 1 for a new node, incremented with each change to its metadata.
    pub revision: i64,
}

impl Node {
    /// Returns a new node in its first revision, created at `now` and without an origin.
    pub fn new(id: impl Into<NodeId>, metadata: Metadata, now: Timestamp) -> Self {
        Self {
            id: id.into(),
            metadata,
            host: Text::default(),
            origin: Text::default(),
            created_at: now,
            updated_at: now,
            deleted_at: None,
            revision: 1,
        }
    }

    /// Returns the same node with this origin and its host.
    #[must_use]
    pub fn with_origin(self, origin: Origin) -> Self {
        let (origin, host) = origin.into_parts();
        Self {
            host,
            origin,
            ..self
        }
    }
}
