//! `LocalHistory`: the past of the graph on the local disk.
//!
//! The newest part of the past is in memory and answers queries about its time. Every event is also
//! appended to a log and, later, sealed in segments; snapshots of all elements are written when the
//! events since the last one have grown. A query about an earlier time restores the revisions of its
//! time: the newest snapshot before it, and the events after that.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

use super::disk::Disk;
use super::event_row::{EventRow, closing};
use super::folder::HistoryFolder;
use super::frame::{FrameBuilder, LogContent};
use super::graph_fold::{ElementId, ElementState, GraphFold};
use super::graph_segment::{self, GraphSegment, GraphSpan, GraphWriter};
use super::log::Log;
use super::names::{Catalog, Generation, Name};
use super::parquet_file::is_damage;
use super::retention::Part;
use super::segment_folder;
use super::sorted_merge::{Rows, merge};
use super::worker::Maintain;
use crate::error_chain::Chain;
use crate::graph::history::{
    History, HistoryLimits, HistoryStatus, MemoryHistory, PastReader, Revision, Revisions,
};
use crate::graph::{Direction, Edge, EdgeId, GraphError, GraphEvent, Node, NodeId};
use crate::store::StoreError;
use crate::time::{Timestamp, When};
use crate::value::Text;

/// The past of the graph on the local disk, with its newest part in memory.
///
/// [`LocalHistory::maintain`] must be called about once per second, or by the threads of
/// [`maintain_in_background`](super::maintain_in_background).
pub struct LocalHistory {
    folder: Arc<HistoryFolder>,
    path: PathBuf,
    memory: Arc<MemoryHistory>,
    /// Events that are not yet in the log, in their order, with their recorder's times.
    pending: Mutex<Pending>,
    writer: Mutex<Writer>,
    state: RwLock<State>,
    /// Held while segments are sealed, merged, checked, or removed.
    sealing: Mutex<()>,
    unchecked: Mutex<Vec<Weak<GraphSegment>>>,
    has_worker: AtomicBool,
    /// Elements of the past that have not been recorded again since the start.
    orphans: Mutex<Orphans>,
}

#[derive(Default)]
struct Pending {
    events: Vec<(GraphEvent, Timestamp)>,
    /// Events that were dropped because too many waited.
    lost: u64,
}

struct Writer {
    log: Option<Log>,
    generation: Generation,
    next_seq: i64,
    frame: FrameBuilder,
    retry_at: Option<Timestamp>,
}

/// What queries read, besides the memory.
#[derive(Default)]
struct State {
    /// Rows since the last seal, in the order of their numbers.
    recent: Vec<Arc<EventRow>>,
    recent_bytes: usize,
    /// Time of the first row in `recent`, by the recorder's clock.
    since: Option<Timestamp>,
    frozen: Vec<Arc<Frozen>>,
    segments: Vec<Arc<GraphSegment>>,
    snapshots: Vec<Arc<GraphSegment>>,
    evicted: u64,
    complete_since: Option<i64>,
}

/// Rows that wait to be sealed, and their log.
struct Frozen {
    generation: Generation,
    rows: Vec<Arc<EventRow>>,
    is_log_damaged: bool,
}

/// Elements that were alive when the former process ended.
enum Orphans {
    /// Not yet determined. Elements recorded since the start.
    Unknown(hashbrown::HashSet<ElementId>),
    /// Elements with their newest rows, closed at the time unless they are recorded again.
    Waiting(HashMap<ElementId, EventRow>, Timestamp),
    /// All were recorded again or closed.
    Settled,
}

impl LocalHistory {
    /// Opens the past of the graph in a folder. `memory` limits its newest part in memory.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be read or written.
    pub fn open(folder: Arc<HistoryFolder>, memory: HistoryLimits) -> Result<Self, StoreError> {
        let path = folder.table(TABLE);
        let disk = Arc::clone(&folder.disk);
        let file_error = |action| {
            let path = path.clone();
            move |source| StoreError::File {
                action,
                path,
                source,
            }
        };
        disk.create_folder(&path)
            .map_err(file_error("create folder"))?;
        let catalog = Catalog::of(&disk.list(&path).map_err(file_error("list"))?);
        for name in &catalog.replaced {
            disk.remove(&path.join(name.to_string()))
                .map_err(file_error("remove files in"))?;
        }
        let mut state = State::default();
        let mut next_seq = 1;
        for name in &catalog.segments {
            state.segments.extend(open_segment(&folder, &path, *name));
        }
        for generation in &catalog.snapshots {
            state
                .snapshots
                .extend(open_segment(&folder, &path, Name::Snapshot(*generation)));
        }
        for segment in state.segments.iter().chain(&state.snapshots) {
            next_seq = next_seq.max(segment.span.seq + 1);
        }
        for generation in &catalog.logs {
            let log = path.join(Name::Log(*generation).to_string());
            let content = LogContent::read(&disk.read(&log).map_err(file_error("read a log in"))?);
            let rows: Vec<Arc<EventRow>> = content
                .records()
                .filter_map(|record| serde_json::from_slice(record).ok())
                .map(Arc::new)
                .collect();
            if content.lost_bytes > 0 {
                tracing::warn!(
                    log = %log.display(),
                    bytes = content.lost_bytes,
                    is_damaged = content.is_damaged,
                    "the end of a log of the topology is incomplete"
                );
            }
            if rows.is_empty() && !content.is_damaged {
                disk.remove(&log).map_err(file_error("remove a log in"))?;
                continue;
            }
            let last = rows.iter().map(|row| row.seq).max();
            next_seq = next_seq.max(last.map_or(0, |last| last + 1));
            state.frozen.push(Arc::new(Frozen {
                generation: *generation,
                rows,
                is_log_damaged: content.is_damaged,
            }));
        }
        let is_new =
            state.segments.is_empty() && state.frozen.is_empty() && state.snapshots.is_empty();
        let unchecked = state
            .segments
            .iter()
            .chain(&state.snapshots)
            .map(Arc::downgrade)
            .collect();
        let history = Self {
            unchecked: Mutex::new(unchecked),
            writer: Mutex::new(Writer {
                log: None,
                generation: catalog.next(),
                next_seq,
                frame: FrameBuilder::default(),
                retry_at: None,
            }),
            memory: Arc::new(MemoryHistory::new(memory)),
            pending: Mutex::default(),
            state: RwLock::new(state),
            sealing: Mutex::default(),
            has_worker: AtomicBool::new(false),
            orphans: Mutex::new(if is_new {
                Orphans::Settled
            } else {
                Orphans::Unknown(hashbrown::HashSet::new())
            }),
            path,
            folder,
        };
        history.measure();
        Ok(history)
    }

    /// Makes events durable, seals and merges what is due, and enforces the limits.
    pub fn maintain(&self, now: Timestamp) {
        self.write(now);
        self.tidy(now);
    }

    /// Seals all events now.
    pub fn seal(&self) {
        self.flush(None);
        self.freeze();
        self.seal_frozen();
    }

    /// Merges all segments into one.
    ///
    /// # Errors
    /// Returns an error if a segment cannot be read or the result cannot be written.
    pub fn compact(&self, now: Timestamp) -> Result<(), StoreError> {
        let segments = self.state.read().segments.clone();
        if segments.len() < 2 {
            return Ok(());
        }
        self.merge(&segments, now)
            .map_err(|source| StoreError::File {
                action: "merge the segments in",
                path: self.path.clone(),
                source,
            })
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

    /// Returns once all events recorded before survive a power failure.
    ///
    /// # Errors
    /// Returns an error if the disk cannot be written.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.flush(None);
        let mut writer = self.writer.lock();
        let synced = writer.log.as_mut().map_or(Ok(false), Log::sync);
        synced.map(drop).map_err(|source| StoreError::File {
            action: "write a log in",
            path: self.path.clone(),
            source,
        })
    }

    fn disk(&self) -> &dyn Disk {
        &*self.folder.disk
    }

    /// Writes pending events to the log and to the recent rows. `now` decides about retries after a
    /// failure of the disk; without it, an attempt is made at once.
    fn flush(&self, now: Option<Timestamp>) {
        let mut writer = self.writer.lock();
        let events = std::mem::take(&mut self.pending.lock().events);
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
    fn append(&self, writer: &mut Writer, rows: Vec<Arc<EventRow>>, now: Option<Timestamp>) {
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
        if may_try {
            match self.write_frames(writer, &frames) {
                Ok(()) => writer.retry_at = None,
                Err(error) => {
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

    fn write_frames(&self, writer: &mut Writer, frames: &[u8]) -> io::Result<()> {
        let log = match &mut writer.log {
            Some(log) => log,
            None => {
                let path = self.path.join(Name::Log(writer.generation).to_string());
                writer.log.insert(Log::create(self.disk(), &path)?)
            }
        };
        log.append(frames)
    }

    fn freeze(&self) {
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
        }));
        writer.log = None;
        writer.generation += 1;
    }

    fn seal_frozen(&self) {
        let _sealing = self.sealing.lock();
        loop {
            let Some(frozen) = self.state.read().frozen.first().cloned() else {
                break;
            };
            if let Err(error) = self.seal_one(&frozen) {
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
    fn bound_frozen(&self) {
        let mut state = self.state.write();
        let bytes = |frozen: &Arc<Frozen>| frozen.rows.iter().map(|row| row.bytes()).sum::<usize>();
        while state.frozen.len() > 1
            && state.frozen.iter().map(bytes).sum::<usize>() > self.folder.options.memory
        {
            let dropped = state.frozen.remove(0);
            state.evicted += dropped.rows.len() as u64;
            tracing::warn!(
                events = dropped.rows.len(),
                "dropped events of the history: the disk cannot be written"
            );
        }
    }

    fn seal_one(&self, frozen: &Arc<Frozen>) -> io::Result<()> {
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
    fn commit(
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
    fn needs_snapshot(&self) -> bool {
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
    fn write_snapshot(&self) -> io::Result<()> {
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

    fn merge_hours(&self, now: Timestamp) {
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

    fn merge(&self, segments: &[Arc<GraphSegment>], now: Timestamp) -> io::Result<()> {
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
        self.measure();
        Ok(())
    }

    fn drop_segment(&self, segment: &Arc<GraphSegment>) {
        let mut state = self.state.write();
        state.segments.retain(|other| !Arc::ptr_eq(other, segment));
        state.snapshots.retain(|other| !Arc::ptr_eq(other, segment));
    }

    /// Sets a segment aside if its content differs from its sums.
    fn check_content(&self, segment: &Arc<GraphSegment>) {
        if let Err(damage) = segment_folder::check(self.disk(), &segment.folder)
            && is_damage(&damage)
        {
            self.drop_segment(segment);
            self.folder.report_damage(&segment.folder, TABLE, &damage);
        }
    }

    fn check_next(&self) {
        let _sealing = self.sealing.lock();
        let next = self.unchecked.lock().pop();
        if let Some(segment) = next.and_then(|segment| segment.upgrade()) {
            self.check_content(&segment);
        }
    }

    fn enforce_limits(&self, now: Timestamp) {
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
    fn remove_oldest(&self, replaced_at: Option<Timestamp>) -> bool {
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

    fn measure(&self) {
        let log = self.writer.lock().log.as_ref().map_or(0, Log::length);
        let state = self.state.read();
        let files = state.segments.iter().chain(&state.snapshots);
        let bytes: u64 = files.map(|segment| segment.bytes()).sum();
        self.folder.set_usage(Part::Graph, bytes + log);
    }

    /// Returns the revisions of a time, from the disk.
    pub(super) fn restore(&self, when: When) -> io::Result<Arc<MemoryHistory>> {
        self.flush(None);
        let slice = when.slice();
        let (from, to) = (slice.start.as_ms(), slice.last.as_ms());
        let (base, segments, frozen, recent) = {
            let state = self.state.read();
            let is_before = |base: &&Arc<GraphSegment>| base.span.time.1 < from;
            let base = state.snapshots.iter().rev().find(is_before);
            // Without a snapshot before the time: the events from the beginning, or what is left.
            let first = state
                .segments
                .first()
                .map_or(0, |segment| match segment.name {
                    Name::Segment(first, _) => first,
                    Name::Log(_) | Name::Snapshot(_) => 0,
                });
            let is_base_of_first = |base: &&Arc<GraphSegment>| base.name.last() < first;
            let base = base.or_else(|| state.snapshots.iter().rev().find(is_base_of_first));
            let after = base.map_or(0, |base| base.name.last());
            let later = state
                .segments
                .iter()
                .filter(|segment| segment.name.last() > after);
            (
                base.cloned(),
                later.cloned().collect::<Vec<_>>(),
                state.frozen.clone(),
                state.recent.clone(),
            )
        };
        let mut fold = GraphFold::new(from, to);
        let base_seq = base.as_ref().map_or(0, |base| base.span.seq);
        for segment in base.iter().chain(&segments) {
            let read = self.apply_segment(segment, base_seq, &mut fold);
            if let Err(error) = read {
                if !is_damage(&error) {
                    return Err(error);
                }
                self.drop_segment(segment);
                self.folder.report_damage(&segment.folder, TABLE, &error);
            }
        }
        let memory = frozen.iter().flat_map(|frozen| &frozen.rows).chain(&recent);
        for row in memory {
            fold.apply(EventRow::clone(row));
        }
        let limits = HistoryLimits::default()
            .with_max_age(Duration::MAX)
            .with_max_bytes(usize::MAX);
        let restored = MemoryHistory::new(limits);
        restored.record(&fold.into_events(), slice.last);
        Ok(Arc::new(restored))
    }

    fn apply_segment(
        &self,
        segment: &Arc<GraphSegment>,
        base_seq: i64,
        fold: &mut GraphFold,
    ) -> io::Result<()> {
        let is_base = matches!(segment.name, Name::Snapshot(_));
        merge(segment.inputs()?, |_, _, row: EventRow| {
            // A merged segment may begin before the snapshot.
            if is_base || row.seq > base_seq {
                fold.apply(row);
            }
            if fold.bytes() > MAX_RESTORED_BYTES {
                return Err(io::Error::new(
                    io::ErrorKind::OutOfMemory,
                    format!(
                        "the past of this time is larger than {MAX_RESTORED_BYTES} bytes; use a shorter interval"
                    ),
                ));
            }
            Ok(())
        })
    }

    /// Determines which elements of the past have not been recorded since the start, and closes
    /// them after [`CLOSE_AFTER`].
    fn close_orphans(&self, now: Timestamp) {
        let mut orphans = self.orphans.lock();
        match std::mem::replace(&mut *orphans, Orphans::Settled) {
            Orphans::Unknown(seen) => {
                drop(orphans);
                let alive = match self.alive() {
                    Ok(alive) => alive,
                    Err(error) => {
                        tracing::warn!(error = %Chain(&error), "cannot read the end of the topology's history");
                        return;
                    }
                };
                let mut waiting = alive;
                waiting.retain(|id, _| !seen.contains(id));
                *self.orphans.lock() = Orphans::Waiting(waiting, now.saturating_add(CLOSE_AFTER));
            }
            Orphans::Waiting(waiting, until) if now < until => {
                *orphans = Orphans::Waiting(waiting, until);
            }
            Orphans::Waiting(waiting, _) => {
                drop(orphans);
                self.close(&waiting, now);
            }
            Orphans::Settled => {}
        }
    }

    fn close(&self, waiting: &HashMap<ElementId, EventRow>, now: Timestamp) {
        let last = waiting
            .values()
            .map(|row| row.recorded)
            .max()
            .unwrap_or_default();
        let mut writer = self.writer.lock();
        let mut rows: Vec<&EventRow> = waiting.values().collect();
        // Edges before their nodes.
        rows.sort_by_key(|row| (!row.event.is_edge(), row.seq));
        let closed = rows.into_iter().map(|row| {
            let seq = writer.next_seq;
            writer.next_seq += 1;
            Arc::new(closing(row, seq, last.max(row.time), now.as_ms()))
        });
        let closed: Vec<_> = closed.collect();
        if !closed.is_empty() {
            self.append(&mut writer, closed, Some(now));
        }
    }

    /// Returns the newest rows of the elements that were alive at the end of the files.
    fn alive(&self) -> io::Result<HashMap<ElementId, EventRow>> {
        let (base, segments, frozen) = {
            let state = self.state.read();
            let base = state.snapshots.last().cloned();
            let after = base.as_ref().map_or(0, |base| base.name.last());
            let later = state
                .segments
                .iter()
                .filter(|segment| segment.name.last() > after);
            (
                base.clone(),
                later.cloned().collect::<Vec<_>>(),
                state.frozen.clone(),
            )
        };
        let mut alive = HashMap::new();
        let base_seq = base.as_ref().map_or(0, |base| base.span.seq);
        let mut apply = |row: EventRow| {
            let id = (row.event.is_edge(), row.id.clone());
            if row.event.is_deletion() {
                alive.remove(&id);
            } else {
                alive.insert(id, EventRow { body: None, ..row });
            }
        };
        for segment in base.iter().chain(&segments) {
            let is_base = matches!(segment.name, Name::Snapshot(_));
            merge(segment.inputs()?, |_, _, row: EventRow| {
                if is_base || row.seq > base_seq {
                    apply(row);
                }
                Ok(())
            })?;
        }
        for row in frozen.iter().flat_map(|frozen| &frozen.rows) {
            apply(EventRow::clone(row));
        }
        Ok(alive)
    }

    /// Notes that elements are recorded again.
    fn adopt(&self, events: &[GraphEvent]) {
        let mut orphans = self.orphans.lock();
        if matches!(*orphans, Orphans::Settled) {
            return;
        }
        for event in events {
            let id: ElementId = match event {
                GraphEvent::NodeAdded(node)
                | GraphEvent::NodeUpdated { node, .. }
                | GraphEvent::NodeDeleted(node) => (false, node.id.to_string().as_str().into()),
                GraphEvent::EdgeAdded(edge)
                | GraphEvent::EdgeUpdated { edge, .. }
                | GraphEvent::EdgeDeleted(edge) => (true, edge.id.to_string().as_str().into()),
            };
            match &mut *orphans {
                Orphans::Unknown(seen) => {
                    seen.insert(id);
                }
                Orphans::Waiting(waiting, _) => {
                    waiting.remove(&id);
                }
                Orphans::Settled => {}
            }
        }
    }
}

impl History for LocalHistory {
    fn record(&self, events: &[GraphEvent], now: Timestamp) {
        self.memory.record(events, now);
        self.adopt(events);
        let mut pending = self.pending.lock();
        if pending.events.len() + events.len() > MAX_PENDING {
            pending.lost += events.len() as u64;
            return;
        }
        pending
            .events
            .extend(events.iter().map(|event| (event.clone(), now)));
        drop(pending);
        if self.has_worker.load(Ordering::Relaxed) {
            self.folder.signals.write.set();
        }
    }

    fn expire(&self, now: Timestamp) {
        self.memory.expire(now);
    }

    fn status(&self) -> HistoryStatus {
        let memory = self.memory.status();
        let state = self.state.read();
        let first = state
            .segments
            .first()
            .map(|segment| segment.span.recorded.0);
        let rows = state.frozen.iter().flat_map(|frozen| frozen.rows.first());
        let first = first.or_else(|| {
            rows.chain(state.recent.first())
                .map(|row| row.recorded)
                .min()
        });
        let oldest = state.complete_since.or(first).map(Timestamp::from_ms);
        HistoryStatus {
            oldest: oldest.or(memory.oldest),
            evicted: state.evicted + self.pending.lock().lost,
            ..memory
        }
    }

    fn open<'a>(&'a self, when: When) -> Box<dyn PastReader + 'a> {
        let start = when.slice().start;
        // The memory is complete from its beginning on, but a revision that ended at that very
        // millisecond may be missing.
        if self
            .memory
            .status()
            .oldest
            .is_some_and(|oldest| oldest < start)
        {
            return self.memory.open(when);
        }
        match self.restore(when) {
            Ok(restored) => restored.open_shared(when),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "cannot read the history of the topology");
                Box::new(Unreadable)
            }
        }
    }
}

impl Maintain for LocalHistory {
    fn write(&self, now: Timestamp) {
        self.flush(Some(now));
        let mut writer = self.writer.lock();
        if let Err(error) = writer.log.as_mut().map_or(Ok(false), Log::sync) {
            tracing::warn!(error = %Chain(&error), "cannot make the history of the topology durable");
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

impl Drop for LocalHistory {
    fn drop(&mut self) {
        // The events are in the log; at a start, a log takes longer to read than a segment.
        self.seal();
    }
}

impl fmt::Debug for LocalHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalHistory")
            .field("path", &self.path)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// Past that cannot be read.
struct Unreadable;

impl PastReader for Unreadable {
    fn nodes(&self) -> Revisions<'_, Node> {
        Box::new(std::iter::once(Err(GraphError::ViewExpired)))
    }

    fn edges(&self) -> Revisions<'_, Edge> {
        Box::new(std::iter::once(Err(GraphError::ViewExpired)))
    }

    fn node(&self, _: &NodeId) -> Result<Vec<Revision<Node>>, GraphError> {
        Err(GraphError::ViewExpired)
    }

    fn edge(&self, _: &EdgeId) -> Result<Vec<Revision<Edge>>, GraphError> {
        Err(GraphError::ViewExpired)
    }

    fn edges_of(&self, _: &NodeId, _: Direction) -> Result<Vec<Revision<Edge>>, GraphError> {
        Err(GraphError::ViewExpired)
    }
}

fn open_segment(
    folder: &HistoryFolder,
    path: &std::path::Path,
    name: Name,
) -> Option<Arc<GraphSegment>> {
    let path = path.join(name.to_string());
    match GraphSegment::open(&*folder.disk, &path, name) {
        Ok(segment) => Some(Arc::new(segment)),
        Err(error) => {
            folder.report_unreadable(&path, TABLE, &error);
            None
        }
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

/// Name of the folder of the graph.
const TABLE: &str = "graph";
/// Maximum number of events that wait to be written to the log.
const MAX_PENDING: usize = 200_000;
/// Pause after a failure of the disk.
const RETRY: Duration = Duration::from_secs(5);
/// Time after which elements are closed that were not recorded again since the start.
const CLOSE_AFTER: Duration = Duration::from_secs(60);
/// Maximum memory of a restored time, in bytes.
const MAX_RESTORED_BYTES: usize = 256 << 20;
/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;
