//! Threads of a store of the history: one writes the log, one seals, one merges and removes files.
//!
//! Each store has its own threads, and sealing does not wait for merging: a store that waits for the
//! disk delays neither the other store nor the recorders.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::flow_store::LocalFlowStore;
use super::folder::HistoryFolder;
use super::graph_history::LocalHistory;
use crate::time::{Clock, Timestamp};

/// Store that the threads maintain.
pub(super) trait Maintain: Send + Sync {
    /// Writes records that wait to the log and makes the log durable.
    fn write(&self, now: Timestamp);

    /// Seals the tables or events that are due at `now`.
    fn seal_due(&self, now: Timestamp);

    /// Merges and checks segments, and enforces the limits.
    fn tidy(&self, now: Timestamp);

    /// Declares that the threads run, so that writers wait for them instead of sealing themselves.
    fn set_background(&self);

    /// Returns the signals that wake the threads.
    fn signals(&self) -> &Signals;
}

/// Starts the threads that maintain the stores of a folder. They end when the stores are dropped.
///
/// # Errors
/// Returns an error if a thread cannot be started.
pub(super) fn maintain_in_background(
    folder: &HistoryFolder,
    flows: Option<&Arc<LocalFlowStore>>,
    graph: Option<&Arc<LocalHistory>>,
    clock: &Arc<dyn Clock>,
) -> io::Result<()> {
    let mut stores: Vec<Weak<dyn Maintain>> = Vec::new();
    if let Some(flows) = flows {
        let flows: Arc<dyn Maintain> = Arc::clone(flows) as Arc<dyn Maintain>;
        stores.push(Arc::downgrade(&flows));
    }
    if let Some(graph) = graph {
        let graph: Arc<dyn Maintain> = Arc::clone(graph) as Arc<dyn Maintain>;
        stores.push(Arc::downgrade(&graph));
    }
    let pause = folder.options.sync;
    for store in stores {
        let Some(opened) = store.upgrade() else {
            continue;
        };
        let signals = opened.signals();
        let (write, seal) = (Arc::clone(&signals.write), Arc::clone(&signals.seal));
        let threads: [Thread; 3] = [
            ("history", write, pause / 2, |store, now| store.write(now)),
            ("history-seal", seal, pause, |store, now| {
                store.seal_due(now);
            }),
            // No signal: files are tidied at regular times.
            ("history-tidy", Arc::default(), pause, |store, now| {
                store.tidy(now);
            }),
        ];
        for thread in threads {
            run(thread, &store, clock)?;
        }
        opened.set_background();
    }
    Ok(())
}

/// Name of a thread, the signal that wakes it, its maximum pause, and its work.
type Thread = (
    &'static str,
    Arc<Signal>,
    Duration,
    fn(&dyn Maintain, Timestamp),
);

fn run(
    (name, signal, pause, work): Thread,
    store: &Weak<dyn Maintain>,
    clock: &Arc<dyn Clock>,
) -> io::Result<()> {
    let (store, clock) = (Weak::clone(store), Arc::clone(clock));
    let run = move || {
        loop {
            if signal.wait(pause) {
                // More records arrive meanwhile and are written together.
                std::thread::sleep(GATHER);
            }
            let Some(store) = store.upgrade() else {
                return;
            };
            work(&*store, clock.now());
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map(drop)
}

/// Signals that wake the threads of a store.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Records wait to be written.
    pub(super) write: Arc<Signal>,
    /// A table waits to be sealed.
    pub(super) seal: Arc<Signal>,
}

/// Flag on which one thread waits.
#[derive(Debug, Default)]
pub(super) struct Signal {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Ends the wait of the thread, or its next wait.
    pub(super) fn set(&self) {
        let was_set = std::mem::replace(&mut *self.is_set.lock(), true);
        if !was_set {
            self.changed.notify_one();
        }
    }

    /// Waits until the signal is set, at most for a time. Returns whether it was set.
    fn wait(&self, timeout: Duration) -> bool {
        let mut is_set = self.is_set.lock();
        if !*is_set {
            self.changed.wait_for(&mut is_set, timeout);
        }
        std::mem::replace(&mut *is_set, false)
    }
}

/// Time for which records are gathered before they are written.
const GATHER: Duration = Duration::from_millis(5);
