//! `Runs`: the injections on the nodes of this host that send, and those that have ended.

use std::collections::HashMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::graph::NodeId;

/// Node and id of an injection.
pub(super) type RunKey = (NodeId, String);

/// Injections that were started and not stopped. An injection that has ended occupies no thread; its
/// key remains for a time, so that a repeated request does not send the packets again.
#[derive(Debug, Default)]
pub(super) struct Runs {
    running: HashMap<RunKey, RunThread>,
    /// Injections that have ended, with the time at which this was noticed; at most [`MAX_ENDED`].
    ended: HashMap<RunKey, Instant>,
}

/// The thread of an injection.
#[derive(Debug)]
pub(super) struct RunThread {
    /// The thread ends when this is dropped.
    pub(super) stop: Sender<()>,
    pub(super) thread: JoinHandle<()>,
}

impl Runs {
    /// Joins the threads that have ended, and forgets injections that ended long ago. Returns the
    /// forgotten ones, which their nodes may still show.
    pub(super) fn sweep(&mut self, now: Instant) -> Vec<RunKey> {
        let finished = self.running.extract_if(|_, run| run.thread.is_finished());
        for (key, run) in finished {
            run.join(&key.1);
            self.ended.insert(key, now);
        }
        let is_old = |ended: Instant| now.saturating_duration_since(ended) >= MAX_AGE;
        let old = self.ended.extract_if(|_, ended| is_old(*ended));
        let mut forgotten: Vec<RunKey> = old.map(|(key, _)| key).collect();
        while self.ended.len() > MAX_ENDED
            && let Some(oldest) = self.ended.iter().min_by_key(|(_, ended)| **ended)
        {
            let oldest = oldest.0.clone();
            self.ended.remove(&oldest);
            forgotten.push(oldest);
        }
        forgotten
    }

    /// Adds an injection that sends.
    pub(super) fn add(&mut self, key: RunKey, thread: RunThread) {
        self.running.insert(key, thread);
    }

    /// Returns whether an injection was started on a node and not stopped.
    pub(super) fn contains(&self, key: &RunKey) -> bool {
        self.running.contains_key(key) || self.ended.contains_key(key)
    }

    /// Returns the number of injections on nodes that send.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Removes an injection; `None` if it is unknown, and an inner `None` if it has ended.
    pub(super) fn remove(&mut self, key: &RunKey) -> Option<Option<RunThread>> {
        let ended = self.ended.remove(key).map(|_| None);
        self.running.remove(key).map(Some).or(ended)
    }
}

impl RunThread {
    /// Waits for the end of the thread.
    pub(super) fn join(self, injection: &str) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!(injection, "a thread that sends packets panicked");
        }
    }
}

/// Maximum number of injections on nodes that have ended; the oldest is forgotten for another one.
const MAX_ENDED: usize = 10_000;

/// Time from the end of an injection until it is forgotten: longer than an agent is disconnected
/// from its analyzer in normal operation.
const MAX_AGE: Duration = Duration::from_secs(6 * 3_600);

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;
    use crate::engine::monotonic;

    /// Returns an injection that runs until it is stopped, or one that has ended.
    fn thread(has_ended: bool) -> RunThread {
        let (stop, stopped) = bounded::<()>(0);
        let thread = std::thread::spawn(move || {
            if !has_ended {
                stopped.recv().unwrap_err();
            }
        });
        while thread.is_finished() != has_ended {
            std::thread::yield_now();
        }
        RunThread { stop, thread }
    }

    fn key(injection: &str) -> RunKey {
        ("n".into(), injection.to_owned())
    }

    #[test]
    fn an_injection_that_has_ended_occupies_no_thread_and_is_not_repeated() {
        let (mut runs, now) = (Runs::default(), monotonic::now());
        runs.add(key("ended"), thread(true));
        runs.add(key("sends"), thread(false));
        assert!(runs.sweep(now).is_empty());
        assert_eq!(runs.running(), 1);
        assert!(runs.contains(&key("ended")) && runs.contains(&key("sends")));
        assert!(matches!(runs.remove(&key("ended")), Some(None)));
        assert!(!runs.contains(&key("ended")), "it can be started again");
        let run = runs.remove(&key("sends")).unwrap().unwrap();
        run.join("sends");
        assert!(runs.remove(&key("sends")).is_none());
    }

    #[test]
    fn injections_that_ended_long_ago_are_forgotten() {
        let (mut runs, now) = (Runs::default(), monotonic::now());
        runs.add(key("old"), thread(true));
        runs.sweep(now);
        runs.add(key("sends"), thread(false));
        assert_eq!(runs.sweep(now + MAX_AGE), [key("old")]);
        assert!(!runs.contains(&key("old")) && runs.contains(&key("sends")));
        runs.remove(&key("sends")).unwrap().unwrap().join("sends");
    }

    #[test]
    fn many_injections_that_have_ended_never_prevent_another_one() {
        let (mut runs, now) = (Runs::default(), monotonic::now());
        for number in 0..MAX_ENDED {
            let ended = now + Duration::from_millis(number as u64);
            runs.ended.insert(key(&number.to_string()), ended);
        }
        let later = now + Duration::from_secs(20);
        runs.add(key("next"), thread(true));
        assert_eq!(runs.sweep(later), [key("0")], "the oldest");
        assert!(runs.contains(&key("next")));
        assert_eq!(runs.ended.len(), MAX_ENDED);
    }
}
