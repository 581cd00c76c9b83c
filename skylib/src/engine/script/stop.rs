//! `Stop`: reasons for a script to end early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::ScriptError;
use crate::engine::monotonic;

/// Reasons to end a script before it returns.
pub(super) struct Stop {
    max_time: Duration,
    deadline: Instant,
    is_canceled: Arc<AtomicBool>,
    is_stopping: Arc<AtomicBool>,
}

impl Stop {
    /// Starts measuring the time of a script.
    pub(super) fn new(
        max_time: Duration,
        is_canceled: Arc<AtomicBool>,
        is_stopping: Arc<AtomicBool>,
    ) -> Self {
        Self {
            max_time,
            deadline: monotonic::now() + max_time,
            is_canceled,
            is_stopping,
        }
    }

    /// Returns the reason why the script must end; `None` if it may continue.
    pub(super) fn reason(&self) -> Option<ScriptError> {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if is_set(&self.is_canceled) || is_set(&self.is_stopping) {
            return Some(ScriptError::Canceled);
        }
        (monotonic::now() >= self.deadline).then_some(ScriptError::Timeout(self.max_time))
    }

    /// Blocks the thread, at most until the script must end.
    pub(super) fn sleep(&self, time: Duration) {
        let until = monotonic::now().checked_add(time);
        let until = until.map_or(self.deadline, |until| until.min(self.deadline));
        while self.reason().is_none() {
            let left = until.saturating_duration_since(monotonic::now());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left.min(POLL));
        }
    }
}

/// Interval at which a sleeping script checks whether it must end.
const POLL: Duration = Duration::from_millis(20);
