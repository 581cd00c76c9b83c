//! Room in memory: recorders wait for the disk, and events are dropped if it cannot keep up.
//!
//! `storage.local.memory` bounds all events that are not in a segment. At half of it they are
//! frozen and sealed. Above it, recorders wait up to a second after each transaction. While the
//! disk fails, or if it is so slow that twice the bound is reached, the oldest events are dropped, and
//! their elements are recorded again later.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{LocalHistory, State};
use crate::store::history::counters::DropReason;
use crate::store::history::outage::Operation;
use crate::store::history::worker::Maintain as _;

impl LocalHistory {
    /// Waits for room in memory, and drops the oldest events if the disk does not make it in time.
    /// The caller must not hold the lock of the graph.
    pub(super) fn wait_for_room(&self) {
        let has_worker = self.has_worker.load(Ordering::Relaxed);
        if has_worker {
            self.signals.write.set();
        }
        if !self.is_crowded() {
            return;
        }
        if has_worker {
            self.signals.seal.set();
            self.wait_for_worker();
        } else {
            self.seal_due(self.now());
        }
        self.enforce_memory();
    }

    /// Returns whether the events in memory should be sealed.
    pub(super) fn is_crowded(&self) -> bool {
        self.unsealed() >= self.folder.options.memory / 2
    }

    fn wait_for_worker(&self) {
        let mut waiting = self.waiting.lock();
        for _ in 0..ROOM_WAITS {
            let is_full = self.unsealed() > self.folder.options.memory;
            if !is_full || self.outage.is_failing(Operation::Seal) {
                return;
            }
            self.room.wait_for(&mut waiting, ROOM_WAIT);
        }
    }

    /// Drops the oldest events while they exceed the bound and the disk cannot take them.
    fn enforce_memory(&self) {
        let memory = self.folder.options.memory;
        let is_failing = self.outage.is_failing(Operation::Seal);
        let (most, reason) = match is_failing {
            true => (memory, DropReason::Disk),
            false => (2 * memory, DropReason::Slow),
        };
        if self.unsealed() <= most {
            return;
        }
        if !is_failing {
            let error = io::Error::other("the disk is too slow");
            self.fail(Operation::KeepUp, &error);
        }
        self.collect();
        let mut state = self.state.write();
        while self.unsealed() > memory && self.drop_oldest(&mut state, reason) {}
    }

    /// Drops the oldest frozen events that are not being sealed, or the oldest recent event. Returns
    /// whether there were any.
    fn drop_oldest(&self, state: &mut State, reason: DropReason) -> bool {
        let being_sealed = state.being_sealed;
        let droppable = |generation| being_sealed != Some(generation);
        let frozen = state.frozen.iter();
        let mut frozen = frozen.map(|frozen| frozen.generation);
        let (bytes, rows, newest) = if let Some(position) = frozen.position(droppable) {
            let dropped = state.frozen.remove(position);
            state.stale_logs.push(dropped.generation);
            for event in &dropped.events {
                state.missing.add(event);
            }
            let newest = dropped.events.last().map(|event| event.recorded());
            (dropped.bytes, dropped.events.len(), newest)
        } else if let Some(dropped) = state.recent.pop_front() {
            let bytes = dropped.bytes();
            state.recent_bytes -= bytes;
            state.missing.add(&dropped);
            (bytes, 1, Some(dropped.recorded()))
        } else {
            return false;
        };
        state.evicted += rows as u64;
        state.complete_since = state.complete_since.max(newest);
        self.unsealed_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let counters = &self.folder.graph_counters;
        counters.drop_rows(reason, rows);
        true
    }

    /// Wakes the recorders that wait for room, so that they check the memory again.
    pub(super) fn wake_recorders(&self) {
        let _waiting = self.waiting.lock();
        self.room.notify_all();
    }

    fn unsealed(&self) -> usize {
        self.unsealed_bytes.load(Ordering::Relaxed)
    }
}

/// Maximum number of waits of a recorder after a transaction: one second in all.
const ROOM_WAITS: usize = 10;
const ROOM_WAIT: Duration = Duration::from_millis(100);
