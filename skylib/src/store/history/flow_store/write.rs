//! Writing of records: the log, the table, and back-pressure.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prost::Message as _;

use super::{Frozen, LocalFlowStore, Trouble, Writer};
use crate::error_chain::Chain;
use crate::flow::Flow;
use crate::store::history::counters::DropReason;
use crate::store::history::log::Log;
use crate::store::history::names::Name;
use crate::time::Timestamp;

impl LocalFlowStore {
    /// Returns whether records exist only in memory, because a log could not be written.
    pub(super) fn has_unlogged(&self, writer: &Writer) -> bool {
        writer.has_unlogged || {
            let state = self.state.read();
            state.frozen.iter().any(|frozen| frozen.has_unlogged)
        }
    }

    pub(super) fn sync_log(&self, now: Timestamp) -> io::Result<()> {
        let mut writer = self.writer.lock();
        match writer.log.as_mut().map_or(Ok(false), Log::sync) {
            Ok(_) => {
                if !self.has_unlogged(&writer) {
                    self.folder.flow_counters.set_synced(now);
                }
                Ok(())
            }
            Err(error) => {
                writer.fail(now);
                Err(error)
            }
        }
    }

    /// Begins a new log and a new table, and leaves the old table to be sealed.
    pub(super) fn freeze(&self) {
        let mut writer = self.writer.lock();
        self.freeze_locked(&mut writer);
    }

    pub(super) fn freeze_locked(&self, writer: &mut Writer) {
        let mut state = self.state.write();
        if state.recent.is_empty() {
            return;
        }
        let next = state.recent.next();
        let flows = std::mem::replace(&mut state.recent, next);
        state.frozen.push(Arc::new(Frozen {
            generation: writer.generation,
            flows,
            is_log_damaged: false,
            has_unlogged: writer.has_unlogged,
        }));
        writer.log = None;
        writer.has_unlogged = false;
        writer.generation += 1;
    }

    /// Appends records to the log. A failure is reported once and retried later; the records are
    /// in memory in any case.
    pub(super) fn log_records(&self, writer: &mut Writer, flows: &[Flow], now: Timestamp) {
        for flow in flows {
            let length = size_of::<i64>() + flow.encoded_len();
            writer.frame.push(length, |out| {
                out.extend_from_slice(&now.as_ms().to_le_bytes());
                // Cannot fail: the buffer grows.
                let _ = flow.encode(out);
            });
            if writer.frame.is_full() {
                writer.frame.finish(&mut writer.frames);
            }
        }
        if !writer.frame.is_empty() {
            writer.frame.finish(&mut writer.frames);
        }
        let frames = std::mem::take(&mut writer.frames);
        let written = self.append(writer, &frames, now);
        writer.frames = frames;
        writer.frames.clear();
        match written {
            Ok(()) => {
                if writer.trouble.take().is_some() {
                    tracing::info!("the history of flows is written to the disk again");
                }
            }
            Err(error) => {
                if writer.trouble.is_none() {
                    tracing::warn!(
                        error = %Chain(&error),
                        "cannot write the history of flows; flows are stored in memory only"
                    );
                }
                writer.has_unlogged = true;
                writer.fail(now);
            }
        }
    }

    pub(super) fn append(
        &self,
        writer: &mut Writer,
        frames: &[u8],
        now: Timestamp,
    ) -> io::Result<()> {
        if writer.trouble.is_some_and(|trouble| now < trouble.retry_at) {
            return Err(io::Error::other("the disk failed a short time ago"));
        }
        let log = match &mut writer.log {
            Some(log) => log,
            None => {
                let path = self.path.join(Name::Log(writer.generation).to_string());
                writer.log.insert(Log::create(self.disk(), &path)?)
            }
        };
        log.append(frames)?;
        if log.is_behind(SYNC_BYTES) {
            log.sync()?;
        }
        Ok(())
    }

    /// Waits until the table of a new freeze fits into the bound of memory. Meanwhile, the queue
    /// before the store drops and counts what does not fit. While the disk fails, the oldest table
    /// is dropped instead.
    pub(super) fn wait_for_room(&self) {
        if !self.has_worker.load(Ordering::Relaxed) {
            self.seal_frozen();
        } else {
            self.signals.seal.set();
            let mut waiting = self.waiting.lock();
            for _ in 0..ROOM_WAITS {
                if self.state.read().frozen.len() < MAX_FROZEN {
                    return;
                }
                if self.is_failing.load(Ordering::Relaxed) {
                    break;
                }
                self.sealed.wait_for(&mut waiting, ROOM_WAIT);
            }
        }
        let mut state = self.state.write();
        while state.frozen.len() > MAX_FROZEN {
            let dropped = state.frozen.remove(0);
            let records: i64 = dropped
                .flows
                .iter()
                .map(|recent| i64::from(recent.updates))
                .sum();
            state.counts.lost += records.unsigned_abs();
            let rows = usize::try_from(records).unwrap_or_default();
            self.folder.flow_counters.drop_rows(DropReason::Disk, rows);
            tracing::warn!(
                records,
                "dropped flows of the history: the disk cannot be written"
            );
        }
    }
}

impl Writer {
    /// Notes a failure of the disk; the pause until the next attempt doubles up to a minute.
    fn fail(&mut self, now: Timestamp) {
        let pause = self.trouble.map_or(Duration::from_secs(1), |trouble| {
            if now < trouble.retry_at {
                trouble.pause
            } else {
                (trouble.pause * 2).min(Duration::from_secs(60))
            }
        });
        let waiting = self.trouble.filter(|trouble| now < trouble.retry_at);
        self.trouble = Some(waiting.unwrap_or(Trouble {
            retry_at: now.saturating_add(pause),
            pause,
        }));
    }
}

/// Bytes after which a log is made durable by the writer.
const SYNC_BYTES: u64 = 1 << 20;
/// Maximum number of tables that wait to be sealed.
const MAX_FROZEN: usize = 2;
/// Number of periods of [`ROOM_WAIT`] for which a writer waits for the worker.
const ROOM_WAITS: usize = 6000;
const ROOM_WAIT: Duration = Duration::from_millis(100);
