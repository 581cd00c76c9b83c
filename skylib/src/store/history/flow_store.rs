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

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use prost::Message as _;

use super::disk::Disk;
use super::flow_merge;
use super::flow_scan::FlowScan;
use super::flow_segment::{self, FlowSegment};
use super::folder::HistoryFolder;
use super::frame::{FrameBuilder, LogContent};
use super::log::Log;
use super::names::{Catalog, Generation, Name};
use super::parquet_file::is_damage;
use super::recent_flows::{RecentFlow, RecentFlows};
use super::recorder_clock::RecorderClock;
use super::retention::Part;
use super::segment_folder;
use super::uuid_set::UuidSet;
use super::worker::Maintain;
use crate::error_chain::Chain;
use crate::flow::{Flow, FlowMetric, FlowQuery, FlowQueryError, FlowSet, PacketsByFlow, RawPacket};
use crate::store::stored_flow::{StoredFlow, has};
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

/// What queries read.
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

/// Flow of a query, in memory or as a row of a segment.
enum Hit {
    Memory(Flow),
    Row(usize, usize),
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

    fn sync_log(&self, now: Timestamp) -> io::Result<()> {
        let mut writer = self.writer.lock();
        match writer.log.as_mut().map_or(Ok(false), Log::sync) {
            Ok(_) => Ok(()),
            Err(error) => {
                writer.fail(now);
                Err(error)
            }
        }
    }

    /// Begins a new log and a new table, and leaves the old table to be sealed.
    fn freeze(&self) {
        let mut writer = self.writer.lock();
        self.freeze_locked(&mut writer);
    }

    fn freeze_locked(&self, writer: &mut Writer) {
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
        }));
        writer.log = None;
        writer.generation += 1;
    }

    /// Writes frozen tables as segments, oldest first, until one fails.
    fn seal_frozen(&self) {
        let _sealing = self.sealing.lock();
        loop {
            let Some(frozen) = self.state.read().frozen.first().cloned() else {
                break;
            };
            if let Err(error) = self.seal_one(&frozen) {
                tracing::warn!(error = %Chain(&error), "cannot seal the history of flows");
                break;
            }
        }
        self.measure();
        self.sealed.notify_all();
    }

    fn seal_one(&self, frozen: &Arc<Frozen>) -> io::Result<()> {
        let generation = frozen.generation;
        let log = self.path.join(Name::Log(generation).to_string());
        if !frozen.flows.is_empty() {
            let name = Name::Segment(generation, generation);
            let path = self.segment_path(name);
            let unfinished = self.folder.unfinished(&format!("{TABLE}-{name}"));
            let host = &self.folder.options.host;
            segment_folder::commit(self.disk(), &unfinished, &path, |folder| {
                flow_segment::write(self.disk(), folder, &frozen.flows, host, generation)
            })?;
            let segment = FlowSegment::open(self.disk(), &path, name)?;
            let mut state = self.state.write();
            state.frozen.retain(|other| !Arc::ptr_eq(other, frozen));
            state.segments.push(Arc::new(segment));
        } else {
            let mut state = self.state.write();
            state.frozen.retain(|other| !Arc::ptr_eq(other, frozen));
        }
        if frozen.is_log_damaged {
            self.folder.set_aside(&log, TABLE)?;
            return Ok(());
        }
        // If this fails, the next start finds a log that the segment replaces.
        drop(self.disk().remove(&log));
        Ok(())
    }

    /// Merges the segments of every hour that has ended.
    fn merge_hours(&self, now: Timestamp) {
        loop {
            let segments = self.state.read().segments.clone();
            let Some(segments) = segments_of_an_hour(&segments, now) else {
                return;
            };
            if let Err(error) = self.merge(&segments, now) {
                tracing::warn!(error = %Chain(&error), "cannot merge segments of flows");
                return;
            }
        }
    }

    /// Replaces consecutive segments by one.
    fn merge(&self, segments: &[Arc<FlowSegment>], now: Timestamp) -> io::Result<()> {
        let _sealing = self.sealing.lock();
        let Some(name) = flow_merge::merged_name(segments) else {
            return Ok(());
        };
        let path = self.segment_path(name);
        let unfinished = self.folder.unfinished(&format!("{TABLE}-{name}"));
        let host = &self.folder.options.host;
        let written = segment_folder::commit(self.disk(), &unfinished, &path, |folder| {
            flow_merge::write(self.disk(), folder, segments, host)
        });
        if let Err(error) = written {
            self.set_damaged_aside(segments, &error);
            return Err(error);
        }
        let merged = Arc::new(FlowSegment::open(self.disk(), &path, name)?);
        {
            let mut state = self.state.write();
            let is_merged = |segment: &Arc<FlowSegment>| {
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
            let bytes = segment.flow_bytes() + segment.packet_bytes();
            // If this fails, the next start finds a segment that the new one replaces.
            drop(self.folder.replace(&segment.folder, bytes, now));
        }
        self.measure();
        Ok(())
    }

    /// Sets the segments aside whose content is damaged, after an error of reading.
    fn set_damaged_aside(&self, segments: &[Arc<FlowSegment>], error: &io::Error) {
        if is_damage(error) {
            segments
                .iter()
                .for_each(|segment| self.check_content(segment));
        }
    }

    /// Compares the content of all segments with their sums, and sets damaged ones aside.
    pub fn check(&self) {
        let segments = self.state.read().segments.clone();
        segments
            .iter()
            .for_each(|segment| self.check_content(segment));
    }

    /// Sets a segment aside if its content differs from its sums.
    fn check_content(&self, segment: &Arc<FlowSegment>) {
        match segment_folder::check(self.disk(), &segment.folder) {
            Err(damage) if is_damage(&damage) => {
                self.drop_segment(segment);
                self.folder.report_damage(&segment.folder, TABLE, &damage);
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Checks the content of one segment that has not been checked since the store was opened.
    fn check_next(&self) {
        let _sealing = self.sealing.lock();
        let next = self.unchecked.lock().pop();
        if let Some(segment) = next.and_then(|segment| segment.upgrade()) {
            self.check_content(&segment);
        }
    }

    fn drop_segment(&self, segment: &Arc<FlowSegment>) {
        let mut state = self.state.write();
        state.segments.retain(|other| !Arc::ptr_eq(other, segment));
    }

    /// Removes what is too old, and the oldest of what is too large.
    fn enforce_limits(&self, now: Timestamp) {
        let _sealing = self.sealing.lock();
        let too_old = now.saturating_sub(self.folder.options.max_age).as_ms();
        loop {
            let oldest = self.state.read().segments.first().cloned();
            let Some(oldest) = oldest.filter(|oldest| oldest.span.updated.1 < too_old) else {
                break;
            };
            let bytes = oldest.flow_bytes() + oldest.packet_bytes();
            if self.folder.replace(&oldest.folder, bytes, now).is_err() {
                break;
            }
            self.evicted(&oldest);
        }
        self.measure();
        while let Some(part) = self.folder.over() {
            let done = match part {
                Part::Flow => self.remove_oldest(),
                Part::Packet => self.remove_oldest_packets(),
                Part::Graph => false,
            };
            if !done {
                break;
            }
            self.measure();
        }
    }

    fn remove_oldest(&self) -> bool {
        let Some(oldest) = self.state.read().segments.first().cloned() else {
            return false;
        };
        let is_removed = self.disk().remove(&oldest.folder).is_ok();
        if is_removed {
            self.evicted(&oldest);
        }
        is_removed
    }

    fn evicted(&self, segment: &Arc<FlowSegment>) {
        self.drop_segment(segment);
        let mut state = self.state.write();
        state.counts.evicted += segment.flow.rows() as u64;
        let since = Timestamp::from_ms(segment.span.updated.1);
        state.counts.complete_since = state.counts.complete_since.max(Some(since));
    }

    /// Removes the raw packets of the oldest segment that has any.
    fn remove_oldest_packets(&self) -> bool {
        let segments = self.state.read().segments.clone();
        let Some(oldest) = segments.iter().find(|segment| segment.packet.is_some()) else {
            return false;
        };
        let removed = self.remove_packets(oldest);
        if let Err(error) = &removed {
            tracing::warn!(error = %Chain(error), "cannot remove old raw packets");
        }
        removed.is_ok()
    }

    fn remove_packets(&self, segment: &Arc<FlowSegment>) -> io::Result<()> {
        let folder = &segment.folder;
        let mut sums = segment_folder::read_sums(self.disk(), folder)?;
        sums.retain(|sum| sum.name != flow_segment::PACKET_FILE);
        // A crash in between leaves a file that is not in the sums, which nothing reads.
        segment_folder::write_sums(self.disk(), folder, &sums)?;
        self.disk()
            .remove(&folder.join(flow_segment::PACKET_FILE))?;
        let without = FlowSegment::open(self.disk(), folder, segment.name)?;
        let mut state = self.state.write();
        for other in &mut state.segments {
            if Arc::ptr_eq(other, segment) {
                *other = Arc::new(without);
                break;
            }
        }
        Ok(())
    }

    /// Updates the sizes that the limits apply to.
    fn measure(&self) {
        let log = self.writer.lock().log.as_ref().map_or(0, Log::length);
        let state = self.state.read();
        let flows: u64 = state
            .segments
            .iter()
            .map(|segment| segment.flow_bytes())
            .sum();
        let packets: u64 = state
            .segments
            .iter()
            .map(|segment| segment.packet_bytes())
            .sum();
        self.folder.set_usage(Part::Flow, flows + log);
        self.folder.set_usage(Part::Packet, packets);
    }

    /// Appends records to the log. A failure is reported once and retried later; the records are
    /// in memory in any case.
    fn log_records(&self, writer: &mut Writer, flows: &[Flow], now: Timestamp) {
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
                writer.fail(now);
            }
        }
    }

    fn append(&self, writer: &mut Writer, frames: &[u8], now: Timestamp) -> io::Result<()> {
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

    /// Waits until the table of a new freeze fits into the bound of memory.
    fn wait_for_room(&self) {
        if !self.has_worker.load(Ordering::Relaxed) {
            self.seal_frozen();
        } else {
            self.folder.signals.tidy.set();
            let mut waiting = self.waiting.lock();
            for _ in 0..ROOM_WAITS {
                if self.state.read().frozen.len() < MAX_FROZEN {
                    return;
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
            tracing::warn!(
                records,
                "dropped flows of the history: the disk cannot be written"
            );
        }
    }

    /// Returns the flows of a query that are in memory, and the segments.
    fn snapshot(&self) -> (Vec<RecentFlow>, Vec<Arc<Frozen>>, Vec<Arc<FlowSegment>>) {
        let state = self.state.read();
        let recent = state.recent.iter().cloned().collect();
        (recent, state.frozen.clone(), state.segments.clone())
    }

    /// Returns the flows of a query with the numbers of their records, in ascending order, and the
    /// segments to which rows refer.
    fn find(
        &self,
        query: &FlowQuery,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<(Vec<(i64, Hit)>, Vec<Arc<FlowSegment>>), FlowQueryError> {
        let scan = FlowScan::new(query, self.folder.options.grace);
        let (recent, frozen, segments) = self.snapshot();
        let mut met = UuidSet::default();
        let mut hits = Vec::new();
        let frozen_flows = frozen.iter().rev().flat_map(|frozen| frozen.flows.iter());
        for (count, recent) in recent.iter().chain(frozen_flows).enumerate() {
            if count.is_multiple_of(POLL_ROWS) && !keep_going() {
                return Err(FlowQueryError::Interrupted);
            }
            // Cannot fail: the record was encoded by this store.
            let Ok(flow) = Flow::decode(&*recent.stored.record) else {
                continue;
            };
            if scan.excludes(&flow) || !met.insert(&flow.uuid) {
                continue;
            }
            if scan.accepts(&flow) {
                hits.push((recent.number, Hit::Memory(flow)));
            }
        }
        for (index, segment) in segments.iter().enumerate().rev() {
            if !scan.overlaps(segment.span.start, segment.span.last) {
                continue;
            }
            let mut count = 0_usize;
            let mut is_interrupted = false;
            let scanned = segment.scan(&scan, |number, row| {
                count += 1;
                is_interrupted = count.is_multiple_of(POLL_ROWS) && !keep_going();
                if met.insert(&row.flow.uuid) && scan.accepts(&row.flow) {
                    hits.push((row.number, Hit::Row(index, number)));
                }
                !is_interrupted
            });
            if is_interrupted || !keep_going() {
                return Err(FlowQueryError::Interrupted);
            }
            self.check_read(segment, scanned);
        }
        hits.sort_unstable_by_key(|(number, _)| *number);
        Ok((hits, segments))
    }

    /// Reports a failed read of a segment. The answer is given without the segment; if its content
    /// is damaged, the segment is set aside.
    fn check_read(&self, segment: &Arc<FlowSegment>, read: io::Result<()>) {
        let Err(error) = read else {
            return;
        };
        tracing::warn!(
            error = %Chain(&error),
            segment = %segment.folder.display(),
            "cannot read a segment of flows; the answer does not include it"
        );
        if is_damage(&error) {
            self.drop_segment(segment);
            self.folder.report_damage(&segment.folder, TABLE, &error);
        }
    }

    /// Returns the whole records of hits, in the order of the hits.
    fn fetch(
        &self,
        hits: Vec<(i64, Hit)>,
        segments: &[Arc<FlowSegment>],
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Vec<Flow>, FlowQueryError> {
        let mut rows: Vec<Vec<(usize, usize)>> = vec![Vec::new(); segments.len()];
        let mut flows: Vec<Option<Flow>> = Vec::with_capacity(hits.len());
        for (position, (_, hit)) in hits.into_iter().enumerate() {
            match hit {
                Hit::Memory(flow) => flows.push(Some(flow)),
                Hit::Row(segment, row) => {
                    flows.push(None);
                    rows[segment].push((row, position));
                }
            }
        }
        for (segment, mut rows) in segments.iter().zip(rows) {
            rows.sort_unstable();
            for rows in rows.chunks(FETCH_ROWS) {
                if !keep_going() {
                    return Err(FlowQueryError::Interrupted);
                }
                let numbers: Vec<usize> = rows.iter().map(|(row, _)| *row).collect();
                match segment.fetch(&numbers) {
                    Ok(found) => {
                        for ((_, position), row) in rows.iter().zip(found) {
                            flows[*position] = Some(row.flow);
                        }
                    }
                    Err(error) => self.check_read(segment, Err(error)),
                }
            }
        }
        Ok(flows.into_iter().flatten().collect())
    }

    /// Appends the raw packets of a query's time to its flows.
    fn add_packets(&self, flows: &mut [Flow], time: Option<TimeSlice>) {
        let with_packets = flows.iter().filter(|flow| flow.raw_packets_captured > 0);
        let uuids: Vec<Text> = with_packets.map(|flow| flow.uuid.clone()).collect();
        if uuids.is_empty() {
            return;
        }
        let mut packets: hashbrown::HashMap<Text, Vec<RawPacket>> =
            self.raw_packets(&uuids).into_iter().collect();
        for flow in flows {
            if let Some(mut packets) = packets.remove(&flow.uuid) {
                packets.retain(|packet| time.is_none_or(|time| has(time, packet.timestamp)));
                flow.last_raw_packets = packets;
            }
        }
    }

    /// Returns the flow with a UUID in each table in memory, oldest first.
    fn in_memory(&self, uuid: &str) -> Vec<Arc<StoredFlow>> {
        let state = self.state.read();
        let tables = state
            .frozen
            .iter()
            .map(|frozen| &frozen.flows)
            .chain([&state.recent]);
        let found = tables.filter_map(|table| table.get(uuid));
        found.map(|recent| Arc::clone(&recent.stored)).collect()
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

impl Maintain for LocalFlowStore {
    fn write(&self, now: Timestamp) {
        if let Err(error) = self.sync_log(now) {
            tracing::warn!(error = %Chain(&error), "cannot make the history of flows durable");
        }
    }

    fn tidy(&self, now: Timestamp) {
        let is_due = {
            let state = self.state.read();
            let since = state.recent.since();
            since.is_some_and(|since| since.saturating_add(self.folder.options.seal) <= now)
        };
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

/// Returns the segments of an hour that has ended, if there are several.
fn segments_of_an_hour(
    segments: &[Arc<FlowSegment>],
    now: Timestamp,
) -> Option<Vec<Arc<FlowSegment>>> {
    let hour = |segment: &FlowSegment| segment.span.updated.1.div_euclid(HOUR_MS);
    let current = now.as_ms().div_euclid(HOUR_MS);
    let mut groups = segments.chunk_by(|a, b| hour(a) == hour(b));
    let due = groups.find(|group| group.len() > 1 && hour(&group[0]) < current)?;
    Some(due.to_vec())
}

/// Iterates over the metrics of a flow, without those that were counted before: a flow that ends
/// repeats its last metric, or has only totals.
fn in_order(metrics: &[(FlowMetric, bool)]) -> impl Iterator<Item = FlowMetric> {
    let mut newest: Option<i64> = None;
    metrics.iter().filter_map(move |(metric, is_from_start)| {
        let is_new = newest.is_none_or(|newest| metric.last > newest && !is_from_start);
        newest = Some(newest.map_or(metric.last, |newest| newest.max(metric.last)));
        is_new.then_some(*metric)
    })
}

/// Name of the folder of flows.
const TABLE: &str = "flow";
/// Size of a log in bytes at which the table is frozen.
const MAX_LOG_BYTES: u64 = 128 << 20;
/// Bytes after which a log is made durable by the writer.
const SYNC_BYTES: u64 = 1 << 20;
/// Maximum number of tables that wait to be sealed.
const MAX_FROZEN: usize = 2;
/// Number of periods of [`ROOM_WAIT`] for which a writer waits for the worker.
const ROOM_WAITS: usize = 100;
const ROOM_WAIT: Duration = Duration::from_millis(100);
/// Number of rows between two polls of an interrupt.
const POLL_ROWS: usize = 8192;
/// Number of records that are read from a segment together.
const FETCH_ROWS: usize = 16 * 1024;
/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;
