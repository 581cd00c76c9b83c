//! `FlowStore`: storage of flows after they have left the flow tables.

use std::ops::ControlFlow;
use std::time::Duration;

use super::StoreError;
use crate::file_use::FileUse;
use crate::flow::{Flow, FlowMetric, FlowQuery, FlowQueryError, FlowSet, PacketsByFlow};
use crate::time::{TimeSlice, Timestamp};
use crate::value::Text;

/// Stores flows and their metrics over time.
///
/// A table puts a record of a flow with each update and one when the flow ends. The store holds the
/// newest record of each UUID, and the metric of every update: the counts since the previous
/// update.
pub trait FlowStore: Send + Sync {
    /// Stores records. `now` is the time of the recorder's clock, which determines the age of
    /// records.
    fn put(&self, flows: Vec<Flow>, now: Timestamp);

    /// Waits until the store can take further records without dropping any, as long as its disk makes
    /// progress. For imports, which can wait; live flows cannot.
    fn make_room(&self) {}

    /// Returns the flows that were active in [`FlowQuery::time`], or all stored flows without a
    /// time.
    ///
    /// The result includes only raw packets captured in that time; if the time is an instant, those
    /// captured until then.
    ///
    /// # Errors
    /// Returns [`FlowQueryError::FieldNotFound`] if a flow lacks a field by which to sort or
    /// deduplicate.
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError>;

    /// Returns the result of [`FlowStore::query`]. Calls `keep_going` regularly and ends with
    /// [`FlowQueryError::Interrupted`] when it returns `false`, if the store can take long.
    ///
    /// # Errors
    /// Returns the errors of [`FlowStore::query`].
    fn query_while(
        &self,
        query: &FlowQuery,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<FlowSet, FlowQueryError> {
        let _ = keep_going;
        self.query(query)
    }

    /// Calls `visit` with each flow that [`FlowStore::query_while`] would return, until it breaks. The
    /// flows may lack their raw packets.
    ///
    /// # Errors
    /// Returns the errors of [`FlowStore::query_while`].
    fn visit(
        &self,
        query: &FlowQuery,
        keep_going: &dyn Fn() -> bool,
        visit: &mut dyn FnMut(&Flow) -> ControlFlow<()>,
    ) -> Result<(), FlowQueryError> {
        let set = self.query_while(query, keep_going)?;
        let _stopped = set.flows.iter().try_for_each(visit);
        Ok(())
    }

    /// Returns the number of flows that [`FlowStore::query`] would return. Ends as
    /// [`FlowStore::query_while`] does when `keep_going` returns `false`.
    ///
    /// # Errors
    /// Returns the errors of [`FlowStore::query_while`].
    fn count_while(
        &self,
        query: &FlowQuery,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<u64, FlowQueryError> {
        Ok(self.query_while(query, keep_going)?.flows.len() as u64)
    }

    /// Returns the number of flows that [`FlowStore::query`] would return.
    ///
    /// # Errors
    /// Returns the errors of [`FlowStore::query`].
    fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        self.count_while(query, &|| true)
    }

    /// Returns the metrics of these flows within a time slice, oldest first; if the slice is an
    /// instant, the metrics until then. Flows without metrics are omitted. Ends as
    /// [`FlowStore::query_while`] does when `keep_going` returns `false`.
    ///
    /// # Errors
    /// Returns [`FlowQueryError::Interrupted`] if it was interrupted.
    fn metrics_while(
        &self,
        uuids: &[Text],
        time: TimeSlice,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Vec<(Text, Vec<FlowMetric>)>, FlowQueryError>;

    /// Returns the metrics of these flows as [`FlowStore::metrics_while`] does.
    fn metrics(&self, uuids: &[Text], time: TimeSlice) -> Vec<(Text, Vec<FlowMetric>)> {
        self.metrics_while(uuids, time, &|| true)
            .unwrap_or_default()
    }

    /// Returns the parts of files that [`FlowStore::query`] reads, for explanations; empty for a
    /// store in memory.
    fn files(&self, query: &FlowQuery) -> Vec<FileUse> {
        let _ = query;
        Vec::new()
    }

    /// Returns the times whose flows are missing in answers about `time`, because their files were
    /// found damaged.
    fn damaged(&self, time: TimeSlice) -> Vec<TimeSlice> {
        let _ = time;
        Vec::new()
    }

    /// Returns the raw packets of these flows, ordered by index. Flows without packets are omitted.
    fn raw_packets(&self, uuids: &[Text]) -> PacketsByFlow;

    /// Drops records that are too old at `now`. Must be called regularly: [`FlowStore::put`] also
    /// drops records, but may not be called for a long time.
    fn expire(&self, now: Timestamp);

    /// Returns once all records that were put before survive a power failure, if the store has a
    /// disk.
    ///
    /// # Errors
    /// Returns an error if the disk cannot be written.
    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Returns the number and the size of the stored flows.
    fn status(&self) -> FlowStoreStatus;
}

/// Retention limits of a [`FlowStore`].
///
/// ```
/// use skylib::store::FlowStoreLimits;
/// let limits = FlowStoreLimits::default().with_max_bytes(64 << 20);
/// assert_eq!(limits.grace.as_secs(), 600);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowStoreLimits {
    /// Retention of a flow after its last update.
    pub max_age: Duration,
    /// Maximum memory of all flows, in bytes; the flows updated least recently are evicted first.
    pub max_bytes: usize,
    /// Time after its last packet for which a flow counts as active: the expiry time of its table.
    pub grace: Duration,
}

impl Default for FlowStoreLimits {
    /// Returns limits of 24 hours and 256 MiB, with a grace time of 10 minutes.
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(24 * 3600),
            max_bytes: 256 << 20,
            grace: Duration::from_secs(600),
        }
    }
}

impl FlowStoreLimits {
    /// Sets the retention of a flow after its last update.
    #[must_use]
    pub const fn with_max_age(self, max_age: Duration) -> Self {
        Self { max_age, ..self }
    }

    /// Sets the maximum memory of all flows, in bytes.
    #[must_use]
    pub const fn with_max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Sets the time after its last packet for which a flow counts as active.
    #[must_use]
    pub const fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }
}

/// Number and size of the flows in a [`FlowStore`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowStoreStatus {
    /// Number of stored flows.
    pub flows: usize,
    /// Approximate size of the stored flows in memory and on disk, in bytes.
    pub bytes: usize,
    /// Time since which the store is complete: every flow updated later is stored. `None` before
    /// the first flow.
    pub oldest: Option<Timestamp>,
    /// Number of flows evicted because of their age or the memory limit.
    pub evicted: u64,
    /// Number of sealed segments on the disk; 0 for a store in memory.
    pub segments: usize,
    /// Number of damaged files that were moved to the folder `damaged`.
    pub damaged: usize,
    /// Bytes of incomplete or damaged frames in logs, which were lost.
    pub lost_log_bytes: u64,
}
