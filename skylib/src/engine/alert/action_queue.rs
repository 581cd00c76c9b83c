//! `ActionQueue`: calls webhooks and runs scripts, separately from the evaluation of alerts.
//!
//! An alert has at most one action in progress, so that its messages arrive in order. A receiver
//! has at most [`PER_RECEIVER`] actions in progress, so that a receiver that hangs does not delay
//! others. Calls of a webhook that cannot be reached are retried twice. A full queue drops the
//! newest message.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::{AlertStatus, script_action};
use crate::engine::monotonic;

/// HTTP client for the messages of alerts; implemented by the daemon.
pub trait WebhookClient: Send + Sync {
    /// Sends JSON to a URL by `POST` without waiting for the response. Calls `done` within
    /// `timeout`, with the status of the response or the reason for its absence.
    fn post(&self, url: &str, json: Bytes, timeout: Duration, done: WebhookDone);
}

/// Callback for the outcome of a webhook call.
pub type WebhookDone = Box<dyn FnOnce(Result<u16, String>) + Send>;

/// Queue of the actions of all alerts.
pub(crate) struct ActionQueue {
    webhooks: Option<Arc<dyn WebhookClient>>,
    state: Mutex<State>,
    /// Notified when the action thread has work.
    changed: Condvar,
    done: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    queued: VecDeque<Action>,
    /// Total size of the messages that are queued or in progress, in bytes.
    bytes: usize,
    /// Alerts with an action in progress.
    running: HashSet<String>,
    /// Number of actions in progress by receiver.
    receivers: HashMap<String, usize>,
    is_stopped: bool,
}

/// Message to a webhook or a script that has not been delivered.
struct Action {
    alert: String,
    target: Target,
    json: Bytes,
    /// Number of failed attempts.
    failures: u32,
    /// Earliest time of the next attempt.
    earliest: Instant,
}

#[derive(Clone)]
enum Target {
    Webhook(String),
    Script(PathBuf),
}

impl Target {
    /// Returns the target of the action of an alert.
    fn of_action(action: &str) -> Self {
        match action.strip_prefix("file://") {
            Some(path) => Self::Script(PathBuf::from(path)),
            None => Self::Webhook(action.to_owned()),
        }
    }

    /// Returns the receiver whose load is limited: the server of a URL, or a program. Contains no user
    /// information, path, or query and can be logged: everyone who knows the URL of a webhook may
    /// use it.
    fn receiver(&self) -> String {
        match self {
            Self::Webhook(url) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
                let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
                let authority = &rest[..end];
                let server = authority
                    .rsplit_once('@')
                    .map_or(authority, |(_, host)| host);
                format!("{scheme}://{server}")
            }
            Self::Script(path) => path.display().to_string(),
        }
    }
}

impl ActionQueue {
    /// Returns an empty queue. Without a client, webhooks fail.
    pub(crate) fn new(webhooks: Option<Arc<dyn WebhookClient>>) -> Self {
        Self {
            webhooks,
            state: Mutex::default(),
            changed: Condvar::new(),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Queues the message of an alert for the receiver that its action names.
    pub(super) fn submit(&self, alert: &str, action: &str, json: Bytes) {
        let target = Target::of_action(action);
        let mut state = self.state.lock();
        if state.queued.len() >= MAX_QUEUED || state.bytes + json.len() > MAX_BYTES {
            drop(state);
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                let receiver = target.receiver();
                tracing::error!(
                    alert,
                    receiver,
                    dropped,
                    "dropped an alert action, because the queue of actions is full"
                );
            }
            return;
        }
        state.bytes += json.len();
        state.queued.push_back(Action {
            alert: alert.to_owned(),
            target,
            json,
            failures: 0,
            earliest: monotonic::now(),
        });
        self.changed.notify_one();
    }

    /// Adds the counters of the actions to a status.
    pub(super) fn add_status(&self, status: AlertStatus) -> AlertStatus {
        let state = self.state.lock();
        AlertStatus {
            actions_waiting: state.queued.len() + state.running.len(),
            actions_done: self.done.load(Ordering::Relaxed),
            actions_failed: self.failed.load(Ordering::Relaxed),
            actions_retried: self.retried.load(Ordering::Relaxed),
            actions_dropped: self.dropped.load(Ordering::Relaxed),
            ..status
        }
    }

    /// Ends the action thread without waiting for scripts and calls in progress.
    pub(crate) fn stop(&self) {
        self.state.lock().is_stopped = true;
        self.changed.notify_all();
    }

    /// Starts actions until [`ActionQueue::stop`] is called; the body of the thread
    /// `alert-actions`.
    pub(crate) fn run(self: &Arc<Self>) {
        while let Some(action) = self.next() {
            self.start(action, spawn);
        }
    }

    /// Waits for an action that may start, and marks it as running.
    fn next(&self) -> Option<Action> {
        let mut state = self.state.lock();
        loop {
            if state.is_stopped {
                return None;
            }
            let now = monotonic::now();
            if let Some(action) = state.take_ready(now) {
                return Some(action);
            }
            let times = state.queued.iter().map(|action| action.earliest);
            match times.filter(|time| *time > now).min() {
                Some(time) => drop(self.changed.wait_until(&mut state, time)),
                None => self.changed.wait(&mut state),
            }
        }
    }

    /// Starts an action; `spawn` starts a thread with its work.
    fn start(self: &Arc<Self>, action: Action, spawn: impl FnOnce(Work) -> io::Result<()>) {
        let (queue, target, json) = (Arc::clone(self), action.target.clone(), action.json.clone());
        match target {
            Target::Webhook(url) => {
                let finish = move |result: Result<u16, String>| {
                    // COMPAT: the status of the response is ignored.
                    queue.finish(action, result.map(drop));
                };
                match &self.webhooks {
                    Some(client) => client.post(&url, json, WEBHOOK_TIMEOUT, Box::new(finish)),
                    None => finish(Err("webhooks are not available in this program".to_owned())),
                }
            }
            Target::Script(path) => {
                // Shared, because the work is dropped if its thread cannot be started.
                let waiting = Arc::new(Mutex::new(Some(action)));
                let started = Arc::clone(&waiting);
                let work = move || {
                    if let Some(action) = started.lock().take() {
                        let result = script_action::run(&action.alert, &path, &json);
                        queue.finish(action, result);
                    }
                };
                if let Err(error) = spawn(Box::new(work))
                    && let Some(action) = waiting.lock().take()
                {
                    let reason = format!("cannot start a thread for the script: {error}");
                    self.finish(action, Err(reason));
                }
            }
        }
    }

    /// Ends an attempt: counts it, or queues the action again.
    fn finish(&self, mut action: Action, result: Result<(), String>) {
        let mut state = self.state.lock();
        state.running.remove(&action.alert);
        let receiver = action.target.receiver();
        if let Some(count) = state.receivers.get_mut(&receiver) {
            *count -= 1;
            if *count == 0 {
                state.receivers.remove(&receiver);
            }
        }
        match result {
            Ok(()) => {
                self.done.fetch_add(1, Ordering::Relaxed);
                state.bytes -= action.json.len();
            }
            Err(_) if action.is_repeatable() => {
                self.retried.fetch_add(1, Ordering::Relaxed);
                action.failures += 1;
                action.earliest = monotonic::now() + BACKOFF * action.failures;
                // Before later messages of the alert, which wait for this one.
                state.queued.push_front(action);
            }
            Err(reason) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                state.bytes -= action.json.len();
                let alert = &action.alert;
                tracing::warn!(alert, receiver, reason, "the action of an alert failed");
            }
        }
        self.changed.notify_one();
    }
}

/// Work of a thread that runs a script.
type Work = Box<dyn FnOnce() + Send>;

fn spawn(work: Work) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("alert-script".to_owned());
    thread.spawn(work).map(drop)
}

impl Action {
    /// Returns whether the action is retried after a failure. Scripts are not retried, because they
    /// may have done their work.
    const fn is_repeatable(&self) -> bool {
        matches!(self.target, Target::Webhook(_)) && self.failures < RETRIES
    }
}

impl State {
    /// Removes and returns the first action that may start now, and marks its alert and receiver as
    /// busy.
    fn take_ready(&mut self, now: Instant) -> Option<Action> {
        if self.running.len() >= MAX_RUNNING {
            return None;
        }
        let mut blocked: HashSet<&str> = HashSet::new();
        let position = self.queued.iter().position(|action| {
            let busy = self.receivers.get(&action.target.receiver());
            let is_ready = action.earliest <= now
                && !self.running.contains(&action.alert)
                && !blocked.contains(&*action.alert)
                && busy.is_none_or(|count| *count < PER_RECEIVER);
            // Later messages of an alert do not overtake earlier ones.
            blocked.insert(&action.alert);
            is_ready
        })?;
        let action = self.queued.remove(position)?;
        self.running.insert(action.alert.clone());
        *self.receivers.entry(action.target.receiver()).or_default() += 1;
        Some(action)
    }
}

/// Maximum number of queued actions, and maximum size of their messages in bytes.
const MAX_QUEUED: usize = 10_000;
const MAX_BYTES: usize = 64 << 20;
/// Maximum number of actions in progress, of all alerts and of one receiver.
const MAX_RUNNING: usize = 64;
const PER_RECEIVER: usize = 8;
/// Time limit of a webhook call.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Number of retries after a failed call, and the time before the first retry.
const RETRIES: u32 = 2;
const BACKOFF: Duration = if cfg!(test) {
    Duration::from_millis(5)
} else {
    Duration::from_secs(1)
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_contain_no_secrets() {
        for (action, receiver) in [
            ("http://h:1/x?token=s", "http://h:1"),
            ("https://user:s@h/hook/s", "https://h"),
            ("https://user:s@x@h:8?s", "https://h:8"),
            ("https://h\\s", "https://h"),
            ("https://h#s", "https://h"),
            ("http://[::1]:80/s", "http://[::1]:80"),
            ("file:///bin/x y", "/bin/x y"),
        ] {
            assert_eq!(Target::of_action(action).receiver(), receiver, "{action}");
        }
    }

    #[test]
    fn a_script_whose_thread_cannot_be_started_has_failed() {
        let queue = Arc::new(ActionQueue::new(None));
        for _ in 0..2 {
            queue.submit("a", "file:///bin/true", Bytes::from_static(b"{}"));
            let action = queue.next().unwrap();
            queue.start(action, |_| Err(io::ErrorKind::OutOfMemory.into()));
        }
        let status = queue.add_status(AlertStatus::default());
        assert_eq!((status.actions_failed, status.actions_waiting), (2, 0));
        let state = queue.state.lock();
        assert_eq!((state.bytes, state.receivers.len()), (0, 0));
    }
}
