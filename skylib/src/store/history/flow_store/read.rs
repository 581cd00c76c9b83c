//! Reading: the flows of a query from memory and from segments, the newest first.
//!
//! A query first finds its flows by the columns that decide about them, then arranges what it found
//! by the values to sort and deduplicate by, and reads whole records only of what remains.

use std::io;
use std::sync::Arc;

use hashbrown::HashMap;
use prost::Message as _;

use super::{Frozen, LocalFlowStore};
use crate::error_chain::Chain;
use crate::flow::{ArrangeKeys, Flow, FlowMetric, FlowQuery, FlowQueryError, RawPacket};
use crate::store::FlowStore;
use crate::store::history::flow_columns::FlowRow;
use crate::store::history::flow_scan::FlowScan;
use crate::store::history::flow_segment::FlowSegment;
use crate::store::history::parquet_file::is_damage;
use crate::store::history::recent_flows::RecentFlow;
use crate::store::history::uuid_set::UuidSet;
use crate::store::stored_flow::{StoredFlow, has};
use crate::time::TimeSlice;
use crate::value::Text;

impl LocalFlowStore {
    /// Returns the flows of a query that are in memory, and the segments.
    pub(super) fn snapshot(&self) -> (Vec<RecentFlow>, Vec<Arc<Frozen>>, Vec<Arc<FlowSegment>>) {
        let state = self.state.read();
        let recent = state.recent.iter().cloned().collect();
        (recent, state.frozen.clone(), state.segments.clone())
    }

    /// Returns the flows of a query in the order of the answer, without reading their records.
    pub(super) fn find(
        &self,
        query: &FlowQuery,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Found, FlowQueryError> {
        let mut hits = Hits::new(query);
        let segments = self.find_hits(query, &mut hits, keep_going)?;
        hits.arrange(segments)
    }

    /// Returns the number of flows of a query, without storing anything of each flow unless the order
    /// or the deduplication needs it.
    pub(super) fn count(
        &self,
        query: &FlowQuery,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<u64, FlowQueryError> {
        if query.sort.is_some() || query.dedup.is_some() {
            return Ok(self.find(query, keep_going)?.hits.len() as u64);
        }
        let mut hits = Hits::counting(query);
        self.find_hits(query, &mut hits, keep_going)?;
        let (from, to) = query.range.unwrap_or((0, u64::MAX));
        Ok(hits.count.min(to).saturating_sub(from))
    }

    /// Adds the flows of a query to `hits`, and returns the segments to which rows refer.
    fn find_hits(
        &self,
        query: &FlowQuery,
        hits: &mut Hits<'_>,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Vec<Arc<FlowSegment>>, FlowQueryError> {
        let scan = FlowScan::new(query, self.folder.options.grace);
        let (recent, frozen, segments) = self.snapshot();
        let mut met = UuidSet::default();
        let frozen_flows = frozen.iter().rev().flat_map(|frozen| frozen.flows.iter());
        let in_memory = recent.iter().chain(frozen_flows);
        find_in_memory(in_memory, &scan, &mut met, hits, keep_going)?;
        for (index, segment) in segments.iter().enumerate().rev() {
            if !scan.overlaps(segment.span.start, segment.span.last) {
                continue;
            }
            let mut count = 0_usize;
            let mut is_interrupted = false;
            let mut outcome = Ok(());
            // Number of the newest record of each flow, and the record if it matches.
            let mut repeated: HashMap<Text, (i64, Option<(usize, FlowRow)>)> = HashMap::new();
            let scanned = segment.scan(&scan, |number, row| {
                count += 1;
                is_interrupted = count.is_multiple_of(POLL_ROWS) && !keep_going();
                if segment.has_repeats {
                    let known = repeated.get(&row.flow.uuid);
                    if known.is_none_or(|(known, _)| *known < row.number) {
                        let is_match = scan.accepts(&row.flow);
                        let (uuid, newest) = (row.flow.uuid.clone(), row.number);
                        repeated.insert(uuid, (newest, is_match.then_some((number, row))));
                    }
                } else if met.insert(&row.flow.uuid) && scan.accepts(&row.flow) {
                    outcome = hits.add(row.number, &row.flow, Hit::Row(index, number));
                }
                outcome.is_ok() && !is_interrupted
            });
            outcome?;
            for (uuid, (newest, row)) in repeated {
                if let (true, Some((number, row))) = (met.insert(&uuid), row) {
                    hits.add(newest, &row.flow, Hit::Row(index, number))?;
                }
            }
            if is_interrupted || !keep_going() {
                return Err(FlowQueryError::Interrupted);
            }
            self.check_read(segment, scanned);
        }
        Ok(segments)
    }

    /// Reports a failed read of a segment. The answer has the rows that were read before; if the
    /// content of the segment is damaged, the segment is moved to the folder `damaged`.
    pub(super) fn check_read(&self, segment: &Arc<FlowSegment>, read: io::Result<()>) {
        let Err(error) = read else {
            return;
        };
        tracing::warn!(
            error = %Chain(&error),
            segment = %segment.folder.display(),
            "cannot read a segment of flows; the answer lacks what follows the unreadable part"
        );
        if is_damage(&error) {
            self.set_aside(segment, &error);
        }
    }

    /// Returns the whole records of hits, in the order of the hits.
    pub(super) fn fetch(
        &self,
        hits: &[Hit],
        segments: &[Arc<FlowSegment>],
        max_bytes: usize,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Vec<Flow>, FlowQueryError> {
        let mut rows: Vec<Vec<(usize, usize)>> = vec![Vec::new(); segments.len()];
        let mut flows: Vec<Option<Flow>> = Vec::with_capacity(hits.len());
        let mut bytes = 0_usize;
        let mut add = |flow: &Flow| {
            bytes = bytes.saturating_add(flow.memory_size());
            let limit = max_bytes;
            let is_allowed = bytes <= limit;
            is_allowed
                .then_some(())
                .ok_or(FlowQueryError::TooLarge { limit })
        };
        for (position, hit) in hits.iter().enumerate() {
            match hit {
                Hit::Memory(stored) => {
                    let flow = decode(stored);
                    flow.as_ref().map_or(Ok(()), &mut add)?;
                    flows.push(flow);
                }
                Hit::Row(segment, row) => {
                    flows.push(None);
                    rows[*segment].push((*row, position));
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
                        for ((_, position), flow) in rows.iter().zip(found) {
                            add(&flow)?;
                            flows[*position] = Some(flow);
                        }
                    }
                    Err(error) => self.check_read(segment, Err(error)),
                }
            }
        }
        Ok(flows.into_iter().flatten().collect())
    }

    /// Appends the raw packets of a query's time to its flows.
    pub(super) fn add_packets(&self, flows: &mut [Flow], time: Option<TimeSlice>) {
        let with_packets = flows.iter().filter(|flow| flow.raw_packets_captured > 0);
        let uuids: Vec<Text> = with_packets.map(|flow| flow.uuid.clone()).collect();
        if uuids.is_empty() {
            return;
        }
        let mut packets: HashMap<Text, Vec<RawPacket>> =
            self.raw_packets(&uuids).into_iter().collect();
        for flow in flows {
            if let Some(mut packets) = packets.remove(&flow.uuid) {
                packets.retain(|packet| time.is_none_or(|time| has(time, packet.timestamp)));
                flow.last_raw_packets = packets;
            }
        }
    }

    /// Returns the flow with a UUID in each table in memory, oldest first.
    pub(super) fn in_memory(&self, uuid: &str) -> Vec<Arc<StoredFlow>> {
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

/// Adds the flows in memory that a query accepts to `hits`, and all flows in memory to `met`. The newest
/// flows must be first.
fn find_in_memory<'a>(
    flows: impl Iterator<Item = &'a RecentFlow>,
    scan: &FlowScan<'_>,
    met: &mut UuidSet,
    hits: &mut Hits<'_>,
    keep_going: &dyn Fn() -> bool,
) -> Result<(), FlowQueryError> {
    for (count, recent) in flows.enumerate() {
        if count.is_multiple_of(POLL_ROWS) && !keep_going() {
            return Err(FlowQueryError::Interrupted);
        }
        let Some(flow) = decode(&recent.stored) else {
            continue;
        };
        if scan.excludes(&flow) || !met.insert(&flow.uuid) {
            continue;
        }
        if scan.accepts(&flow) {
            let stored = Arc::clone(&recent.stored);
            hits.add(recent.number, &flow, Hit::Memory(stored))?;
        }
    }
    Ok(())
}

/// Flows of a query, in the order of the answer.
pub(super) struct Found {
    pub(super) hits: Vec<Hit>,
    /// Segments to which rows refer.
    pub(super) segments: Vec<Arc<FlowSegment>>,
    /// Minimum `Start` and maximum `Last` of all flows that match, in Unix milliseconds; 0 without
    /// flows.
    pub(super) span: (i64, i64),
}

/// Flow of a query, in memory or as a row of a segment.
pub(super) enum Hit {
    Memory(Arc<StoredFlow>),
    Row(usize, usize),
}

impl Hit {
    /// Returns a key with which rows that are stored together are together.
    pub(super) const fn position(&self) -> Option<(usize, usize)> {
        match self {
            Self::Memory(_) => None,
            Self::Row(segment, row) => Some((*segment, *row)),
        }
    }
}

/// Flows that match a query, in the order in which they are found.
struct Hits<'a> {
    query: &'a FlowQuery,
    /// Number of the newest record, keys, and location of each flow.
    found: Vec<(i64, ArrangeKeys, Hit)>,
    /// Memory of `found`, in bytes.
    bytes: usize,
    span: Option<(i64, i64)>,
    count: u64,
    /// Whether flows are only counted.
    only_counts: bool,
}

impl<'a> Hits<'a> {
    const fn new(query: &'a FlowQuery) -> Self {
        Self {
            query,
            found: Vec::new(),
            bytes: 0,
            span: None,
            count: 0,
            only_counts: false,
        }
    }

    /// Returns hits that only count.
    fn counting(query: &'a FlowQuery) -> Self {
        Self {
            only_counts: true,
            ..Self::new(query)
        }
    }

    fn add(&mut self, number: i64, flow: &Flow, hit: Hit) -> Result<(), FlowQueryError> {
        self.count += 1;
        if self.only_counts {
            return Ok(());
        }
        let keys = self.query.arrange_keys(flow);
        self.bytes += size_of::<(i64, ArrangeKeys, Hit)>() + keys.heap_bytes();
        let limit = self.query.max_bytes;
        if self.bytes > limit {
            return Err(FlowQueryError::TooLarge { limit });
        }
        let (start, last) = self.span.unwrap_or((flow.start, flow.last));
        self.span = Some((start.min(flow.start), last.max(flow.last)));
        self.found.push((number, keys, hit));
        Ok(())
    }

    /// Sorts, deduplicates, and slices what was found.
    fn arrange(mut self, segments: Vec<Arc<FlowSegment>>) -> Result<Found, FlowQueryError> {
        self.found.sort_unstable_by_key(|(number, ..)| *number);
        let items = self.found.into_iter().map(|(_, keys, hit)| (keys, hit));
        Ok(Found {
            hits: self.query.arrange_by_keys(items.collect())?,
            segments,
            span: self.span.unwrap_or_default(),
        })
    }
}

/// Decodes the record of a flow in memory; never fails, because this store has encoded it.
fn decode(stored: &StoredFlow) -> Option<Flow> {
    Flow::decode(&*stored.record).ok()
}

/// Iterates over the metrics of a flow, without those that were counted before: a flow that ends
/// repeats its last metric, or has only totals.
pub(super) fn in_order(metrics: &[(FlowMetric, bool)]) -> impl Iterator<Item = FlowMetric> {
    let mut newest: Option<i64> = None;
    metrics.iter().filter_map(move |(metric, is_from_start)| {
        let is_new = newest.is_none_or(|newest| metric.last > newest && !is_from_start);
        newest = Some(newest.map_or(metric.last, |newest| newest.max(metric.last)));
        is_new.then_some(*metric)
    })
}

/// Number of rows between two polls of an interrupt.
const POLL_ROWS: usize = 8192;
/// Number of records that are read from a segment together.
const FETCH_ROWS: usize = 16 * 1024;
/// Number of flows that a visit has in memory.
pub(super) const VISITED_FLOWS: usize = 8 * 1024;
