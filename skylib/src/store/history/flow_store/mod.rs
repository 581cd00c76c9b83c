//! `LocalFlowStore`: flows on the local disk.
//!
//! A record is applied to a table in memory, and a thread appends it to a log, which survives the
//! end of the process. From time to time the table is frozen, a new log begins, and the frozen table
//! is sealed: written as a segment of Parquet files. When an hour has ended, its segments are merged
//! into one.
//!
//! ```text
//! put ── table ──(freeze)── frozen tables ──(seal)── segments ──(merge)── segments of an hour
//!    └── inbox ── log
//! ```
//!
//! A query reads the table, the frozen tables, and the segments, the newest first: the newest record
//! of a flow hides the older ones.

mod inbox;
mod open;
mod read;
mod upkeep;
mod write;

use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Weak};

use self::inbox::Inbox;
use self::read::{Found, Hit, VISITED_FLOWS, in_order};
use super::disk::Disk;
use super::flow_scan::FlowScan;
use super::flow_segment::FlowSegment;
use super::folder::HistoryFolder;
use super::local_store::{StoredFile, TableStatus};
use super::log::Log;
use super::lost_times::LostTimes;
use super::names::{Generation, Name};
use super::outage::Outage;
use super::recent_flows::RecentFlows;
use super::worker::{Maintain, Signals};
use crate::file_use::FileUse;
use crate::flow::{Flow, FlowMetric, FlowQuery, FlowQueryError, FlowSet, PacketsByFlow, RawPacket};
use crate::store::stored_flow::has;
use crate::store::{FlowStore, FlowStoreStatus, StoreError};
use crate::time::{TimeSlice, Timestamp};
use crate::value::Text;
use parking_lot::{Condvar, Mutex, RwLock};

/// Flows on the local disk, bounded by age, size, and free space.
///
/// [`LocalFlowStore::maintain`] must be called about once per second, or by the threads of
/// [`LocalStore::maintain_in_background`](super::LocalStore::maintain_in_background).
///
/// ```
/// use skylib::flow::{Flow, FlowQuery};
/// use skylib::store::FlowStore;
/// use skylib::store::history::{HistoryFolder, HistoryOptions, LocalFlowStore};
/// use skylib::time::Timestamp;
///
/// # let path = std::env::temp_dir().join(format!("skylib-doc-{}", std::process::id()));
/// let folder = HistoryFolder::open(&path, HistoryOptions::default())?;
/// let store = LocalFlowStore::open(folder)?;
/// let flow = Flow::default().with_uuid("f1").with_times(1000, 2000);
/// store.put(vec![flow], Timestamp::from_ms(60_000));
/// store.seal();
/// assert_eq!(store.query(&FlowQuery::default()).unwrap().flows.len(), 1);
/// # drop(store);
/// # std::fs::remove_dir_all(&path).unwrap();
/// # Ok::<(), skylib::store::StoreError>(())
/// ```
///
/// Locks are acquired in this order: `writer`, `inbox`, `state`. Only `writer`, `sealing`, and
/// `tidying` are held during I/O; with threads, `put` acquires none of these three.
pub struct LocalFlowStore {
    folder: Arc<HistoryFolder>,
    path: PathBuf,
    inbox: Mutex<Inbox>,
    writer: Mutex<Writer>,
    state: RwLock<State>,
    /// Mutex that is locked while tables are sealed.
    sealing: Mutex<()>,
    /// Mutex that is locked while segments are merged, checked, or removed.
    tidying: Mutex<()>,
    /// Segments whose content was not compared with their sums since the store was opened.
    unchecked: Mutex<Vec<Weak<FlowSegment>>>,
    /// Whether threads write the log and seal tables, so that `put` may wait for them.
    has_worker: AtomicBool,
    signals: Signals,
    outage: Outage,
    /// Signal that wakes writers that wait for another thread to seal tables.
    sealed: Condvar,
    waiting: Mutex<()>,
    /// Times of the flows in damaged segments.
    lost: Mutex<LostTimes>,
    /// Newest time of the recorder's clock, in Unix milliseconds.
    now: AtomicI64,
}

/// State of the thread that writes the log.
struct Writer {
    /// Log with its generation; `None` after a failure, until a log can be created.
    log: Option<(Generation, Log)>,
    /// Time of the last attempt to make the log durable.
    synced_at: Option<Timestamp>,
}

/// Data that queries read.
#[derive(Default)]
struct State {
    recent: RecentFlows,
    /// Tables that are being sealed, oldest first.
    frozen: Vec<Arc<Frozen>>,
    /// Generation of the table that is being sealed.
    being_sealed: Option<Generation>,
    /// Generations of logs whose tables were dropped.
    stale_logs: Vec<Generation>,
    /// Segments, oldest first.
    segments: Vec<Arc<FlowSegment>>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Rows of flows that were dropped because of the limits.
    evicted: u64,
    /// Records that were dropped because neither disk nor memory could store them.
    lost: u64,
    /// Bytes of incomplete frames at the ends of logs.
    lost_log_bytes: u64,
    /// Time since which the store is complete, if records have been dropped.
    complete_since: Option<Timestamp>,
}

/// Table that no longer changes, and its log.
struct Frozen {
    generation: Generation,
    flows: RecentFlows,
    /// Size of the log, in bytes.
    log_bytes: u64,
    /// Whether the log is damaged, so that it is moved to the folder `damaged` after the seal
    /// instead of being removed.
    is_log_damaged: bool,
}

impl LocalFlowStore {
    /// Makes records durable, seals and merges tables that are due, and enforces the limits.
    pub fn maintain(&self, now: Timestamp) {
        self.write(now);
        self.seal_due(now);
        self.tidy(now);
    }

    /// Seals all records now. Used before the folder is copied, and by tests.
    pub fn seal(&self) {
        self.freeze();
        self.seal_frozen(None);
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

    /// Returns the sealed files, oldest first.
    pub(super) fn stored_files(&self) -> Vec<StoredFile> {
        let segments = self.state.read().segments.clone();
        let files = segments.iter().flat_map(|segment| {
            let time = |ms| Timestamp::from_ms(ms);
            let recorded = (time(segment.span.updated.0), time(segment.span.updated.1));
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
        let (log_bytes, unwritten) = {
            let inbox = self.inbox.lock();
            (inbox.log_bytes, inbox.unwritten_bytes())
        };
        let status = self.status();
        let state = self.state.read();
        let tables = || state.frozen.iter().map(|f| &f.flows).chain([&state.recent]);
        let files = || state.segments.iter().flat_map(|segment| segment.files());
        TableStatus {
            name: TABLE,
            segments: state.segments.len(),
            rows: files().map(|(_, file)| file.rows()).sum(),
            bytes: files().map(|(_, file)| file.bytes()).sum(),
            log_bytes: log_bytes + state.frozen_log_bytes(),
            memory_rows: tables().map(RecentFlows::len).sum(),
            memory_bytes: tables().map(RecentFlows::bytes).sum::<usize>() + unwritten,
            oldest: status.oldest,
            ..TableStatus::default()
        }
        .with_counters(&self.folder.flow_counters)
    }

    fn disk(&self) -> &dyn Disk {
        &*self.folder.disk
    }

    fn segment_path(&self, name: Name) -> PathBuf {
        self.path.join(name.to_string())
    }
}

impl State {
    /// Returns the size of the logs of frozen tables, in bytes.
    fn frozen_log_bytes(&self) -> u64 {
        self.frozen.iter().map(|frozen| frozen.log_bytes).sum()
    }
}

impl FlowStore for LocalFlowStore {
    fn put(&self, flows: Vec<Flow>, now: Timestamp) {
        if flows.is_empty() {
            return;
        }
        let is_full = self.add(flows, now);
        if self.has_worker.load(Ordering::Relaxed) {
            self.signals.write.set();
        } else {
            self.flush(self.now());
        }
        if is_full {
            self.wait_for_room();
        }
    }

    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        self.query_while(query, &|| true)
    }

    fn query_while(
        &self,
        query: &FlowQuery,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<FlowSet, FlowQueryError> {
        let Found {
            hits,
            segments,
            span: (start, end),
        } = self.find(query, keep_going)?;
        let flows = self.fetch(&hits, &segments, query.max_bytes, keep_going)?;
        let mut set = FlowSet { flows, start, end };
        self.add_packets(&mut set.flows, query.time);
        Ok(set)
    }

    /// Reads and visits some flows at a time, in the order of their files unless they are sorted.
    fn visit(
        &self,
        query: &FlowQuery,
        keep_going: &dyn Fn() -> bool,
        visit: &mut dyn FnMut(&Flow) -> ControlFlow<()>,
    ) -> Result<(), FlowQueryError> {
        let Found {
            mut hits, segments, ..
        } = self.find(query, keep_going)?;
        if query.sort.is_none() {
            hits.sort_unstable_by_key(Hit::position);
        }
        for hits in hits.chunks(VISITED_FLOWS) {
            let flows = self.fetch(hits, &segments, query.max_bytes, keep_going)?;
            if flows.iter().try_for_each(&mut *visit).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn count_while(
        &self,
        query: &FlowQuery,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<u64, FlowQueryError> {
        self.count(query, keep_going)
    }

    fn metrics_while(
        &self,
        uuids: &[Text],
        time: TimeSlice,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Vec<(Text, Vec<FlowMetric>)>, FlowQueryError> {
        let (from, to) = match time.start == time.last {
            true => (i64::MIN, time.last.as_ms()),
            false => (time.start.as_ms(), time.last.as_ms()),
        };
        let segments = self.state.read().segments.clone();
        let mut lists = vec![Vec::new(); uuids.len()];
        for segment in &segments {
            let (first, last) = segment.span.metric;
            if first <= to && last >= from {
                let read = segment.metrics(uuids, &mut lists, keep_going);
                if !keep_going() {
                    return Err(FlowQueryError::Interrupted);
                }
                self.check_read(segment, read);
            }
        }
        let mut found = Vec::new();
        for (uuid, mut list) in uuids.iter().zip(lists) {
            for stored in self.in_memory(uuid) {
                let metrics = stored.metrics.iter();
                list.extend(metrics.map(|metric| (*metric, metric.start == stored.start)));
            }
            let list = in_order(&list);
            let list: Vec<FlowMetric> = list
                .filter(|metric| has(time, metric.start) && has(time, metric.last))
                .collect();
            if !list.is_empty() {
                found.push((uuid.clone(), list));
            }
        }
        Ok(found)
    }

    fn files(&self, query: &FlowQuery) -> Vec<FileUse> {
        let scan = FlowScan::new(query, self.folder.options.grace);
        let state = self.state.read();
        let frozen = state.frozen.iter().map(|frozen| frozen.flows.len());
        let rows = frozen.sum::<usize>() + state.recent.len();
        let memory = FileUse::new("memory", "flows that are not in a segment");
        let segments = state.segments.clone();
        drop(state);
        let files = segments.iter().rev().map(|segment| segment.file_use(&scan));
        [memory.of(rows, 0).reads(rows, 0)]
            .into_iter()
            .chain(files)
            .collect()
    }

    fn damaged(&self, time: TimeSlice) -> Vec<TimeSlice> {
        self.lost.lock().within(time)
    }

    fn raw_packets(&self, uuids: &[Text]) -> PacketsByFlow {
        let segments = self.state.read().segments.clone();
        let mut lists = vec![Vec::new(); uuids.len()];
        for segment in &segments {
            self.check_read(segment, segment.packets(uuids, &mut lists));
        }
        let mut found = Vec::new();
        for (uuid, mut packets) in uuids.iter().zip(lists) {
            for stored in self.in_memory(uuid) {
                packets.extend(stored.packets.iter().cloned());
            }
            let mut newest = 0;
            packets.retain(|packet: &RawPacket| {
                let is_new = packet.index > newest;
                newest = newest.max(packet.index);
                is_new
            });
            if !packets.is_empty() {
                found.push((uuid.clone(), packets));
            }
        }
        found
    }

    /// Does nothing: [`LocalFlowStore::maintain`] enforces the limits.
    fn expire(&self, _: Timestamp) {}

    fn make_room(&self) {
        self.wait_for_seal();
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.sync_all().map_err(|source| StoreError::File {
            action: "write a log in",
            path: self.path.clone(),
            source,
        })
    }

    fn status(&self) -> FlowStoreStatus {
        let state = self.state.read();
        let rows: usize = state
            .segments
            .iter()
            .map(|segment| segment.flow.rows())
            .sum();
        let frozen: usize = state.frozen.iter().map(|frozen| frozen.flows.len()).sum();
        let bytes: u64 = state
            .segments
            .iter()
            .map(|segment| segment.flow_bytes() + segment.packet_bytes())
            .sum();
        let memory: usize = state.frozen.iter().map(|frozen| frozen.flows.bytes()).sum();
        let first = state.segments.first().map(|segment| segment.span.updated.0);
        let first = first.map(Timestamp::from_ms);
        let first = first.or_else(|| state.frozen.iter().find_map(|frozen| frozen.flows.since()));
        FlowStoreStatus {
            flows: rows + frozen + state.recent.len(),
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX) + memory + state.recent.bytes(),
            oldest: state
                .counts
                .complete_since
                .or(first)
                .or(state.recent.since()),
            evicted: state.counts.evicted + state.counts.lost,
            segments: state.segments.len(),
            damaged: self.folder.damaged().len(),
            lost_log_bytes: state.counts.lost_log_bytes,
        }
    }
}

impl Drop for LocalFlowStore {
    fn drop(&mut self) {
        // The records are in the log; at a start, a log takes longer to read than a segment.
        if !self.folder.is_read_only() {
            self.seal();
        }
    }
}

impl fmt::Debug for LocalFlowStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalFlowStore")
            .field("path", &self.path)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// Name of the folder of flows.
const TABLE: &str = "flow";
