//! Errors of graph operations.

/// Error of a graph operation.
///
/// COMPAT: every client: the texts are part of HTTP and WebSocket replies.
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
    /// The document is not a graph element; the text contains the position.
    #[error("{0}")]
    Malformed(String),
    /// The graph has 2^31 nodes or edges, the maximum.
    #[error("the graph is full")]
    Full,
    /// The revisions that the snapshot needs have been dropped, because too much has changed since it
    /// was opened ([`Graph::set_past_limits`](super::Graph::set_past_limits)).
    #[error("the view of the graph has expired")]
    ViewExpired,
}
