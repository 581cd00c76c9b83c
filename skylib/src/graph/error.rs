//! What can go wrong with a graph.

/// Why a graph refused.
///
/// COMPAT: every client; the texts are those that HTTP and WebSocket clients are shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// A node with this id is there already.
    #[error("Node ID conflict")]
    NodeConflict,
    /// An edge with this id is there already.
    #[error("Edge ID conflict")]
    EdgeConflict,
    /// The edge starts at a node that is not there.
    #[error("Parent node not found")]
    ParentNotFound,
    /// The edge ends at a node that is not there.
    #[error("Child node not found")]
    ChildNotFound,
    /// No node has this id.
    #[error("Node not found")]
    NodeNotFound,
    /// No edge has this id.
    #[error("Edge not found")]
    EdgeNotFound,
    /// An element came without an id.
    #[error("No ID found for graph element")]
    MissingId,
    /// An edge came without the id of its parent.
    #[error("parent ID wrong format")]
    MissingParent,
    /// An edge came without the id of its child.
    #[error("child ID wrong format")]
    MissingChild,
    /// A document that is no element at all; the text says where.
    #[error("{0}")]
    Malformed(String),
    /// More elements than 32-bit numbers can name.
    #[error("the graph is full")]
    Full,
    /// So much changed since the view was opened that its revisions are no longer kept.
    #[error("the view of the graph has expired")]
    ViewExpired,
}
