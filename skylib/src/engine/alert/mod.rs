//! Alerts: expressions with a message that is sent when the result changes.
//!
//! ```text
//! resource API ─ created, updated, deleted ─┐                      ┌ subscribers
//! live queries ─ updates ───────────────────┼ AlertHub ─ changed ──┼ ActionQueue ─ webhook
//! dispatcher ─── graph changed ─────────────┤                      └            ── script
//! script threads ─ results ─────────────────┘
//! ```
//!
//! The thread `alerts` owns the registrations. A Gremlin expression with the trigger `graph` is a
//! live query of a separate hub, so that an event that cannot change the answer costs only a check
//! of its dependencies. Any other expression is evaluated: Gremlin on this thread, JavaScript on
//! the script threads, with at most one evaluation per alert in progress. After a change to the
//! graph, JavaScript runs at most ten times a second; states that last less than 100 ms may be
//! skipped.
//!
//! An alert fires when its result differs from the result for which it last fired. Elements are
//! compared by ID, all other values by content, and lists as sets. An empty result arms the alert
//! again.

mod action_queue;
mod outcome;
mod registration;
mod script_action;
#[cfg(test)]
mod tests;

pub use action_queue::{WebhookClient, WebhookDone};

pub(super) use action_queue::ActionQueue;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use serde::Serialize;
use serde_json::value::RawValue;

use self::outcome::{Outcome, Reason};
use self::registration::{Registration, Watch};
use crate::api::{AlertSpec, Resource, ResourceStore, Rfc3339};
use crate::engine::bus::Bus;
use crate::engine::live::LiveClient;
use crate::engine::monotonic;
use crate::engine::query::QueryRunner;
use crate::engine::resource::Observer;
use crate::graph::history::Activity;
use crate::gremlin::Query;
use crate::proto::BroadcastMessage;
use crate::time::Timestamp;

/// Counters of the alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlertStatus {
    /// Number of active alerts.
    pub active: usize,
    /// Number of evaluations, including updates of live queries.
    pub evaluations: u64,
    /// Number of evaluations that failed.
    pub failures: u64,
    /// Number of times that alerts fired.
    pub fired: u64,
    /// Number of webhook calls and scripts that are queued or running.
    pub actions_waiting: usize,
    /// Number of webhook calls and scripts that succeeded.
    pub actions_done: u64,
    /// Number of webhook calls and scripts that failed after all retries.
    pub actions_failed: u64,
    /// Number of retried webhook calls.
    pub actions_retried: u64,
    /// Number of webhook calls and scripts dropped because the queue was full.
    pub actions_dropped: u64,
}

/// Evaluator of JavaScript expressions.
pub(super) trait Evaluator: Send + Sync {
    /// Evaluates an expression on another thread, then calls `done` with the result: JSON text, or
    /// `None` for a result for which an alert does not fire. `done` is always called; after
    /// `is_canceled` has been set, with an error.
    fn evaluate(
        &self,
        name: &str,
        expression: &str,
        is_canceled: &Arc<AtomicBool>,
        done: EvaluationDone,
    );
}

/// Callback for the result of an [`Evaluator`].
pub(super) type EvaluationDone = Box<dyn FnOnce(Result<Option<String>, String>) + Send>;

/// Work queue and counters of the alert thread.
pub(crate) struct AlertHub {
    queries: QueryRunner,
    store: Arc<ResourceStore<AlertSpec>>,
    bus: Arc<Bus<BroadcastMessage>>,
    actions: Arc<ActionQueue>,
    evaluator: Option<Arc<dyn Evaluator>>,
    inbox: Arc<Inbox>,
    /// Whether JavaScript is evaluated after changes to the graph.
    watches_graph: AtomicBool,
    active: AtomicUsize,
    evaluations: AtomicU64,
    failures: AtomicU64,
    fired: AtomicU64,
    /// Errors of the alerts whose last evaluation failed, by the ID of the alert.
    problems: Mutex<HashMap<String, String>>,
}

/// Queue of the alert thread. The number of alerts bounds its length: it contains at most one change
/// and one evaluation of each alert. Updates of live queries remain in the [`LiveClient`], where
/// later updates join an earlier one.
#[derive(Default)]
struct Inbox {
    state: Mutex<InboxState>,
    filled: Condvar,
}

#[derive(Default)]
struct InboxState {
    /// IDs of alerts that were created, changed, or deleted.
    changed: HashSet<String>,
    /// Results of evaluations, by the number of the registration.
    evaluated: Vec<(u64, Result<Option<String>, String>)>,
    /// Whether live queries may have updates.
    is_live_changed: bool,
    is_graph_changed: bool,
    is_stopped: bool,
}

impl InboxState {
    fn is_empty(&self) -> bool {
        self.changed.is_empty()
            && self.evaluated.is_empty()
            && !self.is_live_changed
            && !self.is_graph_changed
    }
}

/// Parts of the engine that alerts use.
pub(super) struct AlertParts {
    pub(super) queries: QueryRunner,
    pub(super) store: Arc<ResourceStore<AlertSpec>>,
    pub(super) bus: Arc<Bus<BroadcastMessage>>,
    pub(super) actions: Arc<ActionQueue>,
    pub(super) evaluator: Option<Arc<dyn Evaluator>>,
}

impl AlertHub {
    /// Returns a hub without registrations.
    pub(super) fn new(parts: AlertParts) -> Self {
        Self {
            queries: parts.queries,
            store: parts.store,
            bus: parts.bus,
            actions: parts.actions,
            evaluator: parts.evaluator,
            inbox: Arc::default(),
            watches_graph: AtomicBool::new(false),
            active: AtomicUsize::new(0),
            evaluations: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            fired: AtomicU64::new(0),
            problems: Mutex::default(),
        }
    }

    /// Records a change to the graph. Called by the dispatcher; never blocks.
    pub(crate) fn graph_event(&self) {
        if !self.watches_graph.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.inbox.state.lock();
        if !std::mem::replace(&mut state.is_graph_changed, true) {
            self.inbox.filled.notify_one();
        }
    }

    /// Returns the counters.
    pub(crate) fn status(&self) -> AlertStatus {
        let status = AlertStatus {
            active: self.active.load(Ordering::Relaxed),
            evaluations: self.evaluations.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            fired: self.fired.load(Ordering::Relaxed),
            ..AlertStatus::default()
        };
        self.actions.add_status(status)
    }

    /// Ends the alert thread.
    pub(crate) fn stop(&self) {
        self.inbox.state.lock().is_stopped = true;
        self.inbox.filled.notify_all();
    }

    /// Serves the alerts until [`AlertHub::stop`] is called; the body of the thread `alerts`.
    pub(crate) fn run(&self, client: &LiveClient) {
        let inbox = Arc::clone(&self.inbox);
        client.call_when_filled(move || inbox.change(|state| state.is_live_changed = true));
        let mut alerts = Alerts {
            hub: self,
            client,
            by_id: HashMap::new(),
            by_number: HashMap::new(),
            last_number: 0,
        };
        for (_, spec) in self.store.in_order() {
            alerts.register(&spec);
        }
        while let Some(state) = self.wait(alerts.next_time()) {
            for id in state.changed {
                match self.store.get(&id) {
                    Some(spec) => alerts.register(&spec),
                    None => alerts.remove(&id),
                }
            }
            for (number, result) in state.evaluated {
                alerts.evaluated(number, result);
            }
            if state.is_live_changed {
                alerts.take_live_updates();
            }
            alerts.evaluate_due(state.is_graph_changed);
        }
    }

    fn wait(&self, until: Option<Instant>) -> Option<InboxState> {
        let mut state = self.inbox.state.lock();
        loop {
            if state.is_stopped {
                return None;
            }
            let is_late = until.is_some_and(|until| monotonic::now() >= until);
            if is_late || !state.is_empty() {
                return Some(std::mem::take(&mut *state));
            }
            match until {
                Some(until) => drop(self.inbox.filled.wait_until(&mut state, until)),
                None => self.inbox.filled.wait(&mut state),
            }
        }
    }

    /// Sends the message of an alert to subscribers and to its action.
    fn fire(&self, registration: &Registration, reason: Reason) {
        self.fired.fetch_add(1, Ordering::Relaxed);
        let spec = &registration.spec;
        let activity = Activity::new(
            self.queries.clock.now(),
            "fired",
            AlertSpec::KIND,
            &*spec.uuid,
        );
        self.queries
            .activities
            .record(activity.with_name(&*spec.name));
        // Answers may be large: without a receiver, they are not serialized.
        if spec.action.is_empty() && !self.bus.is_wanted(ALERT) {
            return;
        }
        let reason = RawValue::from_string(registration.json(reason)).unwrap_or_default();
        let message = AlertMessage {
            uuid: &spec.uuid,
            timestamp: Rfc3339::from(self.queries.clock.now()),
            reason_data: &reason,
        };
        // Cannot fail: all fields can be serialized.
        let json = serde_json::to_vec(&message).unwrap_or_default();
        if self.bus.is_wanted(ALERT) {
            let message = BroadcastMessage::object(ALERT, ALERT, json.clone());
            self.bus.send(&Arc::new(message));
        }
        if !spec.action.is_empty() {
            self.actions.submit(&spec.uuid, &spec.action, json.into());
        }
    }
}

impl Observer<AlertSpec> for AlertHub {
    fn created(&self, alert: &AlertSpec, _: Option<Timestamp>) {
        self.alert_changed(alert);
    }

    fn updated(&self, alert: &AlertSpec) {
        self.alert_changed(alert);
    }

    fn deleted(&self, alert: &AlertSpec) {
        self.alert_changed(alert);
    }

    /// Fills in the error of the last evaluation of each alert.
    fn decorate(&self, alerts: Vec<Arc<AlertSpec>>) -> Vec<Arc<AlertSpec>> {
        let problems = self.problems.lock();
        let with_error = |alert: Arc<AlertSpec>| match problems.get(&alert.uuid) {
            Some(error) => Arc::new(AlertSpec {
                error: error.clone(),
                ..Arc::unwrap_or_clone(alert)
            }),
            None => alert,
        };
        alerts.into_iter().map(with_error).collect()
    }
}

impl AlertHub {
    fn alert_changed(&self, alert: &AlertSpec) {
        let id = alert.uuid.clone();
        self.inbox.change(|state| {
            state.changed.insert(id);
        });
    }

    /// Records the error of the last evaluation of an alert; `None` if it succeeded. Returns
    /// whether the error differs from that of the previous evaluation.
    fn set_problem(&self, id: &str, problem: Option<&String>) -> bool {
        let mut problems = self.problems.lock();
        match problem {
            Some(problem) if problems.get(id) == Some(problem) => false,
            Some(problem) => {
                problems.insert(id.to_owned(), problem.clone());
                true
            }
            None => {
                problems.remove(id);
                false
            }
        }
    }
}

impl Inbox {
    fn change(&self, change: impl FnOnce(&mut InboxState)) {
        change(&mut self.state.lock());
        self.filled.notify_one();
    }
}

/// Body of the message of an alert. COMPAT: as in Skydive.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AlertMessage<'a> {
    #[serde(rename = "UUID")]
    uuid: &'a str,
    timestamp: Rfc3339,
    reason_data: &'a RawValue,
}

/// Registrations held by the alert thread.
struct Alerts<'a> {
    hub: &'a AlertHub,
    client: &'a LiveClient,
    by_id: HashMap<String, Registration>,
    /// IDs of the alerts by registration number. Events of earlier registrations are ignored.
    by_number: HashMap<u64, String>,
    last_number: u64,
}

impl Alerts<'_> {
    /// Handles the result of an evaluation on another thread.
    fn evaluated(&mut self, number: u64, result: Result<Option<String>, String>) {
        if let Some(registration) = self.registration(number) {
            registration.is_running = false;
            self.conclude(number, Some(Outcome::of_script(result)));
        }
    }

    /// Handles one update of each live query at most; further updates are handled in the next iteration.
    fn take_live_updates(&mut self) {
        for _ in 0..=self.by_id.len() {
            let Some((name, event)) = self.client.try_next() else {
                return;
            };
            let Some(number) = name.parse().ok() else {
                continue;
            };
            if let Some(registration) = self.registration(number) {
                let outcome = registration.apply(event);
                self.conclude(number, outcome);
            }
        }
        self.hub.inbox.change(|state| state.is_live_changed = true);
    }

    fn registration(&mut self, number: u64) -> Option<&mut Registration> {
        self.by_id.get_mut(self.by_number.get(&number)?)
    }

    /// Registers an alert. An earlier registration of it ends, together with the state of the last
    /// firing.
    fn register(&mut self, spec: &AlertSpec) {
        self.remove(&spec.uuid);
        self.last_number += 1;
        let number = self.last_number;
        self.by_number.insert(number, spec.uuid.clone());
        let registration = Registration::new(spec.clone(), number);
        self.by_id.insert(spec.uuid.clone(), registration);
        self.count();
    }

    fn remove(&mut self, id: &str) {
        if let Some(registration) = self.by_id.remove(id) {
            self.by_number.remove(&registration.number);
            if matches!(registration.watch, Watch::Live { .. }) {
                self.client.cancel(&registration.number.to_string());
            }
        }
        self.hub.set_problem(id, None);
        self.count();
    }

    fn count(&self) {
        self.hub.active.store(self.by_id.len(), Ordering::Relaxed);
        let is_script = |r: &Registration| matches!(r.watch, Watch::Script { period: None, .. });
        let watches_graph = self.by_id.values().any(is_script);
        self.hub
            .watches_graph
            .store(watches_graph, Ordering::Relaxed);
    }

    /// Returns the time of the next evaluation.
    fn next_time(&self) -> Option<Instant> {
        self.by_id
            .values()
            .filter_map(Registration::next_time)
            .min()
    }

    /// Evaluates the expressions that are due.
    fn evaluate_due(&mut self, is_graph_changed: bool) {
        let now = monotonic::now();
        let mut due: Vec<u64> = Vec::new();
        for registration in self.by_id.values_mut() {
            if is_graph_changed {
                registration.note_change();
            }
            if registration.next_time().is_some_and(|time| time <= now) {
                due.push(registration.number);
            }
        }
        due.sort_unstable();
        for number in due {
            self.evaluate(number, now);
        }
    }

    fn evaluate(&mut self, number: u64, now: Instant) {
        let hub = self.hub;
        let Some(registration) = self.registration(number) else {
            return;
        };
        registration.begin(now);
        let id = registration.spec.uuid.clone();
        match &registration.watch {
            Watch::Live { query, .. } => {
                let query = query.clone();
                self.open(number, query);
            }
            Watch::Timed { query, .. } => {
                let outcome = outcome::run(query, &hub.queries);
                registration.delay_next(monotonic::now() - now);
                self.conclude(number, Some(outcome));
            }
            Watch::Script { source, .. } => {
                let Some(evaluator) = &hub.evaluator else {
                    let problem = "this version has no script engine".to_owned();
                    self.conclude(number, Some(Outcome::Failed(problem)));
                    return;
                };
                registration.is_running = true;
                let inbox = Arc::clone(&hub.inbox);
                let done = move |result| {
                    inbox.change(|state| state.evaluated.push((number, result)));
                };
                let is_canceled = &registration.cancel.0;
                evaluator.evaluate(&format!("alert {id}"), source, is_canceled, Box::new(done));
            }
        }
    }

    /// Opens the live query of an alert, whose first answer follows as an event.
    fn open(&mut self, number: u64, query: Query) {
        let reserved = self.client.reserve(number.to_string());
        match reserved.map(|reserved| reserved.open_later(query)) {
            // `false` means that the engine stops.
            Ok(_) => {}
            Err(error) => {
                if let Some(registration) = self.registration(number) {
                    registration.reopen_later();
                }
                self.conclude(number, Some(Outcome::Failed(error.to_string())));
            }
        }
    }

    /// Fires an alert if its outcome differs from the outcome of the last firing.
    fn conclude(&mut self, number: u64, outcome: Option<Outcome>) {
        let hub = self.hub;
        let Some(outcome) = outcome else { return };
        hub.evaluations.fetch_add(1, Ordering::Relaxed);
        let Some(registration) = self.registration(number) else {
            return;
        };
        let problem = match &outcome {
            Outcome::Failed(problem) => Some(problem.clone()),
            Outcome::Empty | Outcome::Value { .. } => None,
        };
        let is_new = hub.set_problem(&registration.spec.uuid, problem.as_ref());
        if let Some(problem) = problem.filter(|_| is_new) {
            let (alert, name) = (&registration.spec.uuid, &registration.spec.name);
            tracing::warn!(alert, name, problem, "the expression of an alert failed");
        }
        match outcome {
            Outcome::Empty => registration.last = None,
            Outcome::Failed(_) => {
                hub.failures.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Value {
                fingerprint,
                reason,
            } => {
                if registration.last.replace(fingerprint) != Some(fingerprint) {
                    hub.fire(registration, reason);
                }
            }
        }
    }
}

/// Namespace and type of the messages of alerts.
const ALERT: &str = "Alert";
