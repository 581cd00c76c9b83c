//! `HistoryLimits`: retention of the past.

use std::time::Duration;

/// Limits on the stored past.
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
    /// Retention: time for which a revision is stored after it has ended.
    pub max_age: Duration,
    /// Maximum size of the revisions that have ended, in bytes; up to a quarter more if open
    /// readers need them.
    pub max_bytes: usize,
}

impl Default for HistoryLimits {
    /// Returns one day and 512 MiB.
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(24 * 3600),
            max_bytes: 512 << 20,
        }
    }
}

impl HistoryLimits {
    /// Returns the same limits with another retention.
    #[must_use]
    pub const fn with_max_age(self, max_age: Duration) -> Self {
        Self { max_age, ..self }
    }

    /// Returns the same limits with another maximum size, in bytes.
    #[must_use]
    pub const fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }
}
