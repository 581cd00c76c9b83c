//! JavaScript: workflows called by clients, and expressions of alerts.
//!
//! ```text
//! call of a workflow ─┐            ┌ Bridge ─ queries, resources
//! alert ──────────────┴ Threads ─ Runtime (QuickJS) ─ prelude.js ─ script
//! ```
//!
//! Every script runs in a separate interpreter and context, so that no state carries over, and on a
//! separate thread, so that several scripts run concurrently. Time, memory, and stack are limited.
//! A script has no access to files or the network. It can use only the functions of `prelude.js`,
//! which call the functions of [`Bridge`](bridge::Bridge). `docs/automation.md` describes them.

mod bridge;
mod built_in;
mod check;
mod error;
mod interpreter;
mod runtime;
mod stop;
#[cfg(test)]
mod tests;
mod threads;

pub use error::ScriptError;
pub use interpreter::{Interpreter, ScriptHost};

pub(super) use bridge::Bridge;
pub(super) use built_in::workflows as built_in_workflows;
pub(super) use check::check;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value as Json;

use self::runtime::{Script, Task};
use self::stop::Stop;
use self::threads::{Threads, Work};
use crate::api::Workflow;
use crate::engine::alert::{EvaluationDone, Evaluator};
use crate::gremlin::WorkflowError;

/// Limits of scripts.
///
/// ```
/// use std::time::Duration;
/// use skylib::engine::ScriptOptions;
/// let options = ScriptOptions::default().with_max_time(Duration::from_secs(10));
/// assert_eq!(options.max_running, 16);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScriptOptions {
    /// Maximum duration of a workflow call.
    pub max_time: Duration,
    /// Maximum duration of the evaluation of an alert's expression.
    pub max_alert_time: Duration,
    /// Maximum memory of one script, in bytes.
    pub max_memory: usize,
    /// Maximum number of workflows that run concurrently; further calls wait.
    pub max_running: usize,
    /// Whether scripts may create, change, and delete resources.
    pub can_write: bool,
}

impl Default for ScriptOptions {
    /// Returns time limits of 5 minutes and 5 s, 64 MiB, and 16 concurrent workflows.
    fn default() -> Self {
        Self {
            max_time: Duration::from_secs(300),
            max_alert_time: Duration::from_secs(5),
            max_memory: 64 << 20,
            max_running: 16,
            can_write: true,
        }
    }
}

impl ScriptOptions {
    /// Sets the maximum duration of a workflow call.
    #[must_use]
    pub const fn with_max_time(mut self, max_time: Duration) -> Self {
        self.max_time = max_time;
        self
    }

    /// Sets the maximum duration of the evaluation of an alert's expression.
    #[must_use]
    pub const fn with_max_alert_time(mut self, max_alert_time: Duration) -> Self {
        self.max_alert_time = max_alert_time;
        self
    }

    /// Sets the maximum memory of one script, in bytes.
    #[must_use]
    pub const fn with_max_memory(mut self, max_memory: usize) -> Self {
        self.max_memory = max_memory;
        self
    }

    /// Sets the maximum number of workflows that run concurrently.
    #[must_use]
    pub const fn with_max_running(mut self, max_running: usize) -> Self {
        self.max_running = max_running;
        self
    }

    /// Sets whether scripts may create, change, and delete resources.
    #[must_use]
    pub const fn with_can_write(mut self, can_write: bool) -> Self {
        self.can_write = can_write;
        self
    }
}

/// Counters of the workflows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScriptStatus {
    /// Number of workflows that are running.
    pub running: usize,
    /// Number of calls that wait for a thread.
    pub waiting: usize,
    /// Number of workflow calls.
    pub calls: u64,
    /// Number of calls that failed or were rejected because of a limit.
    pub failures: u64,
}

/// Runner of scripts.
pub(crate) struct ScriptEngine {
    options: ScriptOptions,
    /// Interface of scripts; `None` after the engine has stopped.
    bridge: Mutex<Option<Arc<Bridge>>>,
    workflows: Arc<Threads>,
    alerts: Arc<Threads>,
    is_stopping: Arc<AtomicBool>,
    calls: AtomicU64,
    failures: Arc<AtomicU64>,
}

/// Workflow call in progress, which is canceled on drop.
#[must_use = "dropping the call cancels it"]
pub struct WorkflowCall(Arc<AtomicBool>);

impl Drop for WorkflowCall {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for WorkflowCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkflowCall")
    }
}

impl ScriptEngine {
    /// Returns an engine that runs no scripts until [`ScriptEngine::connect`] is called.
    pub(crate) fn new(options: ScriptOptions) -> Self {
        Self {
            workflows: Threads::new("workflow", options.max_running, MAX_WAITING),
            alerts: Threads::new("alert-script-js", ALERT_THREADS, MAX_EVALUATIONS),
            options,
            bridge: Mutex::new(None),
            is_stopping: Arc::default(),
            calls: AtomicU64::new(0),
            failures: Arc::default(),
        }
    }

    /// Sets the interface of scripts.
    pub(crate) fn connect(&self, bridge: Bridge) {
        *self.bridge.lock() = Some(Arc::new(bridge));
    }

    /// Returns the counters.
    pub(crate) fn status(&self) -> ScriptStatus {
        let (running, waiting) = self.workflows.counts();
        ScriptStatus {
            running,
            waiting,
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }

    /// Interrupts all scripts and waits briefly for their end.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.workflows.stop();
        self.alerts.stop();
        // Break the reference cycle: resources refer to alerts as observers, and alerts to this
        // engine.
        *self.bridge.lock() = None;
    }

    /// Calls a workflow on another thread, which then calls `done` with the result as JSON text.
    ///
    /// # Errors
    /// Returns [`ScriptError::Busy`] if too many calls wait for a thread.
    pub(crate) fn call(
        &self,
        workflow: &Workflow,
        arguments: &[Json],
        done: impl FnOnce(Result<String, ScriptError>) + Send + 'static,
    ) -> Result<WorkflowCall, ScriptError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let script = Script {
            name: format!("workflow {} ({})", workflow.uuid, workflow.name),
            source: workflow.source.clone(),
            task: Task::Call(Json::from(arguments.to_vec()).to_string()),
        };
        let is_canceled = Arc::new(AtomicBool::new(false));
        let failures = Arc::clone(&self.failures);
        let count = move |result: Result<Option<String>, ScriptError>| {
            if result.is_err() {
                failures.fetch_add(1, Ordering::Relaxed);
            }
            done(result.map(Option::unwrap_or_default));
        };
        let work = self.work(script, self.options.max_time, &is_canceled, count);
        match self.workflows.submit(work) {
            true => Ok(WorkflowCall(is_canceled)),
            false => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                Err(ScriptError::Busy(MAX_WAITING))
            }
        }
    }

    /// Calls a workflow on another thread and waits for its result as JSON text. Cancels the call if
    /// `interrupt` returns `true`.
    pub(crate) fn call_and_wait(
        &self,
        workflow: &Workflow,
        arguments: &[Json],
        interrupt: &dyn Fn() -> bool,
    ) -> Result<String, WorkflowError> {
        let failed = |error: ScriptError| WorkflowError::Failed(error.to_string());
        let (send, result) = mpsc::sync_channel(1);
        // If the caller no longer waits, the result is dropped.
        let done = move |result| drop(send.send(result));
        let _call = self.call(workflow, arguments, done).map_err(failed)?;
        loop {
            match result.recv_timeout(POLL_INTERVAL) {
                Ok(result) => return result.map_err(failed),
                Err(RecvTimeoutError::Disconnected) => return Err(failed(ScriptError::Canceled)),
                Err(RecvTimeoutError::Timeout) if interrupt() => {
                    return Err(WorkflowError::Interrupted);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Returns the work of a thread that runs a script.
    fn work(
        &self,
        script: Script,
        max_time: Duration,
        is_canceled: &Arc<AtomicBool>,
        done: impl FnOnce(Result<Option<String>, ScriptError>) + Send + 'static,
    ) -> Work {
        let bridge = self.bridge.lock().clone();
        let (max_memory, is_stopping) = (self.options.max_memory, Arc::clone(&self.is_stopping));
        let (is_canceled, canceled) = (Arc::clone(is_canceled), Arc::clone(is_canceled));
        let run = move || {
            let stop = Arc::new(Stop::new(max_time, canceled, is_stopping));
            done(match (bridge, stop.reason()) {
                (Some(bridge), None) => runtime::run(&script, &bridge, &stop, max_memory),
                (None, _) => Err(ScriptError::Canceled),
                (_, Some(reason)) => Err(reason),
            });
        };
        Work::new(is_canceled, run)
    }
}

impl Evaluator for ScriptEngine {
    fn evaluate(
        &self,
        name: &str,
        expression: &str,
        is_canceled: &Arc<AtomicBool>,
        done: EvaluationDone,
    ) {
        let script = Script {
            name: name.to_owned(),
            source: expression.to_owned(),
            task: Task::Evaluate,
        };
        let mut done = OnceDone(Some(done));
        let done = move |result: Result<Option<String>, ScriptError>| {
            done.call(result.map_err(|error| error.to_string()));
        };
        let work = self.work(script, self.options.max_alert_time, is_canceled, done);
        // If the queue is full, dropping the work reports the failure.
        self.alerts.submit(work);
    }
}

/// Callback that is also called if it is dropped: because the queue is full or cleared, or because
/// the thread panicked.
struct OnceDone(Option<EvaluationDone>);

impl OnceDone {
    fn call(&mut self, result: Result<Option<String>, String>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl Drop for OnceDone {
    fn drop(&mut self) {
        let text = format!(
            "the script was not run: canceled, or {MAX_EVALUATIONS} alert expressions were queued"
        );
        self.call(Err(text));
    }
}

/// Time between two checks whether the caller of a workflow still waits.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Maximum number of workflow calls that wait for a thread.
const MAX_WAITING: usize = 64;
/// Maximum number of expressions of alerts that wait for a thread.
const MAX_EVALUATIONS: usize = 10_000;
/// Number of threads that evaluate the expressions of alerts.
const ALERT_THREADS: usize = 2;
