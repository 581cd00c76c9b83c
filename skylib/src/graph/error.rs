//! Errors of graph operations.

use crate::memory::MemoryExhausted;

/// Error of a graph operation.
///
/// COMPAT: every client: the messages are part of HTTP and WebSocket replies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// A node with this id exists already.
    #[error("Node ID conflict")]
    NodeConflict,
    /// An edge with this id exists already.
    #[error("Edge ID conflict")]
    EdgeConflict,
    /// The node at which the edge starts does not exist.
    #[error("Parent node not found")]
    ParentNotFound,
    /// The node at which the edge ends does not exist.
    #[error("Child node not found")]
    ChildNotFound,
    /// No node has this id.
    #[error("Node not found")]
    NodeNotFound,
    /// No edge has this id.
    #[error("Edge not found")]
    EdgeNotFound,
    /// The element has no id.
    #[error("No ID found for graph element")]
    MissingId,
    /// The edge has no parent id.
    #[error("parent ID wrong format")]
    MissingParent,
    /// The edge has no child id.
    #[error("child ID wrong format")]
    MissingChild,
    /// A metadata value of a node does not have the shape that its key requires.
    #[error("metadata key {key} must be {expected}")]
    MetadataShape {
        /// Metadata key, such as `Captures`.
        key: String,
        /// Required shape, such as `an array of objects`.
        expected: &'static str,
    },
    /// The document is not a graph element; the message contains the position.
    #[error("{0}")]
    Malformed(String),
    /// The element is larger than the limit for elements that were not added by this host's probes.
    #[error(
        "the element has {bytes} bytes, more than the limit of {limit} bytes \
         (graph.max_element_bytes)"
    )]
    ElementTooLarge {
        /// Size of the element, in bytes.
        bytes: usize,
        /// Value of `graph.max_element_bytes`, in bytes.
        limit: usize,
    },
    /// The elements that were not added by this host's probes have reached their size limit.
    #[error("limit of {limit} bytes for nodes and edges reached (graph.max_bytes)")]
    TooManyBytes {
        /// Value of `graph.max_bytes`, in bytes.
        limit: usize,
    },
    /// The graph has reached the maximum number of nodes or edges.
    #[error("limit of {limit} nodes or edges reached (http.limits.nodes, http.limits.edges)")]
    TooManyElements {
        /// Value of `http.limits.nodes` or `http.limits.edges`.
        limit: usize,
    },
    /// The graph has 2^31 nodes or edges, the maximum.
    #[error("the graph has reached the maximum of 2^31 nodes or edges")]
    Full,
    /// The revisions that the snapshot needs have been dropped, because too much has changed since it
    /// was opened ([`Graph::set_past_limits`](super::Graph::set_past_limits)).
    #[error(
        "the snapshot of the graph has expired because the graph changed too much; repeat the query"
    )]
    ViewExpired,
    /// The reader of the past was interrupted.
    #[error("query interrupted")]
    Interrupted,
    /// The graph of the requested time is too large to be restored from the history.
    #[error("the history of the requested time exceeds the memory limit of {limit} bytes")]
    PastTooLarge {
        /// Maximum memory of a reader, in bytes.
        limit: usize,
    },
    /// The memory for clients is exhausted.
    #[error(transparent)]
    Memory(MemoryExhausted),
    /// The history of the graph cannot be read from the disk.
    #[error("cannot read the history of the topology: {reason}")]
    Unreadable {
        /// Error of the disk.
        reason: String,
    },
}

impl GraphError {
    /// Returns whether the graph rejected an element because of a size limit.
    #[must_use]
    pub const fn is_limit(&self) -> bool {
        matches!(
            self,
            Self::ElementTooLarge { .. } | Self::TooManyBytes { .. } | Self::TooManyElements { .. }
        )
    }
}
