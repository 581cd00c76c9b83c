//! `HistoryLimits`: how much of the past is kept.

use std::time::Duration;

/// Bounds of what is kept of the past.
///
/// ```
/// use std::time::Duration;
/// use skylib::graph::history::HistoryLimits;
/// let limits = HistoryLimits::default().with_max_age(Duration::from_secs(3600));
/// assert_eq!(limits.max_bytes, 512 << 20);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryLimits {
    /// How long a revision is kept after it ended.
    pub max_age: Duration,
    /// Most bytes of revisions that have ended; an open reader may hold a quarter more.
    pub max_bytes: usize,
}

impl Default for HistoryLimits {
    /// A day, 512 MiB.
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(24 * 3600),
            max_bytes: 512 << 20,
        }
    }
}

impl HistoryLimits {
    /// With this age.
    #[must_use]
    pub const fn with_max_age(self, max_age: Duration) -> Self {
        Self { max_age, ..self }
    }

    /// With this many bytes.
    #[must_use]
    pub const fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }
}
