//! `ScheduledQuery`: a live query and the times of its updates.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::client::{LiveEvent, Slot};
use super::{LiveHub, LiveOptions};
use crate::engine::monotonic;
use crate::gremlin::QueryError;
use crate::gremlin::live::LiveQuery;

/// Live query that the live thread serves.
pub(super) struct ScheduledQuery {
    pub(super) query: LiveQuery,
    pub(super) slot: Arc<Slot>,
    /// Interval between two runs, if the query reads flows or history.
    timed_interval: Duration,
    /// Time of the last update, or of the last check for an update.
    last_update: Instant,
    /// Time of the last run.
    last_run: Instant,
    /// Duration of the last run.
    run_time: Duration,
}

impl ScheduledQuery {
    /// Returns a query that has just completed its first run.
    pub(super) fn new(
        query: LiveQuery,
        slot: Arc<Slot>,
        timed_interval: Duration,
        run_time: Duration,
    ) -> Self {
        let now = monotonic::now();
        Self {
            query,
            slot,
            timed_interval,
            last_update: now,
            last_run: now,
            run_time,
        }
    }

    /// Returns the time at which the next update is due; `None` if this depends on an event or on
    /// the client.
    fn next_time(&self, options: &LiveOptions) -> Option<Instant> {
        if !self.slot.is_empty() {
            return None;
        }
        let timed = self
            .query
            .is_timed()
            .then(|| self.last_run + self.timed_interval.max(self.rest()));
        let soon = self.last_update + options.interval;
        let changed = if self.query.is_stale() {
            Some(soon.max(self.last_run + self.rest()))
        } else {
            self.query.has_changes().then_some(soon)
        };
        match (timed, changed) {
            (Some(timed), Some(changed)) => Some(timed.min(changed)),
            (timed, changed) => timed.or(changed),
        }
    }

    /// Returns the minimum pause between two runs: a query runs for at most a tenth of the time.
    fn rest(&self) -> Duration {
        self.run_time.saturating_mul(10)
    }

    /// Returns whether an update is due.
    pub(super) fn is_due(&self, now: Instant, options: &LiveOptions) -> bool {
        self.next_time(options).is_some_and(|time| time <= now)
    }

    /// Returns the expected duration of the next update.
    pub(super) fn cost(&self) -> Duration {
        match self.query.is_stale() || self.query.is_timed() {
            true => self.run_time,
            false => Duration::ZERO,
        }
    }

    /// Puts the changes since the last update into the client's slot. Returns whether this required
    /// running the query.
    pub(super) fn update(&mut self, hub: &LiveHub) -> bool {
        self.last_update = monotonic::now();
        let must_run = self.query.is_stale()
            || (self.query.is_timed() && self.last_update >= self.last_run + self.timed_interval);
        if !must_run {
            if let Some(update) = self.query.take_changes() {
                self.slot.put(LiveEvent::Update(update));
            }
            return false;
        }
        let start = self.last_update;
        let is_canceled = || self.slot.is_closed();
        // A panic ends only this query, not the thread, which serves the queries of all clients.
        let run = AssertUnwindSafe(|| hub.refresh(&mut self.query, None, &is_canceled));
        let result = catch_unwind(run).unwrap_or_else(|_| {
            Err(QueryError::execute(
                "internal error: the query panicked; see the log of the daemon",
            ))
        });
        self.last_update = monotonic::now();
        self.last_run = self.last_update;
        self.run_time = self.last_update - start;
        match result {
            Ok(None) => {}
            Ok(Some(update)) => self.slot.put(LiveEvent::Update(update)),
            Err(_) if self.slot.is_closed() => {}
            Err(error) => self.end(hub, error),
        }
        true
    }

    /// Ends the query with an error, which the client receives.
    pub(super) fn end(&self, hub: &LiveHub, error: QueryError) {
        hub.ended.fetch_add(1, Ordering::Relaxed);
        self.slot.end(error);
    }
}

/// Returns the earliest time at which one of these queries is due; `None` if no time is known.
pub(super) fn next_time(queries: &[ScheduledQuery], options: &LiveOptions) -> Option<Instant> {
    queries
        .iter()
        .filter_map(|query| query.next_time(options))
        .min()
}
