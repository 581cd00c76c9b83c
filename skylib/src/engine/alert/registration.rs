//! `Registration`: an active alert.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::outcome::{Outcome, Reason};
use crate::api::AlertSpec;
use crate::back_off::BackOff;
use crate::engine::live::LiveEvent;
use crate::engine::monotonic;
use crate::go_duration;
use crate::gremlin::Query;
use crate::gremlin::live::AnswerReplica;

/// Active alert, since its creation or last change.
pub(super) struct Registration {
    pub(super) spec: AlertSpec,
    pub(super) number: u64,
    pub(super) watch: Watch,
    /// Time of the next evaluation; `None` until a change.
    due: Option<Instant>,
    /// Earliest time of the next evaluation after a change to the graph.
    earliest: Instant,
    /// Whether an evaluation runs on another thread.
    pub(super) is_running: bool,
    /// Cancels the evaluation when the registration ends.
    pub(super) cancel: Cancel,
    /// Hash of the result for which the alert last fired; `None` if the alert is armed.
    pub(super) last: Option<u64>,
    /// Pauses before the live query is opened again after it has ended.
    back_off: BackOff,
}

/// Flag that is set when its owner is dropped.
#[derive(Default)]
pub(super) struct Cancel(pub(super) Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Method of evaluation of an expression.
pub(super) enum Watch {
    /// Live query.
    Live {
        query: Query,
        replica: AnswerReplica,
    },
    /// Query that runs periodically.
    Timed { query: Query, period: Duration },
    /// JavaScript that is evaluated periodically, or after each change to the graph.
    Script {
        source: String,
        period: Option<Duration>,
    },
}

impl Registration {
    /// Parses the expression: Gremlin if the parser accepts it, otherwise JavaScript. The
    /// expression is evaluated immediately.
    pub(super) fn new(spec: AlertSpec, number: u64) -> Self {
        let period = spec.trigger.strip_prefix("duration:");
        let period = period.and_then(|text| go_duration::parse(text).ok());
        let watch = match (Query::parse(&spec.expression), period) {
            (Ok(query), None) => Watch::Live {
                query,
                replica: AnswerReplica::default(),
            },
            (Ok(query), Some(period)) => Watch::Timed { query, period },
            (Err(_), period) => Watch::Script {
                source: spec.expression.clone(),
                period,
            },
        };
        let now = monotonic::now();
        Self {
            due: Some(now),
            earliest: now,
            spec,
            number,
            watch,
            is_running: false,
            cancel: Cancel::default(),
            last: None,
            back_off: BackOff::new(FIRST_PAUSE, MAX_PAUSE),
        }
    }

    fn period(&self) -> Option<Duration> {
        match &self.watch {
            Watch::Live { .. } => None,
            Watch::Timed { period, .. } => Some(*period),
            Watch::Script { period, .. } => *period,
        }
    }

    /// Returns the time of the next evaluation; `None` until a change.
    pub(super) fn next_time(&self) -> Option<Instant> {
        self.due.filter(|_| !self.is_running)
    }

    /// Schedules the evaluation of JavaScript without a period, because the graph has changed.
    pub(super) fn note_change(&mut self) {
        if matches!(self.watch, Watch::Script { period: None, .. }) {
            self.due.get_or_insert(self.earliest);
        }
    }

    /// Begins an evaluation, and sets the time of the next evaluation. Live queries need none.
    pub(super) fn begin(&mut self, now: Instant) {
        self.earliest = now + INTERVAL;
        self.due = self.period().map(|period| now + period.max(MIN_PERIOD));
    }

    /// Delays the next evaluation, so that long evaluations occupy the thread for at most a tenth
    /// of the time.
    pub(super) fn delay_next(&mut self, run_time: Duration) {
        let earliest = monotonic::now() + run_time.saturating_mul(10);
        self.due = self.due.map(|due| due.max(earliest));
    }

    /// Schedules the next attempt to open the live query, which has ended or could not be opened.
    pub(super) fn reopen_later(&mut self) {
        if let Watch::Live { replica, .. } = &mut self.watch {
            *replica = AnswerReplica::default();
        }
        self.due = Some(monotonic::now() + self.back_off.next(0));
    }

    /// Applies an event of the live query. Returns the new outcome.
    pub(super) fn apply(&mut self, event: LiveEvent) -> Option<Outcome> {
        let Watch::Live { replica, .. } = &mut self.watch else {
            return None;
        };
        Some(match event {
            LiveEvent::Update(update) => {
                replica.apply(&update);
                self.back_off.reset();
                Outcome::of_live(replica)
            }
            LiveEvent::Ended(error) => {
                self.reopen_later();
                Outcome::Failed(error.to_string())
            }
        })
    }

    /// Returns the JSON text of a result.
    pub(super) fn json(&self, reason: Reason) -> String {
        let text = |replica: &AnswerReplica| serde_json::to_string(replica).unwrap_or_default();
        match (reason, &self.watch) {
            (Reason::Json(json), _) => json,
            (Reason::Answer(replica), _) => text(&replica),
            (Reason::Live, Watch::Live { replica, .. }) => text(replica),
            (Reason::Live, _) => String::new(),
        }
    }
}

/// Minimum time between two evaluations after changes of the graph.
const INTERVAL: Duration = Duration::from_millis(100);
/// Minimum period of an evaluation.
const MIN_PERIOD: Duration = Duration::from_millis(10);
/// Time until a live query that has ended is opened again, and its maximum after repeated failures;
/// the pause is half of it.
const FIRST_PAUSE: Duration = if cfg!(test) {
    Duration::from_millis(20)
} else {
    Duration::from_secs(1)
};
const MAX_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gremlin::Answer;
    use crate::gremlin::QueryError;
    use crate::gremlin::live::Update;

    #[test]
    fn a_live_query_that_has_ended_is_opened_again_after_growing_pauses() {
        let mut registration = Registration::new(AlertSpec::new("G.V()"), 1);
        let now = monotonic::now();
        assert!(registration.next_time().is_some_and(|time| time <= now));
        registration.begin(now);
        assert_eq!(registration.next_time(), None, "the query is open");
        let mut end = || {
            let ended = LiveEvent::Ended(QueryError::limit("too much"));
            let outcome = registration.apply(ended);
            assert!(matches!(outcome, Some(Outcome::Failed(_))));
            let pause = registration.next_time().unwrap() - monotonic::now();
            registration.begin(monotonic::now());
            pause
        };
        let first = end();
        assert!(first <= FIRST_PAUSE);
        let last = std::iter::repeat_with(&mut end).take(20).last().unwrap();
        assert!(last > 100 * FIRST_PAUSE && last <= MAX_PAUSE, "{last:?}");
        let answer = Answer::Number(1);
        let update = Update::Answer {
            answer,
            sequence: 1,
        };
        registration.apply(LiveEvent::Update(update));
        let ended = LiveEvent::Ended(QueryError::limit("too much"));
        registration.apply(ended);
        let pause = registration.next_time().unwrap() - monotonic::now();
        assert!(pause <= FIRST_PAUSE, "a success ends the series");
    }

    #[test]
    fn the_end_of_a_registration_cancels_its_evaluation() {
        let registration = Registration::new(AlertSpec::new("1"), 1);
        let is_canceled = Arc::clone(&registration.cancel.0);
        assert!(!is_canceled.load(Ordering::Relaxed));
        drop(registration);
        assert!(is_canceled.load(Ordering::Relaxed));
    }
}
