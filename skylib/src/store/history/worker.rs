//! Threads of the history: one makes records durable, one seals, merges, and removes files.

use std::io;
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex};

use super::flow_store::LocalFlowStore;
use super::folder::HistoryFolder;
use super::graph_history::LocalHistory;
use crate::time::{Clock, Timestamp};

/// Store that the threads maintain.
pub(super) trait Maintain: Send + Sync {
    /// Writes records that wait to the log and makes the log durable.
    fn write(&self, now: Timestamp);

    /// Seals what is due, merges and checks segments, and enforces the limits.
    fn tidy(&self, now: Timestamp);

    /// Declares that the threads run, so that writers wait for them instead of sealing themselves.
    fn set_background(&self);
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
    let sync = folder.options.sync;
    let signals = &folder.signals;
    run(
        "history",
        &stores,
        clock,
        &signals.write,
        sync,
        |store, now| store.write(now),
    )?;
    run(
        "history-seal",
        &stores,
        clock,
        &signals.tidy,
        sync,
        |store, now| {
            store.tidy(now);
        },
    )?;
    for store in stores {
        if let Some(store) = store.upgrade() {
            store.set_background();
        }
    }
    Ok(())
}

fn run(
    name: &str,
    stores: &[Weak<dyn Maintain>],
    clock: &Arc<dyn Clock>,
    signal: &Arc<Signal>,
    pause: std::time::Duration,
    work: fn(&dyn Maintain, Timestamp),
) -> io::Result<()> {
    let (stores, clock, signal) = (stores.to_vec(), Arc::clone(clock), Arc::clone(signal));
    let run = move || {
        loop {
            signal.wait(pause);
            let mut is_needed = false;
            for store in stores.iter().filter_map(Weak::upgrade) {
                is_needed = true;
                work(&*store, clock.now());
            }
            if !is_needed {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map(drop)
}

/// Wakes the threads of a folder.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Records wait to be written.
    pub(super) write: Arc<Signal>,
    /// A table waits to be sealed.
    pub(super) tidy: Arc<Signal>,
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
        *self.is_set.lock() = true;
        self.changed.notify_one();
    }

    /// Waits until the signal is set, at most for a time.
    fn wait(&self, timeout: std::time::Duration) {
        let mut is_set = self.is_set.lock();
        if !*is_set {
            self.changed.wait_for(&mut is_set, timeout);
        }
        *is_set = false;
    }
}
