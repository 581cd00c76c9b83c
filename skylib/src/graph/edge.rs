//! `Edge`: a relation between two nodes.

use super::{EdgeId, Metadata, NodeId, Origin};
use crate::time::Timestamp;
use crate::value::Text;

/// One revision of a relation from a parent node to a child node, such as ownership or layer 2.
///
/// ```
/// use skylib::graph::{Edge, EdgeId, Metadata, NodeId};
/// use skylib::time::Timestamp;
///
/// let (host, eth0) = (NodeId::from("host"), NodeId::from("eth0"));
/// let metadata = Metadata::from_iter([("RelationType", "ownership")]);
/// let now = Timestamp::from_ms(1000);
/// let edge = Edge::between(&host, &eth0, metadata.clone(), now);
/// assert_eq!(edge.id, EdgeId::between(&host, &eth0));
/// let another = Edge::new("uplink", &host, &eth0, metadata, now);
/// assert_eq!(another.id, EdgeId::from("uplink"));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Edge {
    /// Unique identifier among the edges of a graph.
    pub id: EdgeId,
    /// Node at which the edge starts.
    pub parent: NodeId,
    /// Node at which the edge ends.
    pub child: NodeId,
    /// Tree of metadata, which filters can test.
    pub metadata: Metadata,
    /// Host that the edge belongs to; empty if unknown.
    pub host: Text,
    /// Service that added the edge, as `<service>.<host>`; empty if unknown.
    pub origin: Text,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Time of this revision.
    pub updated_at: Timestamp,
    /// Time of deletion; `None` while the edge exists.
    pub deleted_at: Option<Timestamp>,
    /// Number of this revision: 1 for a new edge, incremented with each change to its metadata.
    pub revision: i64,
}

impl Edge {
    /// Relation between a node and its owner, of which a node has one.
    pub const OWNERSHIP: &str = "ownership";
    /// Relation between two nodes that are connected at layer 2.
    pub const LAYER2: &str = "layer2";

    /// Returns the relation, the value of `RelationType`, such as `layer2`; `None` if there is none.
    ///
    /// ```
    /// use skylib::graph::{Edge, Metadata};
    /// use skylib::time::Timestamp;
    ///
    /// let metadata = Metadata::from_iter([("RelationType", "ownership")]);
    /// let edge = Edge::between("host", "eth0", metadata, Timestamp::ZERO);
    /// assert_eq!(edge.relation_type(), Some(Edge::OWNERSHIP));
    /// assert!(edge.is_ownership());
    /// ```
    #[must_use]
    pub fn relation_type(&self) -> Option<&str> {
        self.metadata.get("RelationType")?.as_text()
    }

    /// Returns whether the parent owns the child.
    #[must_use]
    pub fn is_ownership(&self) -> bool {
        self.relation_type() == Some(Self::OWNERSHIP)
    }

    /// Returns a new edge in its first revision, created at `now`, whose id is derived from its two
    /// ends ([`EdgeId::between`]).
    ///
    /// Use [`Edge::new`] for a second edge between the same nodes in the same direction, which needs
    /// another id.
    pub fn between(
        parent: impl Into<NodeId>,
        child: impl Into<NodeId>,
        metadata: Metadata,
        now: Timestamp,
    ) -> Self {
        let (parent, child) = (parent.into(), child.into());
        Self::new(
            EdgeId::between(&parent, &child),
            parent,
            child,
            metadata,
            now,
        )
    }

    /// Returns a new edge with an explicit id in its first revision, created at `now` and without
    /// an origin.
    pub fn new(
        id: impl Into<EdgeId>,
        parent: impl Into<NodeId>,
        child: impl Into<NodeId>,
        metadata: Metadata,
        now: Timestamp,
    ) -> Self {
        Self {
            id: id.into(),
            parent: parent.into(),
            child: child.into(),
            metadata,
            host: Text::default(),
            origin: Text::default(),
            created_at: now,
            updated_at: now,
            deleted_at: None,
            revision: 1,
        }
    }

    /// Returns the same edge with this origin and its host.
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
