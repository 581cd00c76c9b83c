//! `GraphEvent`: one change to a graph.

use std::sync::Arc;

use super::{Edge, MetadataOp, Node};

/// One change to a graph; corresponds to one message of the wire format.
///
/// A deletion contains the last revision with `deleted_at` set. The edges of a deleted node are
/// deleted before the node. The `ops` of an update are the changes to the metadata; `None` if
/// operations cannot express them because a key contains a dot: then the whole metadata has to be
/// replaced.
#[derive(Clone, Debug, PartialEq)]
pub enum GraphEvent {
    /// A node was added.
    NodeAdded(Arc<Node>),
    /// A node's metadata changed.
    NodeUpdated {
        /// New revision.
        node: Arc<Node>,
        /// Changes to the metadata.
        ops: Option<Arc<[MetadataOp]>>,
    },
    /// A node was deleted, after its edges.
    NodeDeleted(Arc<Node>),
    /// An edge was added.
    EdgeAdded(Arc<Edge>),
    /// An edge's metadata changed.
    EdgeUpdated {
        /// New revision.
        edge: Arc<Edge>,
        /// Changes to the metadata.
        ops: Option<Arc<[MetadataOp]>>,
    },
    /// An edge was deleted.
    EdgeDeleted(Arc<Edge>),
}

impl GraphEvent {
    /// Returns the heap size of the element's metadata in bytes, approximately.
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

    /// Returns the size of the element in bytes, approximately; parts that it shares with other
    /// revisions count as if owned.
    #[cfg(feature = "history")]
    pub(crate) fn element_bytes(&self) -> usize {
        match self {
            Self::NodeAdded(node) | Self::NodeUpdated { node, .. } | Self::NodeDeleted(node) => {
                super::element::size(&**node)
            }
            Self::EdgeAdded(edge) | Self::EdgeUpdated { edge, .. } | Self::EdgeDeleted(edge) => {
                super::element::size(&**edge)
            }
        }
    }
}
