//! `Registration`: an active alert.

use std::time::{Duration, Instant};

use super::outcome::{Outcome, Reason};
use crate::api::AlertSpec;
use crate::engine::live::LiveEvent;
use crate::engine::monotonic;
use crate::go_duration;
use crate::gremlin::live::AnswerReplica;
use crate::gremlin::{Query, QueryError};

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
    /// Hash of the result for which the alert last fired; `None` if the alert is armed.
    pub(super) last: Option<u64>,
    /// Error message of the last evaluation; a repeated message is not logged.
    problem: Option<String>,
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
            due: (!matches!(watch, Watch::Live { .. })).then_some(now),
            earliest: now,
            spec,
            number,
            watch,
            is_running: false,
            last: None,
            problem: None,
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

    /// Begins an evaluation, and sets the time of the next evaluation.
    pub(super) fn begin(&mut self, now: Instant) {
        self.earliest = now + INTERVAL;
        self.due = self.period().map(|period| now + period.max(MIN_PERIOD));
    }

    /// Delays the next evaluation, so that long evaluations occupy the thread for at most a tenth
    /// of the time.
    pub(super) fn rest_after(&mut self, run_time: Duration) {
        let rested = monotonic::now() + run_time.saturating_mul(10);
        self.due = self.due.map(|due| due.max(rested));
    }

    /// Applies an event of the live query. Returns the new outcome.
    pub(super) fn apply(&mut self, event: LiveEvent) -> Option<Outcome> {
        let Watch::Live { replica, .. } = &mut self.watch else {
            return None;
        };
        Some(match event {
            LiveEvent::Update(update) => {
                replica.apply(&update);
                Outcome::of_live(replica)
            }
            LiveEvent::Ended(error) => Outcome::Failed(ended(&error)),
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

    /// Logs the error message of this evaluation, unless the last evaluation had the same message.
    pub(super) fn log_problem(&mut self, problem: Option<String>) {
        if self.problem != problem
            && let Some(problem) = &problem
        {
            let (alert, name) = (&self.spec.uuid, &self.spec.name);
            tracing::warn!(alert, name, problem, "the expression of an alert failed");
        }
        self.problem = problem;
    }
}

fn ended(error: &QueryError) -> String {
    format!("{error}; change the alert or create it again to restart it")
}

/// Minimum time between two evaluations after changes of the graph.
const INTERVAL: Duration = Duration::from_millis(100);
/// Minimum period of an evaluation.
const MIN_PERIOD: Duration = Duration::from_millis(10);
