//! `GraphEvent`: what happened to a graph, in the order it happened.

use std::sync::Arc;

use super::{Edge, MetadataOp, Node};

/// One change of a graph. Complete by definition: it mirrors the messages on the wire.
///
/// A deletion carries the element as it was, `deleted_at` set. Edges of a deleted node go before
/// it. `ops` of an update are what changed; `None` where operations cannot say it (a literal key
/// with a dot), the whole metadata is new then.
#[derive(Clone, Debug, PartialEq)]
pub enum GraphEvent {
    /// A node came.
    NodeAdded(Arc<Node>),
    /// A node's metadata changed.
    NodeUpdated {
        /// The new revision.
        node: Arc<Node>,
        /// What changed.
        ops: Option<Arc<[MetadataOp]>>,
    },
    /// A node went, its edges before it.
    NodeDeleted(Arc<Node>),
    /// An edge came.
    EdgeAdded(Arc<Edge>),
    /// An edge's metadata changed.
    EdgeUpdated {
        /// The new revision.
        edge: Arc<Edge>,
        /// What changed.
        ops: Option<Arc<[MetadataOp]>>,
    },
    /// An edge went.
    EdgeDeleted(Arc<Edge>),
}

impl GraphEvent {
    /// Roughly how many bytes its element's metadata takes.
    #[must_use]
    pub fn metadata_bytes(&self) -> usize {
        match self {
            Self::NodeAdded(node) | Self::NodeUpdated { node, .. } | Self::NodeDeleted(node) => {
                node.metadata.heap_bytes()
            }
            Self::EdgeAdded(edge) | Self::EdgeUpdated { edge, .. } | Self::EdgeDeleted(edge) => {
                edge.metadata.heap_bytes()
            }
        }
    }
}
