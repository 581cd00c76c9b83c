//! `Follower`: a live query that the thread looks after.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::client::{LiveNews, Slot};
use super::{LiveHub, LiveOptions};
use crate::engine::monotonic;
use crate::gremlin::QueryError;
use crate::gremlin::live::LiveQuery;

pub(super) struct Follower {
    pub(super) query: LiveQuery,
    pub(super) slot: Arc<Slot>,
    /// When it last told, or looked whether there is something to tell.
    told: Instant,
    /// When it last ran, and how long that took.
    ran: Instant,
    took: Duration,
}

impl Follower {
    /// A query that has just run for the first time.
    pub(super) fn new(query: LiveQuery, slot: Arc<Slot>, took: Duration) -> Self {
        let now = monotonic::now();
        Self {
            query,
            slot,
            told: now,
            ran: now,
            took,
        }
    }

    /// When there may be something to tell; `None` as long as nothing happens.
    fn time(&self, options: &LiveOptions) -> Option<Instant> {
        if !self.slot.is_empty() {
            return None;
        }
        let timed = self
            .query
            .is_timed()
            .then(|| self.ran + options.timed_interval.max(self.rest()));
        let soon = self.told + options.interval;
        let changed = if self.query.is_stale() {
            Some(soon.max(self.ran + self.rest()))
        } else {
            self.query.has_changes().then_some(soon)
        };
        match (timed, changed) {
            (Some(timed), Some(changed)) => Some(timed.min(changed)),
            (timed, changed) => timed.or(changed),
        }
    }

    /// How long after a run the next may begin: a query runs a tenth of the time at most.
    fn rest(&self) -> Duration {
        self.took.saturating_mul(10)
    }

    pub(super) fn is_due(&self, now: Instant, options: &LiveOptions) -> bool {
        self.time(options).is_some_and(|time| time <= now)
    }

    /// How long it will take, by what it took.
    pub(super) fn cost(&self) -> Duration {
        match self.query.is_stale() || self.query.is_timed() {
            true => self.took,
            false => Duration::ZERO,
        }
    }

    /// Tells what is new; whether the query ran for it.
    pub(super) fn tell(&mut self, hub: &LiveHub) -> bool {
        self.told = monotonic::now();
        let must_run = self.query.is_stale()
            || (self.query.is_timed() && self.told >= self.ran + hub.options.timed_interval);
        if !must_run {
            let news = self.query.take_changes();
            if let Some(update) = news {
                self.slot.put(LiveNews::Update(update));
            }
            return false;
        }
        let began = self.told;
        let is_given_up = || self.slot.is_closed();
        // A fault in our code ends this query, not all of them.
        let run = AssertUnwindSafe(|| hub.refresh(&mut self.query, &is_given_up));
        let result = catch_unwind(run)
            .unwrap_or_else(|_| Err(QueryError::execute("the query met a fault in the daemon")));
        self.told = monotonic::now();
        self.ran = self.told;
        self.took = self.told - began;
        match result {
            Ok(None) => {}
            Ok(Some(update)) => self.slot.put(LiveNews::Update(update)),
            Err(_) if self.slot.is_closed() => {}
            Err(error) => self.end(hub, error),
        }
        true
    }

    /// Says that it goes on no more, and why.
    pub(super) fn end(&self, hub: &LiveHub, error: QueryError) {
        hub.ended.fetch_add(1, Ordering::Relaxed);
        self.slot.end(error);
    }
}

/// When the first of some queries may have something to tell.
pub(super) fn next_time(followers: &[Follower], options: &LiveOptions) -> Option<Instant> {
    followers
        .iter()
        .filter_map(|follower| follower.time(options))
        .min()
}
