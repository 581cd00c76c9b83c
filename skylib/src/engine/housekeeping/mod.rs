//! `Housekeeping`: one thread that deletes expired resources, enforces the retention of the history
//! and of flows, and saves the activity log.
//!
//! The thread sleeps until the next deadline. A new resource whose time to live ends earlier moves
//! the deadline forward ([`Deadline`], an observer of all kinds of resources). The retention of
//! history and flows is checked once per [`RETENTION_INTERVAL`]. The cost of a pass is linear in
//! the number of resources plus the number of expired records.

mod expiry;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use self::expiry::Expiry;
use crate::engine::flow::FlowHub;
use crate::engine::graph::SharedGraph;
use crate::engine::replication::Replication;
use crate::engine::resource::{Expirable, Observer};
use crate::store::ActivityLog;
use crate::time::{Clock, Timestamp};

/// State of the housekeeping thread.
pub(super) struct Housekeeping {
    deadline: Arc<Deadline>,
    expiries: Vec<Expiry>,
    graph: Arc<SharedGraph>,
    flows: Arc<FlowHub>,
    replication: Arc<Replication>,
    activities: Arc<ActivityLog>,
    clock: Arc<dyn Clock>,
    next_retention: Timestamp,
}

impl Housekeeping {
    /// Returns the state for these resources, the history of this graph, and these flows.
    pub(super) fn new(
        deadline: Arc<Deadline>,
        resources: Vec<Arc<dyn Expirable>>,
        graph: Arc<SharedGraph>,
        flows: Arc<FlowHub>,
        replication: Arc<Replication>,
        activities: Arc<ActivityLog>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            deadline,
            expiries: resources.into_iter().map(Expiry::new).collect(),
            graph,
            flows,
            replication,
            activities,
            next_retention: clock.now(),
            clock,
        }
    }

    /// Runs until [`Deadline::stop`] is called; the body of the thread.
    pub(super) fn run(mut self) {
        loop {
            // The deadline is removed before the resources are read, so that resources created from
            // now on set an earlier deadline.
            self.deadline.reset();
            let next = self.tidy(self.clock.now());
            if !self.deadline.wait(&*self.clock, next) {
                self.activities.save(self.clock.now());
                return;
            }
        }
    }

    /// Deletes expired resources and records. Returns the time of the next pass.
    fn tidy(&mut self, now: Timestamp) -> Timestamp {
        for expiry in &mut self.expiries {
            expiry.expire(now);
        }
        let latest = now.saturating_add(RETENTION_INTERVAL);
        // The second condition applies if the clock was set back.
        if now >= self.next_retention || self.next_retention > latest {
            self.next_retention = latest;
            self.activities.save(now);
            if let Some(history) = self.graph.history() {
                history.expire(now);
            }
            if let Some(store) = self.flows.store() {
                store.expire(now);
            }
        }
        let expiries = self.expiries.iter().filter_map(Expiry::next);
        let expiries = expiries.chain(self.replication.expire());
        expiries.fold(self.next_retention, Timestamp::min)
    }
}

/// Time until which the housekeeping thread sleeps.
#[derive(Default)]
pub(super) struct Deadline {
    state: Mutex<DeadlineState>,
    /// Signal that wakes the thread: the deadline has been moved forward, or the thread must end.
    changed: Condvar,
}

#[derive(Default)]
struct DeadlineState {
    /// Deadline; `None` if nothing is due.
    time: Option<Timestamp>,
    stop: bool,
}

impl Deadline {
    /// Moves the deadline to `time` if that is earlier.
    fn advance(&self, time: Timestamp) {
        let mut state = self.state.lock();
        if state.time.is_none_or(|deadline| time < deadline) {
            state.time = Some(time);
            self.changed.notify_one();
        }
    }

    /// Removes the deadline.
    fn reset(&self) {
        self.state.lock().time = None;
    }

    /// Waits until `time` or an earlier deadline. Returns `false` if the thread must end.
    fn wait(&self, clock: &dyn Clock, time: Timestamp) -> bool {
        let mut state = self.state.lock();
        let first = state.time.map_or(time, |deadline| deadline.min(time));
        state.time = Some(first);
        while let Some(time) = state.time
            && !state.stop
        {
            let now = clock.now();
            if now >= time {
                break;
            }
            // The sleep is limited, because the clock may be set back.
            let duration = time.duration_since(now).min(RETENTION_INTERVAL);
            if self.changed.wait_for(&mut state, duration).timed_out() {
                break;
            }
        }
        !state.stop
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_one();
    }
}

impl<R> Observer<R> for Deadline {
    fn created(&self, _: &R, expires_at: Option<Timestamp>) {
        if let Some(time) = expires_at {
            self.advance(time);
        }
    }
}

/// Interval at which the retention of history and flows is enforced.
const RETENTION_INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    const START: Timestamp = Timestamp::from_ms(1_000_000);

    fn at(seconds: u64) -> Timestamp {
        START.saturating_add(Duration::from_secs(seconds))
    }

    #[test]
    fn an_earlier_deadline_ends_the_wait_and_a_later_one_does_not() {
        let deadline = Deadline::default();
        deadline.advance(at(50));
        deadline.advance(at(70));
        assert_eq!(deadline.state.lock().time, Some(at(50)));
        deadline.reset();
        deadline.advance(at(0));
        let clock = ManualClock::new(START);
        assert!(deadline.wait(&clock, at(60)), "is due at once");
        assert_eq!(deadline.state.lock().time, Some(at(0)));
    }

    #[test]
    fn a_stopped_thread_does_not_wait() {
        let deadline = Deadline::default();
        deadline.stop();
        assert!(!deadline.wait(&ManualClock::new(START), at(60)));
    }
}
