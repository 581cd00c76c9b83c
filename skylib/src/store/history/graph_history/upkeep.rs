//! Upkeep: seals rows, merges and checks segments, writes snapshots, and enforces the limits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Frozen, LocalHistory, TABLE};
use crate::store::history::counters::{DropReason, TableCounters};
use crate::store::history::event_row::EventRow;
use crate::store::history::graph_fold::ElementState;
use crate::store::history::graph_segment::{GraphSegment, GraphSpan, GraphWriter};
use crate::store::history::names::Name;
use crate::store::history::outage::Operation;
use crate::store::history::parquet_file::is_damage;
use crate::store::history::retention::Part;
use crate::store::history::sorted_merge::{Rows, merge};
use crate::store::history::unsealed_event::UnsealedEvent;
use crate::store::history::worker::{Maintain, Signals};
use crate::store::history::{graph_segment, merge_policy, segment_folder};
use crate::time::Timestamp;
use crate::value::Text;

impl LocalHistory {
    /// Writes frozen events as segments, oldest first, until one fails. `now` decides about retries
    /// after a failure of the disk; without it, an attempt is made at once.
    pub(super) fn seal_frozen(&self, now: Option<Timestamp>) {
        let _sealing = self.sealing.lock();
        while now.is_none_or(|now| self.outage.may_try(Operation::Seal, now)) {
            let frozen = {
                let mut state = self.state.write();
                let first = state.frozen.first().cloned();
                state.being_sealed = first.as_ref().map(|first| first.generation);
                first
            };
            let Some(frozen) = frozen else {
                self.succeed(Operation::Seal);
                self.succeed(Operation::KeepUp);
                break;
            };
            let sealed = self.seal_one(&frozen);
            let counters = &self.folder.graph_counters;
            TableCounters::count(match &sealed {
                Ok(()) => &counters.seals,
                Err(_) => &counters.failures,
            });
            if let Err(error) = sealed {
                self.state.write().being_sealed = None;
                self.fail(Operation::Seal, &error);
                break;
            }
        }
        self.remove_stale_logs();
        self.measure();
        self.wake_recorders();
    }

    fn seal_one(&self, frozen: &Arc<Frozen>) -> io::Result<()> {
        let generation = frozen.generation;
        let name = Name::Segment(generation, generation);
        let segment = match frozen.events.is_empty() {
            true => None,
            false => Some(self.write_segment(name, &frozen.events)?),
        };
        {
            let mut state = self.state.write();
            state.frozen.retain(|other| !Arc::ptr_eq(other, frozen));
            state.segments.extend(segment);
            self.unsealed_bytes
                .fetch_sub(frozen.bytes, Ordering::Relaxed);
        }
        self.wake_recorders();
        if frozen.is_log_damaged {
            let log = self.path.join(Name::Log(generation).to_string());
            self.folder.set_aside(&log, TABLE)?;
            return Ok(());
        }
        // If this fails, the next start finds a log that the segment replaces.
        drop(self.folder.remove_log(&self.path, generation));
        Ok(())
    }

    fn write_segment(&self, name: Name, events: &[UnsealedEvent]) -> io::Result<Arc<GraphSegment>> {
        let mut order: Vec<(Text, &UnsealedEvent)> =
            events.iter().map(|event| (event.id(), event)).collect();
        // Stable: the events of an element remain in the order of their numbers.
        order.sort_by(|(a, _), (b, _)| a.cmp(b));
        let spans = events.iter().map(UnsealedEvent::span);
        let span = spans.fold(GraphSpan::EMPTY, GraphSpan::join);
        self.commit(name, span, |writer| {
            let mut rows = order.iter().map(|(_, event)| event.row());
            rows.try_for_each(|row| writer.push(row))
        })
    }

    /// Removes the logs of events that were dropped from memory.
    fn remove_stale_logs(&self) {
        let stale = std::mem::take(&mut self.state.write().stale_logs);
        for generation in stale {
            if self.folder.remove_log(&self.path, generation).is_err() {
                self.state.write().stale_logs.push(generation);
            }
        }
    }

    /// Writes and opens a segment or a snapshot.
    pub(super) fn commit(
        &self,
        name: Name,
        span: GraphSpan,
        rows: impl FnOnce(&mut GraphWriter<'_>) -> io::Result<()>,
    ) -> io::Result<Arc<GraphSegment>> {
        let path = self.path.join(name.to_string());
        let unfinished = self.folder.unfinished(&format!("{TABLE}-{name}"));
        let host = &self.folder.options.host;
        segment_folder::commit(self.disk(), &unfinished, &path, |folder| {
            graph_segment::write(self.disk(), folder, name, host, span, rows)
        })?;
        GraphSegment::open(self.disk(), &path, name).map(Arc::new)
    }

    /// Writes a snapshot if one is due. `now` decides about retries after a failure of the disk;
    /// without it, an attempt is made at once.
    pub(super) fn update_snapshot(&self, now: Option<Timestamp>) {
        let _tidying = self.tidying.lock();
        let may_try = || now.is_none_or(|now| self.outage.may_try(Operation::Snapshot, now));
        if self.needs_snapshot() && may_try() {
            self.try_snapshot();
        }
    }

    /// Writes a snapshot. Returns whether that succeeded.
    fn try_snapshot(&self) -> bool {
        match self.write_snapshot() {
            Ok(()) => self.succeed(Operation::Snapshot),
            Err(error) => {
                self.fail(Operation::Snapshot, &error);
                return false;
            }
        }
        true
    }

    /// Returns whether the events since the last snapshot are larger than twice its size.
    pub(super) fn needs_snapshot(&self) -> bool {
        let state = self.state.read();
        let newest = state.snapshots.last();
        let after = newest.map_or(0, |snapshot| snapshot.name.last());
        let later = state
            .segments
            .iter()
            .filter(|segment| segment.name.last() > after);
        let bytes: u64 = later.map(|segment| segment.bytes()).sum();
        bytes > newest.map_or(0, |snapshot| 2 * snapshot.bytes())
    }

    /// Writes a snapshot as of the newest segment: a merge of the last snapshot and the segments
    /// after it.
    pub(super) fn write_snapshot(&self) -> io::Result<()> {
        let (base, segments) = {
            let state = self.state.read();
            let base = state.snapshots.last().cloned();
            let after = base.as_ref().map_or(0, |base| base.name.last());
            let later = state
                .segments
                .iter()
                .filter(|segment| segment.name.last() > after);
            (base.clone(), later.cloned().collect::<Vec<_>>())
        };
        let Some(newest) = segments.last() else {
            return Ok(());
        };
        let name = Name::Snapshot(newest.name.last());
        let inputs: Vec<_> = base.iter().chain(&segments).cloned().collect();
        let spans = inputs.iter().map(|input| input.span);
        let span = spans.fold(GraphSpan::EMPTY, GraphSpan::join);
        let snapshot = self.commit(name, span, |writer| {
            let mut current = Text::default();
            let mut states: [ElementState; 2] = Default::default();
            merge(rows_of(&inputs)?, |(id, _), _, row: EventRow| {
                if id != current {
                    finish_states(&mut states, writer)?;
                    current = id;
                }
                states[usize::from(row.event.is_edge())].apply(row);
                Ok(())
            })?;
            finish_states(&mut states, writer)
        });
        let snapshot = snapshot.inspect_err(|error| self.set_damaged_aside(&inputs, error))?;
        self.state.write().snapshots.push(snapshot);
        Ok(())
    }

    /// Merges the segments of every hour that has ended or has too many of them.
    pub(super) fn merge_hours(&self, now: Timestamp) {
        while self.outage.may_try(Operation::Merge, now) {
            let due = {
                let state = self.state.read();
                let snapshot = state.snapshots.last();
                let max_bytes = snapshot.map_or(0, |snapshot| 4 * snapshot.bytes());
                due_segments(&state.segments, max_bytes, now)
            };
            let Some(segments) = due else {
                self.succeed(Operation::Merge);
                return;
            };
            if let Err(error) = self.merge(&segments, now) {
                self.fail(Operation::Merge, &error);
                return;
            }
        }
    }

    pub(super) fn merge(&self, segments: &[Arc<GraphSegment>], now: Timestamp) -> io::Result<()> {
        let _tidying = self.tidying.lock();
        let (Some(Name::Segment(first, _)), Some(last)) = (
            segments.first().map(|segment| segment.name),
            segments.last(),
        ) else {
            return Ok(());
        };
        let name = Name::Segment(first, last.name.last());
        let spans = segments.iter().map(|segment| segment.span);
        let span = spans.fold(GraphSpan::EMPTY, GraphSpan::join);
        let merged = self.commit(name, span, |writer| {
            merge(rows_of(segments)?, |_, _, row| writer.push(row))
        });
        let merged = match merged {
            Ok(merged) => merged,
            Err(error) => {
                TableCounters::count(&self.folder.graph_counters.failures);
                self.set_damaged_aside(segments, &error);
                return Err(error);
            }
        };
        {
            let mut state = self.state.write();
            let is_merged = |segment: &Arc<GraphSegment>| {
                segments.iter().any(|merged| Arc::ptr_eq(merged, segment))
            };
            let at = state
                .segments
                .iter()
                .position(is_merged)
                .unwrap_or_default();
            state.segments.retain(|segment| !is_merged(segment));
            state.segments.insert(at, merged);
        }
        for segment in segments {
            // If this fails, the next start finds a segment that the new one replaces.
            drop(self.folder.replace(&segment.folder, segment.bytes(), now));
        }
        TableCounters::count(&self.folder.graph_counters.merges);
        self.measure();
        Ok(())
    }

    /// Removes a segment or a snapshot from the list that queries read. Returns whether the list
    /// contained it.
    fn drop_segment(&self, segment: &Arc<GraphSegment>) -> bool {
        let mut state = self.state.write();
        let before = state.segments.len() + state.snapshots.len();
        state.segments.retain(|other| !Arc::ptr_eq(other, segment));
        state.snapshots.retain(|other| !Arc::ptr_eq(other, segment));
        state.segments.len() + state.snapshots.len() < before
    }

    /// Moves a damaged segment to the folder `damaged`; queries no longer read it.
    pub(super) fn set_aside(&self, segment: &Arc<GraphSegment>, damage: &io::Error) {
        if !self.drop_segment(segment) {
            // Another thread has found the damage, too.
            return;
        }
        let is_redundant = self.state.read().is_redundant(segment.name);
        if !is_redundant {
            let (start, last) = segment.span.time;
            self.lost.lock().add(start, last);
            self.note_missing(segment);
        }
        let counters = &self.folder.graph_counters;
        counters.drop_rows(DropReason::Damage, segment.rows());
        self.folder.report_damage(&segment.folder, TABLE, damage);
    }

    /// Records that all present elements must be recorded again after the loss of a segment, unless
    /// a snapshot includes the changes of the segment.
    fn note_missing(&self, lost: &GraphSegment) {
        let mut state = self.state.write();
        let newest = state.snapshots.last();
        if newest.is_none_or(|newest| newest.name.last() < lost.name.last()) {
            state.missing.add_everything();
        }
    }

    /// Moves damaged segments to the folder `damaged` after a failed read.
    pub(super) fn set_damaged_aside(&self, segments: &[Arc<GraphSegment>], error: &io::Error) {
        if is_damage(error) {
            segments
                .iter()
                .for_each(|segment| self.check_content(segment));
        }
    }

    /// Compares the content of all files with their checksums, and moves damaged ones to the folder
    /// `damaged`.
    pub fn check(&self) {
        let state = self.state.read();
        let all: Vec<_> = state
            .segments
            .iter()
            .chain(&state.snapshots)
            .cloned()
            .collect();
        drop(state);
        all.iter().for_each(|segment| self.check_content(segment));
    }

    /// Moves a segment to the folder `damaged` if its content differs from its checksums.
    pub(super) fn check_content(&self, segment: &Arc<GraphSegment>) {
        if let Err(damage) = segment_folder::check(self.disk(), &segment.folder)
            && is_damage(&damage)
        {
            self.set_aside(segment, &damage);
        }
    }

    pub(super) fn check_next(&self) {
        let _tidying = self.tidying.lock();
        let next = self.unchecked.lock().pop();
        if let Some(segment) = next.and_then(|segment| segment.upgrade()) {
            self.check_content(&segment);
        }
    }

    pub(super) fn enforce_limits(&self, now: Timestamp) {
        let _tidying = self.tidying.lock();
        let too_old = now.saturating_sub(self.folder.options.max_age).as_ms();
        loop {
            let oldest = self.state.read().segments.first().cloned();
            let is_due = |oldest: &Arc<GraphSegment>| oldest.span.recorded.1 < too_old;
            if !oldest.as_ref().is_some_and(is_due) || !self.remove_oldest(Some(now)) {
                break;
            }
        }
        self.measure();
        while self.folder.over() == Some(Part::Graph) && self.remove_oldest(None) {
            self.measure();
        }
    }

    /// Removes the oldest segment and the snapshots taken before its end. A snapshot of the state
    /// at its end, or of a later state, must exist and is written first if necessary.
    pub(super) fn remove_oldest(&self, replaced_at: Option<Timestamp>) -> bool {
        let state = self.state.read();
        let Some(oldest) = state.segments.first().cloned() else {
            return false;
        };
        let has_base = state
            .snapshots
            .iter()
            .any(|base| base.name.last() >= oldest.name.last());
        drop(state);
        let now = self.now();
        let may_try = || self.outage.may_try(Operation::Snapshot, now);
        let has_base = has_base || may_try() && self.try_snapshot();
        if !has_base {
            return false;
        }
        let removed = match replaced_at {
            Some(now) => self.folder.replace(&oldest.folder, oldest.bytes(), now),
            None => self.disk().remove(&oldest.folder),
        };
        if removed.is_err() {
            return false;
        }
        let mut state = self.state.write();
        state.segments.retain(|other| !Arc::ptr_eq(other, &oldest));
        state.evicted += oldest.rows() as u64;
        let reason = replaced_at.map_or(DropReason::Size, |_| DropReason::Age);
        let counters = &self.folder.graph_counters;
        counters.drop_rows(reason, oldest.rows());
        let useless: Vec<_> = match state
            .snapshots
            .iter()
            .position(|base| base.name.last() >= oldest.name.last())
        {
            Some(base) => state.snapshots.drain(..base).collect(),
            None => Vec::new(),
        };
        // The state before the end of the first snapshot no longer follows from the files.
        let first = state.snapshots.first();
        let complete = first.map(|snapshot| snapshot.span.recorded.1);
        let complete = complete.max(Some(oldest.span.recorded.1));
        state.complete_since = state.complete_since.max(complete);
        drop(state);
        for snapshot in useless {
            drop(self.disk().remove(&snapshot.folder));
        }
        true
    }

    /// Continues in a new folder if the folder was removed; the records in its files are lost.
    fn check_folder(&self, now: Timestamp) {
        if !self.folder.restore_table(&self.path) {
            return;
        }
        {
            let mut state = self.state.write();
            state.snapshots.clear();
            state.missing.add_everything();
            for segment in std::mem::take(&mut state.segments) {
                state.evicted += segment.rows() as u64;
                state.complete_since = state.complete_since.max(Some(segment.span.recorded.1));
                let counters = &self.folder.graph_counters;
                counters.drop_rows(DropReason::Damage, segment.rows());
            }
        }
        self.succeed(Operation::Snapshot);
        // The logs were removed, too: what is in memory is written at once.
        self.freeze();
        self.seal_frozen(Some(now));
    }

    /// Updates the size that the limits apply to.
    pub(super) fn measure(&self) {
        let state = self.state.read();
        let files = state.segments.iter().chain(&state.snapshots);
        let bytes: u64 = files.map(|segment| segment.bytes()).sum();
        self.folder
            .set_usage(Part::Graph, bytes + state.log_bytes());
    }
}

impl Maintain for LocalHistory {
    fn write(&self, now: Timestamp) {
        self.now.store(now.as_ms(), Ordering::Relaxed);
        self.flush(now);
    }

    fn seal_due(&self, now: Timestamp) {
        let is_due = {
            let state = self.state.read();
            let is_old = |since: Timestamp| since.saturating_add(self.folder.options.seal) <= now;
            // While events cannot be sealed, further ones do not become many small segments.
            state.frozen.is_empty() && (state.since.is_some_and(is_old) || self.is_crowded())
        };
        if is_due {
            self.freeze();
        }
        self.seal_frozen(Some(now));
    }

    fn tidy(&self, now: Timestamp) {
        self.check_folder(now);
        self.close_orphans(now);
        self.reconcile(now);
        self.update_snapshot(Some(now));
        self.merge_hours(now);
        self.check_next();
        self.enforce_limits(now);
        self.folder.remove_replaced(now);
    }

    fn set_background(&self) {
        self.has_worker.store(true, Ordering::Relaxed);
    }

    fn signals(&self) -> &Signals {
        &self.signals
    }
}

/// Returns the inputs of a merge, oldest first.
fn rows_of(segments: &[Arc<GraphSegment>]) -> io::Result<Vec<Rows<(Text, i64), EventRow>>> {
    let mut inputs = Vec::new();
    for segment in segments {
        inputs.extend(segment.inputs()?);
    }
    Ok(inputs)
}

fn finish_states(states: &mut [ElementState; 2], writer: &mut GraphWriter<'_>) -> io::Result<()> {
    for state in states {
        if let Some(row) = std::mem::take(state).finish() {
            writer.push(row)?;
        }
    }
    Ok(())
}

/// Returns the oldest segments that are to be merged into one, all of one hour and not larger than
/// `max_bytes` together: a restore reads a whole segment.
fn due_segments(
    segments: &[Arc<GraphSegment>],
    max_bytes: u64,
    now: Timestamp,
) -> Option<Vec<Arc<GraphSegment>>> {
    let hour = |segment: &GraphSegment| merge_policy::hour(segment.span.recorded.1);
    for group in segments.chunk_by(|a, b| hour(a) == hour(b)) {
        if !merge_policy::is_due(hour(&group[0]), group.len(), now) {
            continue;
        }
        let mut run: Vec<Arc<GraphSegment>> = Vec::new();
        let mut bytes = 0;
        for segment in group {
            if bytes + segment.bytes() > max_bytes {
                if run.len() > 1 {
                    return Some(run);
                }
                run.clear();
                bytes = 0;
            }
            bytes += segment.bytes();
            run.push(Arc::clone(segment));
        }
        if run.len() > 1 {
            return Some(run);
        }
    }
    None
}
