//! `FlowStore`: where flows stay after they have left the tables.

use std::time::Duration;

use crate::flow::{Flow, FlowMetric, FlowQuery, FlowQueryError, FlowSet};
use crate::time::{TimeSlice, Timestamp};
use crate::value::Text;

/// Keeps flows and what was counted in them over time.
///
/// A flow comes once with each update of its table and once when it ends; of each UUID the newest
/// record is kept, and of every update what it counted since the one before.
pub trait FlowStore: Send + Sync {
    /// Takes updates. `now` is the recorder's clock, by which they age.
    fn put(&self, flows: Vec<Flow>, now: Timestamp);

    /// The flows that were active in [`FlowQuery::time`], all that are kept without one.
    ///
    /// Raw packets are those captured in that time; at an instant, up to it.
    ///
    /// # Errors
    /// [`FlowQueryError::FieldNotFound`] if a flow lacks a field to sort or deduplicate by.
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError>;

    /// How many flows [`FlowStore::query`] would give.
    ///
    /// # Errors
    /// As [`FlowStore::query`].
    fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError>;

    /// What updates counted in these flows in a stretch of time, oldest first; at an instant, up to
    /// it. Flows of which nothing is known are left out.
    fn metrics(&self, uuids: &[Text], time: TimeSlice) -> Vec<(Text, Vec<FlowMetric>)>;

    /// Drops what is too old; for times in which no flow comes.
    fn expire(&self, now: Timestamp);

    /// How much is kept.
    fn status(&self) -> FlowStoreStatus;
}

/// Bounds of what is kept of flows.
///
/// ```
/// use skylib::store::FlowStoreLimits;
/// let limits = FlowStoreLimits::default().with_max_bytes(64 << 20);
/// assert_eq!(limits.grace.as_secs(), 600);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowStoreLimits {
    /// How long a flow is kept after its last update.
    pub max_age: Duration,
    /// Most bytes that flows take; those longest without an update go first.
    pub max_bytes: usize,
    /// A flow counts as active so long after its last packet: when its table would expire it.
    pub grace: Duration,
}

impl Default for FlowStoreLimits {
    /// A day, 256 MiB, ten minutes.
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(24 * 3600),
            max_bytes: 256 << 20,
            grace: Duration::from_secs(600),
        }
    }
}

impl FlowStoreLimits {
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

    /// With this grace.
    #[must_use]
    pub const fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }
}

/// How much is kept of flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowStoreStatus {
    /// Flows kept.
    pub flows: usize,
    /// Bytes they take, approximately.
    pub bytes: usize,
    /// From when on every flow is there; `None` before the first.
    pub oldest: Option<Timestamp>,
    /// Flows dropped because they were too old or too many.
    pub evicted: u64,
}
