//! `LocalHistory`: the past of the graph on the local disk.
//!
//! The newest part of the past is in memory and answers queries about its time. Every event is also
//! appended to a log and, later, sealed in segments; snapshots of all elements are written when the
//! events since the last one have grown. A query about an earlier time restores the revisions of its
//! time: the newest snapshot before it, and the events after that.

mod orphans;
mod restore;
mod upkeep;
mod write;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use self::orphans::Orphans;
use self::restore::Unreadable;
use super::disk::Disk;
use super::event_row::EventRow;
use super::folder::HistoryFolder;
use super::frame::{FrameBuilder, LogContent};
use super::graph_segment::GraphSegment;
use super::log::Log;
use super::names::{Catalog, Generation, Name};
use super::worker::Maintain;
use crate::error_chain::Chain;
use crate::graph::GraphEvent;
use crate::graph::history::{History, HistoryLimits, HistoryStatus, MemoryHistory, PastReader};
use crate::store::StoreError;
use crate::time::{Timestamp, When};

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
    /// Recorder's time of the last event before the start, in Unix milliseconds.
    ended_at: i64,
    /// Number of events recorded since the start.
    recorded: AtomicU64,
    /// The time restored last. Locked while a time is restored: the memory of one is large.
    restored: Mutex<Option<Restored>>,
}

/// Time that was restored from the disk.
struct Restored {
    when: When,
    /// Number of events recorded before.
    recorded: u64,
    history: Arc<MemoryHistory>,
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
        let files = state.segments.iter().chain(&state.snapshots);
        let rows = state.frozen.iter().flat_map(|frozen| &frozen.rows);
        let recorded = files.map(|segment| segment.span.recorded.1);
        let recorded = recorded.chain(rows.map(|row| row.recorded));
        let ended_at = recorded.max().unwrap_or_default();
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
            ended_at,
            recorded: AtomicU64::new(0),
            restored: Mutex::new(None),
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
}

impl History for LocalHistory {
    fn record(&self, events: &[GraphEvent], now: Timestamp) {
        self.memory.record(events, now);
        self.adopt(events);
        self.recorded
            .fetch_add(events.len() as u64, Ordering::Relaxed);
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
        let mut last = self.restored.lock();
        let recorded = self.recorded.load(Ordering::Relaxed);
        if let Some(last) = &*last
            && last.when == when
            && last.recorded == recorded
        {
            return Arc::clone(&last.history).open_shared(when);
        }
        *last = None;
        match self.restore(when) {
            Ok(history) => {
                *last = Some(Restored {
                    when,
                    recorded,
                    history: Arc::clone(&history),
                });
                history.open_shared(when)
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "cannot read the history of the topology");
                Box::new(Unreadable)
            }
        }
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

/// Name of the folder of the graph.
const TABLE: &str = "graph";
/// Number of waiting events from which the recorder writes them itself.
const MAX_PENDING: usize = 10_000;
/// Size of waiting events from which the recorder writes them itself, in bytes.
const MAX_PENDING_BYTES: usize = 16 << 20;
