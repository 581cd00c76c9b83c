//! `ReplayError`: a failed replay, with the counters up to the failure.

use std::error::Error;
use std::fmt;

use crate::capture::CaptureError;
use crate::flow::FlowTableStats;

/// Failure of a replay's packet source. Displays as its [`CaptureError`].
#[derive(Debug)]
#[non_exhaustive]
pub struct ReplayError {
    /// Counters of the flow tables up to the failure.
    pub stats: FlowTableStats,
    /// Error of the source.
    pub error: CaptureError,
}

impl ReplayError {
    /// Creates an error from the counters so far and the error of the source.
    pub(super) const fn new(stats: FlowTableStats, error: CaptureError) -> Self {
        Self { stats, error }
    }
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for ReplayError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl From<ReplayError> for CaptureError {
    fn from(error: ReplayError) -> Self {
        error.error
    }
}
