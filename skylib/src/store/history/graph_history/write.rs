//! Writing of events: from the recorder to the recent events, and from there to the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Frozen, LocalHistory, Pending, State, Writer};
use crate::graph::GraphEvent;
use crate::graph::history::History as _;
use crate::store::history::log::{Log, unlogged};
use crate::store::history::names::Name;
use crate::store::history::outage::Operation;
use crate::store::history::unsealed_event::UnsealedEvent;
use crate::time::Timestamp;

impl LocalHistory {
    /// Records events in memory, and appends them to the pending ones. The recorder holds the lock of
    /// the graph, so this waits for nothing but other appends.
    pub(super) fn record_pending(&self, events: &[GraphEvent], now: Timestamp) {
        let bytes = |event: &GraphEvent| size_of::<UnsealedEvent>() + event.element_bytes();
        let bytes = events.iter().map(bytes).sum();
        self.unsealed_bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut pending = self.pending.lock();
        self.memory.record(events, now);
        pending.bytes += bytes;
        let timed = events.iter().map(|event| (event.clone(), now));
        pending.events.extend(timed);
    }

    /// Numbers the pending events and adds them to the recent ones, where queries find them. Does
    /// not wait for the disk.
    pub(super) fn collect(&self) {
        let mut next_seq = self.next_seq.lock();
        let mut pending = std::mem::take(&mut *self.pending.lock());
        let (events, bytes) = pending.numbered(&mut next_seq);
        self.add_recent(events, bytes);
    }

    /// Adds events to the recent ones, with `next_seq` locked. `counted` is the part of their memory
    /// that is in the total already, in bytes.
    pub(super) fn add_recent(&self, events: Vec<UnsealedEvent>, counted: usize) {
        let Some(first) = events.first() else {
            return;
        };
        let since = Timestamp::from_ms(first.recorded());
        let bytes = events.iter().map(UnsealedEvent::bytes).sum();
        // In this order: a sum that is too high for a moment would let another thread drop events.
        self.unsealed_bytes.fetch_sub(counted, Ordering::Relaxed);
        self.unsealed_bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut state = self.state.write();
        state.recent_bytes += bytes;
        state.since.get_or_insert(since);
        for event in &events {
            state.missing.recorded(event);
        }
        state.recent.extend(events);
    }

    /// Writes all events to the log, unless a failure of the disk makes it wait, and makes the log
    /// durable if that is due.
    pub(super) fn flush(&self, now: Timestamp) {
        let mut writer = self.writer.lock();
        let is_logged = self.write_log(&mut writer);
        let is_behind = writer
            .log
            .as_ref()
            .is_some_and(|log| log.is_behind(SYNC_BYTES));
        if !is_behind && !self.folder.options.is_sync_due(writer.synced_at, now) {
            return;
        }
        writer.synced_at = Some(now);
        if self.sync_log(&mut writer).is_ok() && is_logged {
            self.folder.graph_counters.set_synced(now);
        }
    }

    /// Makes all events durable.
    ///
    /// # Errors
    /// Returns an error if events are in memory only, or the log cannot be made durable.
    pub(super) fn sync_all(&self) -> io::Result<()> {
        let mut writer = self.writer.lock();
        if !self.write_log(&mut writer) {
            return Err(unlogged());
        }
        // Of several threads that wait, the first one makes the events of all durable.
        self.sync_log(&mut writer)
    }

    fn sync_log(&self, writer: &mut Writer) -> io::Result<()> {
        let synced = writer.log.as_mut().map_or(Ok(false), Log::sync);
        match synced {
            Ok(_) => {
                self.succeed(Operation::Sync);
                Ok(())
            }
            Err(error) => {
                self.fail(Operation::Sync, &error);
                Err(error)
            }
        }
    }

    /// Appends the recent events that are not in the log to it, batch by batch. Returns whether all
    /// events that were recorded before are in logs or segments.
    fn write_log(&self, writer: &mut Writer) -> bool {
        self.collect();
        loop {
            let batch = next_batch(&self.state.read());
            if batch.is_empty() {
                self.succeed(Operation::Log);
                let state = self.state.read();
                return !state.frozen.iter().any(|frozen| frozen.has_unlogged);
            }
            if !self.outage.may_try(Operation::Log, self.now()) {
                return false;
            }
            let frames = frames_of(&batch, writer);
            if let Err(error) = self.append(writer, &frames) {
                self.fail(Operation::Log, &error);
                return false;
            }
            self.succeed(Operation::Log);
            let mut state = self.state.write();
            state.logged = batch.last().map_or(state.logged, UnsealedEvent::seq);
            state.log_bytes = writer.log.as_ref().map_or(0, Log::length);
        }
    }

    fn append(&self, writer: &mut Writer, frames: &[u8]) -> io::Result<()> {
        let log = match &mut writer.log {
            Some(log) => log,
            None => {
                let path = self.path.join(Name::Log(writer.generation).to_string());
                writer.log.insert(Log::create(self.disk(), &path)?)
            }
        };
        log.append(frames)
    }

    /// Leaves the recent events to be sealed, and begins a new log.
    pub(super) fn freeze(&self) {
        let mut writer = self.writer.lock();
        self.write_log(&mut writer);
        if self.state.read().recent.is_empty() {
            return;
        }
        // Without this, nothing would make the end of the log durable until the seal.
        let is_synced = self.sync_log(&mut writer).is_ok();
        let mut guard = self.state.write();
        let state = &mut *guard;
        // All of them may have been dropped meanwhile.
        let Some(last) = state.recent.back().map(UnsealedEvent::seq) else {
            return;
        };
        let events = std::mem::take(&mut state.recent);
        state.since = None;
        state.frozen.push(Arc::new(Frozen {
            generation: writer.generation,
            events: events.into(),
            bytes: std::mem::take(&mut state.recent_bytes),
            log_bytes: std::mem::take(&mut state.log_bytes),
            is_log_damaged: false,
            has_unlogged: !is_synced || last > state.logged,
        }));
        drop(guard);
        writer.log = None;
        writer.generation += 1;
    }

    /// Returns the newest time of the recorder's clock.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.now.load(Ordering::Relaxed))
    }

    /// Records a failure of the disk.
    pub(super) fn fail(&self, operation: Operation, error: &io::Error) {
        let dropped = self.folder.graph_counters.dropped_for_disk();
        self.outage.fail(operation, self.now(), error, dropped);
    }

    /// Records that an operation succeeded, or has nothing to do.
    pub(super) fn succeed(&self, operation: Operation) {
        let dropped = self.folder.graph_counters.dropped_for_disk();
        self.outage.succeed(operation, dropped);
    }
}

impl Pending {
    /// Takes the events and numbers them. Returns them with their counted memory in bytes.
    pub(super) fn numbered(&mut self, next_seq: &mut i64) -> (Vec<UnsealedEvent>, usize) {
        let Self { events, bytes } = std::mem::take(self);
        let events = events.into_iter().map(|(event, recorded)| {
            let seq = *next_seq;
            *next_seq += 1;
            UnsealedEvent::new(event, seq, recorded)
        });
        (events.collect(), bytes)
    }
}

/// Returns the oldest recent events that are not in the log.
fn next_batch(state: &State) -> Vec<UnsealedEvent> {
    let is_logged = |event: &UnsealedEvent| event.seq() <= state.logged;
    let first = state.recent.partition_point(is_logged);
    let last = state.recent.len().min(first + BATCH_EVENTS);
    state.recent.range(first..last).cloned().collect()
}

/// Returns the frames of events.
fn frames_of(events: &[UnsealedEvent], writer: &mut Writer) -> Vec<u8> {
    let mut frames = Vec::new();
    let mut json = Vec::new();
    for event in events {
        json.clear();
        // Cannot fail: all keys are text, and the buffer grows.
        drop(serde_json::to_writer(&mut json, &event.row()));
        writer
            .frame
            .push(json.len(), |out| out.extend_from_slice(&json));
        if writer.frame.is_full() {
            writer.frame.finish(&mut frames);
        }
    }
    if !writer.frame.is_empty() {
        writer.frame.finish(&mut frames);
    }
    frames
}

/// Maximum number of events that are written to the log at once.
const BATCH_EVENTS: usize = 1024;
/// Bytes after which a log is made durable before its time.
const SYNC_BYTES: u64 = 1 << 20;
