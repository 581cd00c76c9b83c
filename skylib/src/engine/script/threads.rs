//! `Threads`: a bounded number of threads, started on demand.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Work of a thread.
pub(super) struct Work {
    /// Set when the result is no longer needed.
    is_canceled: Arc<AtomicBool>,
    run: Box<dyn FnOnce() + Send>,
}

impl Work {
    pub(super) fn new(is_canceled: Arc<AtomicBool>, run: impl FnOnce() + Send + 'static) -> Self {
        let run = Box::new(run);
        Self { is_canceled, run }
    }

    fn is_canceled(&self) -> bool {
        self.is_canceled.load(Ordering::Relaxed)
    }
}

/// Bounded set of threads with a bounded work queue.
pub(super) struct Threads {
    name: &'static str,
    max: usize,
    max_waiting: usize,
    state: Mutex<State>,
    /// Notified when work is queued or a thread ends.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Work>,
    threads: usize,
    idle: usize,
    is_stopped: bool,
}

impl Threads {
    /// Returns the queue for at most `max` threads with this name.
    pub(super) fn new(name: &'static str, max: usize, max_waiting: usize) -> Arc<Self> {
        Arc::new(Self {
            name,
            max: max.max(1),
            max_waiting,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Queues work. Returns `false` and drops the work if the queue is full. Canceled work makes
    /// room.
    pub(super) fn submit(self: &Arc<Self>, work: Work) -> bool {
        let mut state = self.state.lock();
        if state.queue.len() >= self.max_waiting {
            state.queue.retain(|work| !work.is_canceled());
        }
        let is_served = state.idle > state.queue.len() || state.threads < self.max;
        if state.is_stopped || !is_served && state.queue.len() >= self.max_waiting {
            return false;
        }
        state.queue.push_back(work);
        if state.idle < state.queue.len() && state.threads < self.max {
            let threads = Arc::clone(self);
            let thread = std::thread::Builder::new()
                .name(self.name.to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || threads.serve());
            match thread {
                Ok(_) => state.threads += 1,
                Err(error) => {
                    tracing::error!(%error, "cannot start a thread for scripts");
                    if state.threads == 0 {
                        state.queue.pop_back();
                        return false;
                    }
                }
            }
        }
        self.changed.notify_one();
        true
    }

    /// Returns the number of busy threads and the length of the queue.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.threads - state.idle, state.queue.len())
    }

    /// Drops the queue and waits, for a limited time, until all threads have ended.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.is_stopped = true;
        state.queue.clear();
        self.changed.notify_all();
        while state.threads > 0 {
            if self.changed.wait_for(&mut state, STOP_TIMEOUT).timed_out() {
                tracing::warn!(
                    threads = state.threads,
                    "scripts did not end within {STOP_TIMEOUT:?}"
                );
                return;
            }
        }
    }

    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(work) = state.queue.pop_front() {
                drop(state);
                if catch_unwind(AssertUnwindSafe(work.run)).is_err() {
                    tracing::error!(thread = self.name, "the thread of a script panicked");
                }
                state = self.state.lock();
                continue;
            }
            if state.is_stopped {
                break;
            }
            state.idle += 1;
            let is_late = self.changed.wait_for(&mut state, IDLE_TIME).timed_out();
            state.idle -= 1;
            if is_late && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        drop(state);
        self.changed.notify_all();
    }
}

/// Stack size of a thread, in bytes: more than scripts may use, for the queries that they run.
const STACK_BYTES: usize = 8 << 20;
/// Time after which an idle thread ends.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// Maximum time to wait for the end of the threads.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn canceled_work_makes_room_in_a_full_queue() {
        let threads = Threads::new("test", 1, 2);
        let (release, blocked) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let block = move || {
            started.send(()).unwrap();
            blocked.recv().ok();
        };
        assert!(threads.submit(Work::new(Arc::default(), block)));
        has_started.recv().unwrap();
        let (send, results) = mpsc::channel();
        let submit = |number: u32| {
            let (send, is_canceled) = (send.clone(), Arc::<AtomicBool>::default());
            let work = Work::new(Arc::clone(&is_canceled), move || send.send(number).unwrap());
            (threads.submit(work), is_canceled)
        };
        let (_, first) = submit(1);
        submit(2);
        assert!(!submit(3).0, "the queue is full");
        first.store(true, Ordering::Relaxed);
        assert!(submit(4).0);
        release.send(()).unwrap();
        assert_eq!((results.recv().unwrap(), results.recv().unwrap()), (2, 4));
        threads.stop();
    }
}
