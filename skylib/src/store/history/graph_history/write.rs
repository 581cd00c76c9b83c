//! Writing of events: the log and the recent rows.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Frozen, LocalHistory, Pending, Writer};
use crate::error_chain::Chain;
use crate::store::history::event_row::EventRow;
use crate::store::history::log::Log;
use crate::store::history::names::Name;
use crate::time::Timestamp;

impl LocalHistory {
    /// Returns whether records exist only in memory, because a log could not be written.
    pub(super) fn has_unlogged(&self, writer: &Writer) -> bool {
        writer.has_unlogged || {
            let state = self.state.read();
            state.frozen.iter().any(|frozen| frozen.has_unlogged)
        }
    }

    /// Writes pending events to the log and to the recent rows. `now` decides about retries after a
    /// failure of the disk; without it, an attempt is made at once.
    pub(super) fn flush(&self, now: Option<Timestamp>) {
        let mut writer = self.writer.lock();
        let Pending { events, .. } = std::mem::take(&mut *self.pending.lock());
        if events.is_empty() {
            return;
        }
        let mut rows = Vec::with_capacity(events.len());
        for (event, recorded) in &events {
            rows.push(Arc::new(EventRow::of(event, writer.next_seq, *recorded)));
            writer.next_seq += 1;
        }
        self.append(&mut writer, rows, now);
    }

    /// Appends rows to the log and to the recent rows. After a failure of the disk, the rows are in
    /// memory only, until they are sealed.
    pub(super) fn append(
        &self,
        writer: &mut Writer,
        rows: Vec<Arc<EventRow>>,
        now: Option<Timestamp>,
    ) {
        let mut frames = Vec::new();
        for row in &rows {
            // Cannot fail: all keys are text.
            let json = serde_json::to_vec(&**row).unwrap_or_default();
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
        let may_try = match (writer.retry_at, now) {
            (Some(retry_at), Some(now)) => now >= retry_at,
            _ => true,
        };
        if !may_try {
            writer.has_unlogged = true;
        } else {
            match self.write_frames(writer, &frames) {
                Ok(()) => writer.retry_at = None,
                Err(error) => {
                    writer.has_unlogged = true;
                    tracing::warn!(error = %Chain(&error), "cannot write the history of the topology");
                    writer.retry_at = now.map(|now| now.saturating_add(RETRY));
                }
            }
        }
        let first = rows.first().map(|row| Timestamp::from_ms(row.recorded));
        let mut state = self.state.write();
        state.recent_bytes += rows.iter().map(|row| row.bytes()).sum::<usize>();
        state.since = state.since.or(first);
        state.recent.extend(rows);
    }

    pub(super) fn write_frames(&self, writer: &mut Writer, frames: &[u8]) -> io::Result<()> {
        let log = match &mut writer.log {
            Some(log) => log,
            None => {
                let path = self.path.join(Name::Log(writer.generation).to_string());
                writer.log.insert(Log::create(self.disk(), &path)?)
            }
        };
        log.append(frames)
    }

    pub(super) fn freeze(&self) {
        let mut writer = self.writer.lock();
        let mut state = self.state.write();
        if state.recent.is_empty() {
            return;
        }
        let rows = std::mem::take(&mut state.recent);
        state.recent_bytes = 0;
        state.since = None;
        state.frozen.push(Arc::new(Frozen {
            generation: writer.generation,
            rows,
            is_log_damaged: false,
            has_unlogged: writer.has_unlogged,
        }));
        writer.log = None;
        writer.has_unlogged = false;
        writer.generation += 1;
    }
}

/// Pause after a failure of the disk.
const RETRY: Duration = Duration::from_secs(5);
