//! `ReplayError`: a failed replay, with the counters up to the failure.

use std::error::Error;
use std::fmt;

use crate::capture::CaptureError;
use crate::flow::FlowTableStats;

/// Error from a replay's packet source. Displayed like the [`CaptureError`] that it contains.
#[derive(Debug)]
pub struct ReplayError {
    /// Boxed, because a `Result` is as large as its larger variant.
    stats: Box<FlowTableStats>,
    error: CaptureError,
}

impl ReplayError {
    /// Creates an error from the counters up to the failure and the error of the source.
    pub(super) fn new(stats: FlowTableStats, error: CaptureError) -> Self {
        Self {
            stats: Box::new(stats),
            error,
        }
    }

    /// Returns the counters of the flow tables up to the failure.
    #[must_use]
    pub const fn stats(&self) -> &FlowTableStats {
        &self.stats
    }

    /// Returns the error of the source.
    #[must_use]
    pub const fn error(&self) -> &CaptureError {
        &self.error
    }

    /// Returns the counters of the flow tables up to the failure, and the error of the source.
    #[must_use]
    pub fn into_parts(self) -> (FlowTableStats, CaptureError) {
        (*self.stats, self.error)
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
