//! `StopReason`: why a capture on a node is stopped.

use std::fmt;

/// Reason for the end of a capture, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    /// The capture resource was deleted.
    Deleted,
    /// The node of the capture is no longer in the graph.
    NodeDisappeared,
    /// An analyzer has requested the end of the capture.
    Requested,
    /// The engine stops.
    Shutdown,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Deleted => "deleted",
            Self::NodeDisappeared => "node disappeared",
            Self::Requested => "requested by an analyzer",
            Self::Shutdown => "shutdown",
        })
    }
}
