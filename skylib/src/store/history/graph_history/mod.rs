//! `LocalHistory`: the past of the graph on the local disk.
//!
//! The newest part of the past is in memory and answers queries about its time. Every event is also
//! appended to a log and, later, sealed in segments; snapshots of all elements are written when the
//! events since the last one have grown. A query about an earlier time reads the newest
//! snapshot before that time and the events after the snapshot: the rows of a few elements, or, if the
//! query needs more, all rows, which restores the whole time.

mod file_log;
mod open;
mod orphans;
mod reader;
mod reconcile;
mod restore;
mod room;
mod upkeep;
mod write;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex, RwLock};

use self::orphans::Orphans;
use self::reader::DiskReader;
use self::reconcile::Missing;
use self::restore::Restored;
use super::disk::Disk;
use super::folder::HistoryFolder;
use super::frame::FrameBuilder;
use super::graph_segment::GraphSegment;
use super::local_store::{StoredFile, TableStatus};
use super::log::Log;
use super::lost_times::LostTimes;
use super::names::{Generation, Name};
use super::outage::Outage;
use super::unsealed_event::UnsealedEvent;
use super::worker::{Maintain, Signals};
use crate::graph::GraphEvent;
use crate::graph::history::{History, HistoryStatus, MemoryHistory, PastReader, ReadBudget};
use crate::store::StoreError;
use crate::time::{TimeSlice, Timestamp, When};

/// The past of the graph on the local disk, with its newest part in memory.
///
/// [`LocalHistory::maintain`] must be called about once per second, or by the threads of
/// [`LocalStore::maintain_in_background`](super::LocalStore::maintain_in_background).
///
/// Locks are acquired in this order: `writer`, `next_seq`, `pending`, `state`. Only `writer`,
/// `sealing`, and `tidying` are held during I/O; [`History::record`] acquires none of these three. The
/// lock `pending` is held while `memory` records, so that both always have the same events.
pub struct LocalHistory {
    folder: Arc<HistoryFolder>,
    path: PathBuf,
    memory: MemoryHistory,
    /// Events that have no number yet, in their order.
    pending: Mutex<Pending>,
    /// Number of the next event. Locked while events move from `pending` to the recent ones, so
    /// that their order remains.
    next_seq: Mutex<i64>,
    writer: Mutex<Writer>,
    state: RwLock<State>,
    /// Memory of all events that are not in a segment, in bytes: pending, recent, and frozen.
    unsealed_bytes: AtomicUsize,
    /// Mutex that is locked while frozen events are sealed.
    sealing: Mutex<()>,
    /// Mutex that is locked while segments are merged, checked, or removed, or a snapshot is written.
    tidying: Mutex<()>,
    unchecked: Mutex<Vec<Weak<GraphSegment>>>,
    has_worker: AtomicBool,
    signals: Signals,
    outage: Outage,
    /// Signal that wakes recorders that wait for room in memory.
    room: Condvar,
    waiting: Mutex<()>,
    /// Newest time of the recorder's clock, in Unix milliseconds.
    now: AtomicI64,
    /// Elements of the past that have not been recorded again since the start.
    orphans: Mutex<Orphans>,
    /// Recorder's time of the last event before the start, in Unix milliseconds.
    ended_at: i64,
    /// Times of the elements in damaged segments.
    lost: Mutex<LostTimes>,
    /// Past graphs that were used most recently, newest first. Locked during a restore: a past graph
    /// needs much memory, so only one is restored at once.
    restored: Mutex<Vec<Restored>>,
}

#[derive(Default)]
struct Pending {
    events: Vec<(GraphEvent, Timestamp)>,
    /// Memory of the events in bytes, part of `unsealed_bytes`.
    bytes: usize,
}

struct Writer {
    log: Option<Log>,
    generation: Generation,
    frame: FrameBuilder,
    /// Time of the last attempt to make the log durable.
    synced_at: Option<Timestamp>,
}

/// Data that queries read, besides the memory.
#[derive(Default)]
struct State {
    /// Events since the last freeze, in the order of their numbers, which are consecutive.
    recent: VecDeque<UnsealedEvent>,
    recent_bytes: usize,
    /// Time of the first event in `recent`, by the recorder's clock.
    since: Option<Timestamp>,
    /// Number of the newest event in the log.
    logged: i64,
    /// Size of the current log, in bytes.
    log_bytes: u64,
    frozen: Vec<Arc<Frozen>>,
    /// Generation of the frozen events that are being sealed.
    being_sealed: Option<Generation>,
    /// Generations of logs whose events were dropped from memory.
    stale_logs: Vec<Generation>,
    segments: Vec<Arc<GraphSegment>>,
    snapshots: Vec<Arc<GraphSegment>>,
    evicted: u64,
    complete_since: Option<i64>,
    /// Elements that must be recorded again.
    missing: Missing,
}

/// Events that wait to be sealed, and their log.
struct Frozen {
    generation: Generation,
    events: Vec<UnsealedEvent>,
    /// Memory of the events in bytes, part of `unsealed_bytes`.
    bytes: usize,
    /// Size of the log, in bytes.
    log_bytes: u64,
    is_log_damaged: bool,
    /// Whether some of the events are missing from the log because a write to the disk failed.
    has_unlogged: bool,
}

impl LocalHistory {
    /// Makes events durable, seals and merges what is due, and enforces the limits.
    pub fn maintain(&self, now: Timestamp) {
        self.write(now);
        self.seal_due(now);
        self.tidy(now);
    }

    /// Seals all events now.
    pub fn seal(&self) {
        self.freeze();
        self.seal_frozen(None);
        self.update_snapshot(None);
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

    /// Returns the sealed files, oldest first: events, then snapshots.
    pub(super) fn stored_files(&self) -> Vec<StoredFile> {
        let state = self.state.read();
        let files = state.segments.iter().chain(&state.snapshots);
        let files = files.flat_map(|segment| {
            let time = |ms| Timestamp::from_ms(ms);
            let recorded = (time(segment.span.recorded.0), time(segment.span.recorded.1));
            segment.files().map(move |(name, file)| StoredFile {
                path: format!("{TABLE}/{}/{name}", segment.name),
                rows: file.rows(),
                bytes: file.bytes(),
                recorded,
            })
        });
        files.collect()
    }

    /// Returns the sizes and the counters of the table.
    pub(super) fn table_status(&self) -> TableStatus {
        let oldest = self.status().oldest;
        let pending = self.pending.lock().events.len();
        let state = self.state.read();
        let files = || {
            let segments = state.segments.iter().chain(&state.snapshots);
            segments.flat_map(|segment| segment.files())
        };
        let frozen: usize = state.frozen.iter().map(|frozen| frozen.events.len()).sum();
        TableStatus {
            name: TABLE,
            segments: state.segments.len(),
            rows: files().map(|(_, file)| file.rows()).sum(),
            bytes: files().map(|(_, file)| file.bytes()).sum(),
            log_bytes: state.log_bytes(),
            memory_rows: frozen + state.recent.len() + pending,
            memory_bytes: self.unsealed_bytes.load(Ordering::Relaxed),
            oldest,
            ..TableStatus::default()
        }
        .with_counters(&self.folder.graph_counters)
    }

    fn disk(&self) -> &dyn Disk {
        &*self.folder.disk
    }
}

impl State {
    /// Returns whether a file is a snapshot whose content also follows from older files: from an older
    /// snapshot, or from all segments since the first one.
    fn is_redundant(&self, name: Name) -> bool {
        let is_base = |other: Name| {
            matches!(other, Name::Snapshot(_) | Name::Segment(1, _)) && other.last() <= name.last()
        };
        let mut others = self.snapshots.iter().chain(&self.segments);
        matches!(name, Name::Snapshot(_)) && others.any(|other| is_base(other.name))
    }

    /// Returns the size of all logs in bytes.
    fn log_bytes(&self) -> u64 {
        let frozen: u64 = self.frozen.iter().map(|frozen| frozen.log_bytes).sum();
        self.log_bytes + frozen
    }
}

impl History for LocalHistory {
    fn record(&self, events: &[GraphEvent], now: Timestamp) {
        self.adopt(events);
        self.now.store(now.as_ms(), Ordering::Relaxed);
        self.record_pending(events, now);
    }

    fn make_room(&self) {
        self.wait_for_room();
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn expire(&self, now: Timestamp) {
        self.memory.expire(now);
    }

    fn damaged(&self, time: TimeSlice) -> Vec<TimeSlice> {
        if self.is_in_memory(time.start) {
            return Vec::new();
        }
        // The state at a time follows from all events before it.
        self.lost.lock().affecting(time)
    }

    fn status(&self) -> HistoryStatus {
        let memory = self.memory.status();
        let state = self.state.read();
        let first = state
            .segments
            .first()
            .map(|segment| segment.span.recorded.0);
        let frozen = state
            .frozen
            .iter()
            .filter_map(|frozen| frozen.events.first());
        let unsealed = frozen.chain(state.recent.front());
        let first = first.or_else(|| unsealed.map(UnsealedEvent::recorded).min());
        let oldest = state.complete_since.or(first).map(Timestamp::from_ms);
        HistoryStatus {
            oldest: oldest.or(memory.oldest),
            evicted: state.evicted,
            ..memory
        }
    }

    fn open<'a>(&'a self, when: When, budget: &'a dyn ReadBudget) -> Box<dyn PastReader + 'a> {
        match self.is_in_memory(when.slice().start) {
            true => self.memory.open(when, budget),
            false => self.open_disk(when, budget),
        }
    }
}

impl LocalHistory {
    /// Returns whether everything since a time is in memory.
    fn is_in_memory(&self, start: Timestamp) -> bool {
        // The memory is complete from its beginning on, but a revision that ended at that very
        // millisecond may be missing.
        let oldest = self.memory.status().oldest;
        oldest.is_some_and(|oldest| oldest < start)
    }

    /// Opens a time on the disk, even if it is in memory.
    pub(in crate::store::history) fn open_disk<'a>(
        &'a self,
        when: When,
        budget: &'a dyn ReadBudget,
    ) -> Box<dyn PastReader + 'a> {
        Box::new(DiskReader::new(self, when, budget))
    }
}

impl Drop for LocalHistory {
    fn drop(&mut self) {
        // The events are in the log; at a start, a log takes longer to read than a segment.
        if !self.folder.is_read_only() {
            self.seal();
        }
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

/// Name of the folder of the graph.
const TABLE: &str = "graph";
