//! Upkeep: seals rows, merges and checks segments, writes snapshots, and enforces the limits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Frozen, LocalHistory, TABLE};
use crate::error_chain::Chain;
use crate::store::history::counters::{DropReason, TableCounters};
use crate::store::history::event_row::EventRow;
use crate::store::history::graph_fold::ElementState;
use crate::store::history::graph_segment::{GraphSegment, GraphSpan, GraphWriter};
use crate::store::history::log::Log;
use crate::store::history::names::Name;
use crate::store::history::parquet_file::is_damage;
use crate::store::history::retention::Part;
use crate::store::history::sorted_merge::{Rows, merge};
use crate::store::history::worker::Maintain;
use crate::store::history::{graph_segment, segment_folder};
use crate::time::Timestamp;
use crate::value::Text;

impl LocalHistory {
    pub(super) fn seal_frozen(&self) {
        let _sealing = self.sealing.lock();
        loop {
            let Some(frozen) = self.state.read().frozen.first().cloned() else {
                break;
            };
            let sealed = self.seal_one(&frozen);
            let counters = &self.folder.graph_counters;
            TableCounters::count(match &sealed {
                Ok(()) => &counters.seals,
                Err(_) => &counters.failures,
            });
            if let Err(error) = sealed {
                tracing::warn!(error = %Chain(&error), "cannot seal the history of the topology");
                self.bound_frozen();
                break;
            }
        }
        self.measure();
        if self.needs_snapshot()
            && let Err(error) = self.write_snapshot()
        {
            tracing::warn!(error = %Chain(&error), "cannot write a snapshot of the topology");
        }
    }

    /// Drops the oldest frozen rows while the disk fails and they exceed the memory.
    pub(super) fn bound_frozen(&self) {
        let mut state = self.state.write();
        let bytes = |frozen: &Arc<Frozen>| frozen.rows.iter().map(|row| row.bytes()).sum::<usize>();
        while state.frozen.len() > 1
            && state.frozen.iter().map(bytes).sum::<usize>() > self.folder.options.memory
        {
            let dropped = state.frozen.remove(0);
            state.evicted += dropped.rows.len() as u64;
            let counters = &self.folder.graph_counters;
            counters.drop_rows(DropReason::Disk, dropped.rows.len());
            tracing::warn!(
                events = dropped.rows.len(),
                "dropped events of the history: the disk cannot be written"
            );
        }
    }

    pub(super) fn seal_one(&self, frozen: &Arc<Frozen>) -> io::Result<()> {
        let generation = frozen.generation;
        let name = Name::Segment(generation, generation);
        if frozen.rows.is_empty() {
            self.state
                .write()
                .frozen
                .retain(|other| !Arc::ptr_eq(other, frozen));
        } else {
            let mut rows = frozen.rows.clone();
            rows.sort_by(|a, b| (&a.id, a.seq).cmp(&(&b.id, b.seq)));
            let span = rows.iter().map(|row| GraphSpan::of(row));
            let span = span.fold(GraphSpan::EMPTY, GraphSpan::join);
            let segment = self.commit(name, span, |writer| {
                rows.iter()
                    .try_for_each(|row| writer.push(EventRow::clone(row)))
            })?;
            let mut state = self.state.write();
            state.frozen.retain(|other| !Arc::ptr_eq(other, frozen));
            state.segments.push(segment);
        }
        let log = self.path.join(Name::Log(generation).to_string());
        if frozen.is_log_damaged {
            self.folder.set_aside(&log, TABLE)?;
            return Ok(());
        }
        // If this fails, the next start finds a log that the segment replaces.
        drop(self.disk().remove(&log));
        Ok(())
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
        })?;
        self.state.write().snapshots.push(snapshot);
        Ok(())
    }

    pub(super) fn merge_hours(&self, now: Timestamp) {
        loop {
            let segments = self.state.read().segments.clone();
            let snapshot = self
                .state
                .read()
                .snapshots
                .last()
                .map_or(0, |snapshot| snapshot.bytes());
            let Some(segments) = segments_of_an_hour(&segments, 4 * snapshot, now) else {
                return;
            };
            if let Err(error) = self.merge(&segments, now) {
                tracing::warn!(error = %Chain(&error), "cannot merge segments of the topology");
                return;
            }
        }
    }

    pub(super) fn merge(&self, segments: &[Arc<GraphSegment>], now: Timestamp) -> io::Result<()> {
        let _sealing = self.sealing.lock();
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
                if is_damage(&error) {
                    segments
                        .iter()
                        .for_each(|segment| self.check_content(segment));
                }
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

    pub(super) fn drop_segment(&self, segment: &Arc<GraphSegment>) {
        let mut state = self.state.write();
        state.segments.retain(|other| !Arc::ptr_eq(other, segment));
        state.snapshots.retain(|other| !Arc::ptr_eq(other, segment));
    }

    /// Removes a damaged segment from the answers and from its folder.
    pub(super) fn set_aside(&self, segment: &Arc<GraphSegment>, damage: &io::Error) {
        self.drop_segment(segment);
        let counters = &self.folder.graph_counters;
        counters.drop_rows(DropReason::Damage, segment.rows());
        self.folder.report_damage(&segment.folder, TABLE, damage);
    }

    /// Compares the content of all files with their sums, and sets damaged ones aside.
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

    /// Sets a segment aside if its content differs from its sums.
    pub(super) fn check_content(&self, segment: &Arc<GraphSegment>) {
        if let Err(damage) = segment_folder::check(self.disk(), &segment.folder)
            && is_damage(&damage)
        {
            self.set_aside(segment, &damage);
        }
    }

    pub(super) fn check_next(&self) {
        let _sealing = self.sealing.lock();
        let next = self.unchecked.lock().pop();
        if let Some(segment) = next.and_then(|segment| segment.upgrade()) {
            self.check_content(&segment);
        }
    }

    pub(super) fn enforce_limits(&self, now: Timestamp) {
        let _sealing = self.sealing.lock();
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

    /// Removes the oldest segment, and the snapshots that only it needs. The state at its end is in
    /// a snapshot first.
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
        if !has_base && let Err(error) = self.write_snapshot() {
            tracing::warn!(error = %Chain(&error), "cannot write a snapshot of the topology");
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
        state.complete_since = state.complete_since.max(Some(oldest.span.recorded.1));
        let useless: Vec<_> = match state
            .snapshots
            .iter()
            .position(|base| base.name.last() >= oldest.name.last())
        {
            Some(base) => state.snapshots.drain(..base).collect(),
            None => Vec::new(),
        };
        drop(state);
        for snapshot in useless {
            drop(self.disk().remove(&snapshot.folder));
        }
        true
    }

    pub(super) fn measure(&self) {
        let log = self.writer.lock().log.as_ref().map_or(0, Log::length);
        let state = self.state.read();
        let files = state.segments.iter().chain(&state.snapshots);
        let bytes: u64 = files.map(|segment| segment.bytes()).sum();
        self.folder.set_usage(Part::Graph, bytes + log);
    }
}

impl Maintain for LocalHistory {
    fn write(&self, now: Timestamp) {
        self.flush(Some(now));
        let mut writer = self.writer.lock();
        let synced = writer.log.as_mut().map_or(Ok(false), Log::sync);
        match synced {
            Ok(_) if self.has_unlogged(&writer) => {}
            Ok(_) => self.folder.graph_counters.set_synced(now),
            Err(error) => tracing::warn!(
                error = %Chain(&error),
                "cannot make the history of the topology durable"
            ),
        }
    }

    fn tidy(&self, now: Timestamp) {
        let options = &self.folder.options;
        let is_due = {
            let state = self.state.read();
            let is_old = |since: Timestamp| since.saturating_add(options.seal) <= now;
            state.since.is_some_and(is_old) || state.recent_bytes >= options.memory
        };
        self.close_orphans(now);
        if is_due {
            self.freeze();
        }
        self.seal_frozen();
        self.merge_hours(now);
        self.check_next();
        self.enforce_limits(now);
        self.folder.remove_replaced(now);
    }

    fn set_background(&self) {
        self.has_worker.store(true, Ordering::Relaxed);
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

/// Returns the segments of an hour that has ended, if there are several that are not larger than
/// `max_bytes` together: a restore reads a whole segment.
fn segments_of_an_hour(
    segments: &[Arc<GraphSegment>],
    max_bytes: u64,
    now: Timestamp,
) -> Option<Vec<Arc<GraphSegment>>> {
    let hour = |segment: &GraphSegment| segment.span.recorded.1.div_euclid(HOUR_MS);
    let current = now.as_ms().div_euclid(HOUR_MS);
    for group in segments.chunk_by(|a, b| hour(a) == hour(b)) {
        if hour(&group[0]) >= current {
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

/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;
