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
mod restore;
mod upkeep;
mod write;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use self::orphans::Orphans;
use self::reader::DiskReader;
use self::restore::Restored;
use super::disk::Disk;
use super::event_row::EventRow;
use super::folder::HistoryFolder;
use super::frame::FrameBuilder;
use super::graph_segment::GraphSegment;
use super::local_store::{StoredFile, TableStatus};
use super::log::{Log, unlogged};
use super::names::Generation;
use super::worker::Maintain;
use crate::graph::GraphEvent;
use crate::graph::history::{History, HistoryStatus, MemoryHistory, PastReader, ReadBudget};
use crate::store::StoreError;
use crate::time::{Timestamp, When};

/// The past of the graph on the local disk, with its newest part in memory.
///
/// [`LocalHistory::maintain`] must be called about once per second, or by the threads of
/// [`LocalStore::maintain_in_background`](super::LocalStore::maintain_in_background).
pub struct LocalHistory {
    folder: Arc<HistoryFolder>,
    path: PathBuf,
    memory: MemoryHistory,
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
    /// Recorder's time of the last event before the start, in Unix milliseconds.
    ended_at: i64,
    /// The times restored last. Locked while a time is restored: the memory of one is large.
    restored: Mutex<Vec<Restored>>,
}

#[derive(Default)]
struct Pending {
    events: Vec<(GraphEvent, Timestamp)>,
    /// Size of the metadata of the events, in bytes.
    bytes: usize,
}

impl Pending {
    /// Adds events. Returns whether so many wait that the recorder should write them.
    fn add(&mut self, events: &[GraphEvent], now: Timestamp) -> bool {
        self.bytes += events.iter().map(GraphEvent::metadata_bytes).sum::<usize>();
        let timed = events.iter().map(|event| (event.clone(), now));
        self.events.extend(timed);
        self.events.len() >= MAX_PENDING || self.bytes >= MAX_PENDING_BYTES
    }
}

struct Writer {
    log: Option<Log>,
    generation: Generation,
    next_seq: i64,
    frame: FrameBuilder,
    retry_at: Option<Timestamp>,
    /// Whether recent rows are in memory only, because the log could not be written.
    has_unlogged: bool,
}

/// Data that queries read, besides the memory.
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
    /// Whether the log lacks some of it, because the disk failed.
    has_unlogged: bool,
}

impl LocalHistory {
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
        let log_bytes = self.writer.lock().log.as_ref().map_or(0, Log::length);
        let oldest = self.status().oldest;
        let state = self.state.read();
        let files = || {
            let segments = state.segments.iter().chain(&state.snapshots);
            segments.flat_map(|segment| segment.files())
        };
        let frozen = || state.frozen.iter().flat_map(|frozen| &frozen.rows);
        TableStatus {
            name: TABLE,
            segments: state.segments.len(),
            rows: files().map(|(_, file)| file.rows()).sum(),
            bytes: files().map(|(_, file)| file.bytes()).sum(),
            log_bytes,
            memory_rows: frozen().count() + state.recent.len(),
            memory_bytes: frozen().map(|row| row.bytes()).sum::<usize>() + state.recent_bytes,
            oldest,
            ..TableStatus::default()
        }
        .with_counters(&self.folder.graph_counters)
    }

    fn disk(&self) -> &dyn Disk {
        &*self.folder.disk
    }
}

impl History for LocalHistory {
    fn record(&self, events: &[GraphEvent], now: Timestamp) {
        self.memory.record(events, now);
        self.adopt(events);
        let is_full = self.pending.lock().add(events, now);
        let has_worker = self.has_worker.load(Ordering::Relaxed);
        if has_worker {
            self.folder.signals.write.set();
        }
        if is_full {
            // Back-pressure: the recorder writes the events itself, or waits for the thread that does.
            self.flush(Some(now));
            let limit = self.folder.options.memory;
            let limit = if has_worker { 2 * limit } else { limit };
            if self.state.read().recent_bytes >= limit {
                self.freeze();
                self.seal_frozen();
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.flush(None);
        let mut writer = self.writer.lock();
        if self.has_unlogged(&writer) {
            return Err(unlogged());
        }
        // Of several threads that wait, the first one makes the records of all durable.
        writer.log.as_mut().map_or(Ok(false), Log::sync).map(drop)
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
            evicted: state.evicted,
            ..memory
        }
    }

    fn open<'a>(&'a self, when: When, budget: &'a dyn ReadBudget) -> Box<dyn PastReader + 'a> {
        let start = when.slice().start;
        // The memory is complete from its beginning on, but a revision that ended at that very
        // millisecond may be missing.
        match self.memory.status().oldest {
            Some(oldest) if oldest < start => self.memory.open(when, budget),
            _ => self.open_disk(when, budget),
        }
    }
}

impl LocalHistory {
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

/// Name of the folder of the graph.
const TABLE: &str = "graph";
/// Number of waiting events from which the recorder writes them itself.
const MAX_PENDING: usize = 10_000;
/// Size of waiting events from which the recorder writes them itself, in bytes.
const MAX_PENDING_BYTES: usize = 16 << 20;
