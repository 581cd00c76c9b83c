//! `LocalFlowStore`: flows on the local disk.
//!
//! A record is appended to a log, which survives the end of the process, and applied to a table in
//! memory. From time to time the table is frozen, a new log begins, and the frozen table is sealed:
//! written as a segment of Parquet files. When an hour has ended, its segments are merged into one.
//!
//! ```text
//! put ── log, table ──(freeze)── frozen tables ──(seal)── segments ──(merge)── segments of an hour
//! ```
//!
//! A query reads the table, the frozen tables, and the segments, the newest first: the newest record
//! of a flow hides the older ones.

mod read;
mod upkeep;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use prost::Message as _;

use self::read::in_order;
use super::disk::Disk;
use super::flow_segment::FlowSegment;
use super::folder::HistoryFolder;
use super::frame::{FrameBuilder, LogContent};
use super::log::Log;
use super::names::{Catalog, Generation, Name};
use super::recent_flows::RecentFlows;
use super::recorder_clock::RecorderClock;
use super::worker::Maintain;
use crate::flow::{Flow, FlowMetric, FlowQuery, FlowQueryError, FlowSet, PacketsByFlow, RawPacket};
use crate::store::stored_flow::has;
use crate::store::{FlowStore, FlowStoreStatus, StoreError};
use crate::time::{TimeSlice, Timestamp};
use crate::value::Text;

/// Flows on the local disk, bounded by age, size, and free space.
///
/// [`LocalFlowStore::maintain`] must be called about once per second, or by the threads of
/// [`maintain_in_background`](super::maintain_in_background).
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
pub struct LocalFlowStore {
    folder: Arc<HistoryFolder>,
    path: PathBuf,
    writer: Mutex<Writer>,
    state: RwLock<State>,
    /// Held while segments are sealed, merged, checked, or removed.
    sealing: Mutex<()>,
    /// Segments whose content was not compared with their sums since the store was opened.
    unchecked: Mutex<Vec<Weak<FlowSegment>>>,
    /// Whether another thread seals tables, so that `put` may wait for it.
    has_worker: AtomicBool,
    /// Whether the last attempt to seal a table failed, so that writers do not wait for it.
    is_failing: AtomicBool,
    /// Wakes writers that wait for another thread to seal tables.
    sealed: Condvar,
    waiting: Mutex<()>,
}

/// State of the writer: the log, and numbers of records.
struct Writer {
    /// `None` after a failure, until a log can be created.
    log: Option<Log>,
    generation: Generation,
    /// Number of the next record.
    next_number: i64,
    clock: RecorderClock,
    frame: FrameBuilder,
    /// Encoded frames that are being written; empty between calls.
    frames: Vec<u8>,
    trouble: Option<Trouble>,
}

/// Failure of the disk that has not ended.
#[derive(Clone, Copy)]
struct Trouble {
    retry_at: Timestamp,
    pause: Duration,
}

/// Data that queries read.
#[derive(Default)]
struct State {
    recent: RecentFlows,
    /// Tables that are being sealed, oldest first.
    frozen: Vec<Arc<Frozen>>,
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
    /// Whether the log is damaged, so that it is set aside after the seal instead of being removed.
    is_log_damaged: bool,
}

impl LocalFlowStore {
    /// Opens the flows in a folder: reads the footers of the segments and the logs that are in no
    /// segment. Damaged files are moved to the folder `damaged` and named in the log.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be read or written.
    pub fn open(folder: Arc<HistoryFolder>) -> Result<Self, StoreError> {
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
        let mut next_number = 1;
        for name in &catalog.segments {
            if let Some(segment) = open_segment(&folder, &path, *name) {
                next_number = next_number.max(segment.span.number + 1);
                state.segments.push(Arc::new(segment));
            }
        }
        for generation in &catalog.logs {
            let log = path.join(Name::Log(*generation).to_string());
            let content = LogContent::read(&disk.read(&log).map_err(file_error("read a log in"))?);
            let frozen = replay(*generation, &content, &mut next_number, &mut state.counts);
            if frozen.flows.is_empty() && !content.is_damaged {
                disk.remove(&log).map_err(file_error("remove a log in"))?;
            } else {
                state.frozen.push(Arc::new(frozen));
            }
        }
        let unchecked = state.segments.iter().map(Arc::downgrade).collect();
        let store = Self {
            unchecked: Mutex::new(unchecked),
            writer: Mutex::new(Writer {
                log: None,
                generation: catalog.next(),
                next_number,
                clock: RecorderClock::default(),
                frame: FrameBuilder::default(),
                frames: Vec::new(),
                trouble: None,
            }),
            state: RwLock::new(state),
            sealing: Mutex::default(),
            has_worker: false.into(),
            is_failing: false.into(),
            sealed: Condvar::new(),
            waiting: Mutex::default(),
            path,
            folder,
        };
        store.measure();
        Ok(store)
    }

    /// Makes records durable, seals and merges tables that are due, and enforces the limits.
    pub fn maintain(&self, now: Timestamp) {
        self.write(now);
        self.tidy(now);
    }

    /// Seals all records now. Used before the folder is copied, and by tests.
    pub fn seal(&self) {
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

    fn disk(&self) -> &dyn Disk {
        &*self.folder.disk
    }

    fn segment_path(&self, name: Name) -> PathBuf {
        self.path.join(name.to_string())
    }
}

impl FlowStore for LocalFlowStore {
    fn put(&self, flows: Vec<Flow>, now: Timestamp) {
        if flows.is_empty() {
            return;
        }
        let mut writer = self.writer.lock();
        let (now, is_new_time) = writer.clock.tick(now);
        if is_new_time {
            self.freeze_locked(&mut writer);
        }
        self.log_records(&mut writer, &flows, now);
        let log_bytes = writer.log.as_ref().map_or(0, Log::length);
        let is_full = {
            let mut state = self.state.write();
            for flow in flows {
                state.recent.put(flow, writer.next_number, now);
                writer.next_number += 1;
            }
            state.recent.bytes() >= self.folder.options.memory || log_bytes >= MAX_LOG_BYTES
        };
        if is_full {
            self.freeze_locked(&mut writer);
        }
        drop(writer);
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
        let (hits, segments) = self.find(query, keep_going)?;
        let flows = self.fetch(hits, &segments, keep_going)?;
        let mut set = FlowSet::from_flows(flows);
        query.arrange(&mut set)?;
        self.add_packets(&mut set.flows, query.time);
        Ok(set)
    }

    fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        if query.sort.is_some() || query.dedup.is_some() || query.range.is_some() {
            return Ok(self.query(query)?.flows.len() as u64);
        }
        Ok(self.find(query, &|| true)?.0.len() as u64)
    }

    fn metrics(&self, uuids: &[Text], time: TimeSlice) -> Vec<(Text, Vec<FlowMetric>)> {
        let (from, to) = match time.start == time.last {
            true => (i64::MIN, time.last.as_ms()),
            false => (time.start.as_ms(), time.last.as_ms()),
        };
        let segments = self.state.read().segments.clone();
        let mut lists = vec![Vec::new(); uuids.len()];
        for segment in &segments {
            let (first, last) = segment.span.metric;
            if first <= to && last >= from {
                self.check_read(segment, segment.metrics(uuids, &mut lists));
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
        found
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

    fn sync(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        let synced = writer.log.as_mut().map_or(Ok(false), Log::sync);
        synced.map(drop).map_err(|source| StoreError::File {
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
        self.seal();
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

/// Opens a segment. A damaged segment is set aside; one of a newer version is ignored.
fn open_segment(folder: &HistoryFolder, path: &Path, name: Name) -> Option<FlowSegment> {
    let path = path.join(name.to_string());
    match FlowSegment::open(&*folder.disk, &path, name) {
        Ok(segment) => Some(segment),
        Err(error) => {
            folder.report_unreadable(&path, TABLE, &error);
            None
        }
    }
}

/// Returns the table of a log.
fn replay(
    generation: Generation,
    content: &LogContent,
    next_number: &mut i64,
    counts: &mut Counts,
) -> Frozen {
    let mut flows = RecentFlows::default();
    for record in content.records() {
        let Some((time, record)) = record.split_first_chunk() else {
            continue;
        };
        // Cannot fail unless a newer version wrote the record: the frame has a checksum.
        if let Ok(flow) = Flow::decode(record) {
            flows.put(
                flow,
                *next_number,
                Timestamp::from_ms(i64::from_le_bytes(*time)),
            );
            *next_number += 1;
        }
    }
    if content.lost_bytes > 0 {
        counts.lost_log_bytes += content.lost_bytes as u64;
        tracing::warn!(
            log = %Name::Log(generation),
            bytes = content.lost_bytes,
            is_damaged = content.is_damaged,
            "the end of a log of flows is incomplete"
        );
    }
    Frozen {
        generation,
        flows,
        is_log_damaged: content.is_damaged,
    }
}

/// Name of the folder of flows.
const TABLE: &str = "flow";
/// Size of a log in bytes at which the table is frozen.
const MAX_LOG_BYTES: u64 = 128 << 20;
