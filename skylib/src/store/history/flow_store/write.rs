//! Writing of records: the table and the log, and back-pressure.
//!
//! `put` changes memory only; the frames of its records are written to the log by a thread, or by
//! `put` itself if there is none. While the disk is slow, `put` waits for at most a second.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::inbox::{Frames, Inbox};
use super::{Frozen, LocalFlowStore, State, Writer};
use crate::flow::Flow;
use crate::store::history::counters::DropReason;
use crate::store::history::log::{Log, unlogged};
use crate::store::history::names::{Generation, Name};
use crate::store::history::outage::Operation;
use crate::store::stored_flow::FlowUpdate;
use crate::time::Timestamp;

impl LocalFlowStore {
    /// Adds records to the table and to the frames for the log. Returns whether the table was full
    /// and has been frozen.
    pub(super) fn add(&self, flows: Vec<Flow>, now: Timestamp) -> bool {
        let mut inbox = self.inbox.lock();
        let (now, is_new_time) = inbox.clock.tick(now);
        self.now.store(now.as_ms(), Ordering::Relaxed);
        if is_new_time {
            self.freeze_locked(&mut inbox);
        }
        let memory = self.folder.options.memory;
        let updates: Vec<FlowUpdate> = flows.into_iter().map(FlowUpdate::new).collect();
        inbox.add(&updates, now, memory / 2);
        let is_full = {
            let mut state = self.state.write();
            for update in updates {
                state.recent.put(update, inbox.next_number, now);
                inbox.next_number += 1;
            }
            state.recent.bytes() >= memory || inbox.log_bytes >= MAX_LOG_BYTES
        };
        if is_full {
            self.freeze_locked(&mut inbox);
        }
        is_full
    }

    /// Begins a new log and a new table, and leaves the old table to be sealed.
    pub(super) fn freeze(&self) {
        self.freeze_locked(&mut self.inbox.lock());
    }

    fn freeze_locked(&self, inbox: &mut Inbox) {
        let mut state = self.state.write();
        if state.recent.is_empty() {
            return;
        }
        let next = state.recent.next();
        let flows = std::mem::replace(&mut state.recent, next);
        state.frozen.push(Arc::new(Frozen {
            generation: inbox.generation,
            flows,
            log_bytes: inbox.log_bytes,
            is_log_damaged: false,
        }));
        inbox.begin_next();
    }

    /// Writes the frames that are in no log, unless a failure of the disk makes them wait, and makes
    /// the log durable if that is due.
    pub(super) fn flush(&self, now: Timestamp) {
        let mut writer = self.writer.lock();
        let is_logged = self.write_log(&mut writer);
        if !self.folder.options.is_sync_due(writer.synced_at, now) {
            return;
        }
        writer.synced_at = Some(now);
        if self.sync_log(&mut writer).is_ok() && is_logged {
            self.folder.flow_counters.set_synced(now);
        }
    }

    /// Writes frames to their logs. Returns whether all records that were put before are in logs or
    /// segments.
    fn write_log(&self, writer: &mut Writer) -> bool {
        loop {
            let oldest = self.inbox.lock().oldest();
            let Some(frames) = oldest else {
                self.succeed(Operation::Log);
                return !self.inbox.lock().has_unlogged();
            };
            if !self.outage.may_try(Operation::Log, self.now()) {
                return false;
            }
            if let Err(error) = self.append(writer, &frames) {
                self.fail(Operation::Log, &error);
                return false;
            }
            self.inbox.lock().written(&frames);
            self.succeed(Operation::Log);
            if !self.is_needed(frames.generation) {
                // The table was sealed or dropped, and its log removed, before this created it again.
                writer.log = None;
                drop(self.folder.remove_log(&self.path, frames.generation));
            }
        }
    }

    fn append(&self, writer: &mut Writer, frames: &Frames) -> io::Result<()> {
        let is_open = matches!(&writer.log, Some((open, _)) if *open == frames.generation);
        if !is_open {
            self.close_log(writer)?;
            let name = Name::Log(frames.generation);
            let log = Log::create(self.disk(), &self.path.join(name.to_string()))?;
            writer.log = Some((frames.generation, log));
        }
        let Some((_, log)) = &mut writer.log else {
            return Ok(());
        };
        log.append(&frames.bytes)?;
        match log.is_behind(SYNC_BYTES) {
            true => log.sync().map(drop),
            false => Ok(()),
        }
    }

    /// Makes a log that is no longer the newest one durable, and closes it.
    fn close_log(&self, writer: &mut Writer) -> io::Result<()> {
        if let Some((generation, log)) = &mut writer.log {
            let generation = *generation;
            // Its records may be in a segment already.
            if self.is_needed(generation) {
                log.sync()?;
            }
            writer.log = None;
        }
        Ok(())
    }

    /// Returns whether a log has records that are in no segment.
    fn is_needed(&self, generation: Generation) -> bool {
        let is_current = self.inbox.lock().generation == generation;
        let state = self.state.read();
        let mut frozen = state.frozen.iter();
        is_current || frozen.any(|frozen| frozen.generation == generation)
    }

    /// Makes all records durable.
    ///
    /// # Errors
    /// Returns an error if records are in memory only, or the log cannot be made durable.
    pub(super) fn sync_all(&self) -> io::Result<()> {
        let mut writer = self.writer.lock();
        if !self.write_log(&mut writer) {
            return Err(unlogged());
        }
        self.sync_log(&mut writer)
    }

    fn sync_log(&self, writer: &mut Writer) -> io::Result<()> {
        let log = writer.log.as_mut();
        match log.map_or(Ok(false), |(_, log)| log.sync()) {
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

    /// Waits for at most one second until fewer than [`MAX_FROZEN`] tables wait to be sealed;
    /// without worker threads, seals them. Then drops the oldest tables while more than
    /// `MAX_FROZEN` are left (if seals fail) or more than twice as many (otherwise).
    pub(super) fn wait_for_room(&self) {
        if self.has_worker.load(Ordering::Relaxed) {
            self.wait_while_full(ROOM_WAITS);
        } else {
            self.seal_frozen(Some(self.now()));
        }
        self.enforce_memory();
    }

    /// Waits until a table fits into memory while the disk makes progress, at most [`SEAL_WAITS`]
    /// times [`ROOM_WAIT`].
    pub(super) fn wait_for_seal(&self) {
        if self.has_worker.load(Ordering::Relaxed) {
            self.wait_while_full(SEAL_WAITS);
        }
    }

    /// Waits while [`MAX_FROZEN`] tables wait to be sealed and seals do not fail, for at most a number
    /// of times [`ROOM_WAIT`].
    fn wait_while_full(&self, waits: usize) {
        let mut waiting = self.waiting.lock();
        for _ in 0..waits {
            let is_full = self.state.read().frozen.len() >= MAX_FROZEN;
            if !is_full || self.outage.is_failing(Operation::Seal) {
                return;
            }
            self.signals.seal.set();
            self.sealed.wait_for(&mut waiting, ROOM_WAIT);
        }
    }

    fn enforce_memory(&self) {
        let is_failing = self.outage.is_failing(Operation::Seal);
        let (most, reason) = match is_failing {
            true => (MAX_FROZEN, DropReason::Disk),
            false => (2 * MAX_FROZEN, DropReason::Slow),
        };
        let mut dropped = Vec::new();
        {
            let mut state = self.state.write();
            while state.frozen.len() > most {
                match self.drop_oldest(&mut state, reason) {
                    Some(generation) => dropped.push(generation),
                    None => break,
                }
            }
        }
        if dropped.is_empty() {
            return;
        }
        if !is_failing {
            self.fail(Operation::KeepUp, &io::Error::other("the disk is too slow"));
        }
        let mut inbox = self.inbox.lock();
        dropped
            .iter()
            .for_each(|generation| inbox.forget(*generation));
    }

    /// Drops the oldest table that is not being sealed. Returns its generation.
    fn drop_oldest(&self, state: &mut State, reason: DropReason) -> Option<Generation> {
        let being_sealed = state.being_sealed;
        let is_idle = |frozen: &Arc<Frozen>| Some(frozen.generation) != being_sealed;
        let position = state.frozen.iter().position(is_idle)?;
        let dropped = state.frozen.remove(position);
        let flows = dropped.flows.iter();
        let records: i64 = flows.map(|recent| i64::from(recent.updates)).sum();
        state.counts.lost += records.unsigned_abs();
        let newest = dropped.flows.newest();
        state.counts.complete_since = state.counts.complete_since.max(newest);
        state.stale_logs.push(dropped.generation);
        let rows = usize::try_from(records).unwrap_or_default();
        self.folder.flow_counters.drop_rows(reason, rows);
        Some(dropped.generation)
    }

    /// Returns the newest time of the recorder's clock.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.now.load(Ordering::Relaxed))
    }

    /// Records a failure of the disk.
    pub(super) fn fail(&self, operation: Operation, error: &io::Error) {
        let dropped = self.folder.flow_counters.dropped_for_disk();
        self.outage.fail(operation, self.now(), error, dropped);
    }

    /// Records that an operation succeeded, or has nothing to do.
    pub(super) fn succeed(&self, operation: Operation) {
        let dropped = self.folder.flow_counters.dropped_for_disk();
        self.outage.succeed(operation, dropped);
    }
}

/// Size of a log at which its table is frozen, in bytes.
const MAX_LOG_BYTES: u64 = 128 << 20;
/// Number of unsynced bytes after which the writer makes a log durable.
const SYNC_BYTES: u64 = 1 << 20;
/// Number of unsealed frozen tables at which `put` waits.
const MAX_FROZEN: usize = 2;
/// Maximum number of waits of `put`: one second in all.
const ROOM_WAITS: usize = 10;
/// Maximum number of waits of an import: ten minutes in all.
const SEAL_WAITS: usize = 6_000;
const ROOM_WAIT: Duration = Duration::from_millis(100);
