//! `ReplayedFlows`: a queryable store of all flows of a capture.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use prost::Message;

use crate::flow::{
    Flow, FlowQuery, FlowQueryError, FlowSet, FlowSink, FlowSource, FlowTable, FlowTableStats,
};

/// Store of all flows of a capture, which can be queried any number of times; see
/// [`Replay::collect`](super::Replay::collect).
///
/// Flows that expired during the replay are stored in encoded form; all others remain in their flow
/// tables.
///
/// ```no_run
/// use skylib::capture::{PcapFile, Replay};
/// use skylib::flow::{FlowQuery, FlowSource};
///
/// let mut file = PcapFile::open("trace.pcap")?;
/// let flows = Replay::default().collect(&mut file)?;
/// println!("{} flows", flows.count(&FlowQuery::default())?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReplayedFlows {
    shards: Vec<Shard>,
    /// Counters of packet timestamps, unless the counters of the tables include them.
    clock_stats: FlowTableStats,
}

#[derive(Debug)]
struct Shard {
    /// Flows that were removed from the table during the replay.
    exported: EncodedFlows,
    /// Table at the end of the replay. It is only read; the lock allows threads to share it.
    table: Mutex<FlowTable>,
}

impl ReplayedFlows {
    /// Creates the store from ended tables, each with the flows that were removed from it during
    /// the replay.
    pub(super) fn new(shards: impl IntoIterator<Item = (EncodedFlows, FlowTable)>) -> Self {
        let shards = shards.into_iter();
        Self {
            shards: shards
                .map(|(exported, table)| Shard {
                    exported,
                    table: Mutex::new(table),
                })
                .collect(),
            clock_stats: FlowTableStats::default(),
        }
    }

    /// Sets the counters of packet timestamps, which belong to no table.
    pub(super) const fn with_clock_stats(mut self, stats: FlowTableStats) -> Self {
        self.clock_stats = stats;
        self
    }

    /// Returns the sum of the tables' counters.
    #[must_use]
    pub fn stats(&self) -> FlowTableStats {
        let mut stats = self.clock_stats;
        for shard in &self.shards {
            stats += shard.with_table(FlowTable::stats);
        }
        stats
    }
}

#[cfg(test)]
impl ReplayedFlows {
    pub(super) fn packets_of_shards(&self) -> Vec<u64> {
        self.shards
            .iter()
            .map(|shard| shard.with_table(FlowTable::stats).packets)
            .collect()
    }
}

impl FlowSource for ReplayedFlows {
    fn query(&self, query: &FlowQuery) -> Result<FlowSet, FlowQueryError> {
        let unordered = FlowQuery {
            sort: None,
            dedup: None,
            range: None,
            ..query.clone()
        };
        let mut flows = Vec::new();
        for shard in &self.shards {
            flows.extend(shard.exported(query));
            flows.append(&mut shard.with_table(|table| table.query(&unordered))?.flows);
        }
        let mut set = FlowSet::from_flows(flows);
        query.arrange(&mut set)?;
        Ok(set)
    }

    fn visit(
        &self,
        query: &FlowQuery,
        visit: &mut dyn FnMut(&Flow) -> ControlFlow<()>,
    ) -> Result<(), FlowQueryError> {
        if !query.is_unordered() {
            let _stopped = self.query(query)?.flows.iter().try_for_each(visit);
            return Ok(());
        }
        for shard in &self.shards {
            let exported = shard.exported(query).try_for_each(|flow| visit(&flow));
            let is_over = exported.is_break()
                || shard
                    .with_table(|table| table.visit(query, visit))
                    .is_break();
            if is_over {
                return Ok(());
            }
        }
        Ok(())
    }

    fn count(&self, query: &FlowQuery) -> Result<u64, FlowQueryError> {
        if query.sort.is_some() || query.dedup.is_some() || query.range.is_some() {
            return Ok(self.query(query)?.flows.len() as u64);
        }
        let everything = query.node_tids.is_none() && query.filter.is_everything();
        let mut count = 0;
        for shard in &self.shards {
            count += shard.with_table(|table| table.count_flows(query))?;
            count += match everything {
                true => shard.exported.count,
                false => shard.exported(query).count() as u64,
            };
        }
        Ok(count)
    }
}

impl Shard {
    fn with_table<T>(&self, work: impl FnOnce(&FlowTable) -> T) -> T {
        work(&self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the exported flows that match a query, ignoring its order and range.
    fn exported(&self, query: &FlowQuery) -> impl Iterator<Item = Flow> {
        let passes = |flow: &Flow| query.matches_node(&flow.node_tid) && query.filter.matches(flow);
        self.exported.iter().filter(passes)
    }
}

/// Append-only list of flows in protobuf form, which uses a fraction of the memory of the records.
#[derive(Debug, Default)]
pub(super) struct EncodedFlows {
    /// Buffers of complete, length-delimited flows. A buffer never grows beyond its capacity.
    chunks: Vec<Vec<u8>>,
    /// Number of flows in all chunks.
    count: u64,
}

impl EncodedFlows {
    fn iter(&self) -> impl Iterator<Item = Flow> {
        self.chunks.iter().flat_map(|chunk| {
            let mut rest = &chunk[..];
            std::iter::from_fn(move || Flow::decode_length_delimited(&mut rest).ok())
        })
    }
}

impl FlowSink for EncodedFlows {
    fn flows(&mut self, flows: Vec<Flow>) {
        for flow in flows {
            let len = flow.encoded_len() + MAX_PREFIX;
            let has_room = |chunk: &&mut Vec<u8>| chunk.capacity() - chunk.len() >= len;
            if self.chunks.last_mut().filter(has_room).is_none() {
                self.chunks.push(Vec::with_capacity(CHUNK.max(len)));
            }
            if let Some(chunk) = self.chunks.last_mut() {
                // Cannot fail: the chunk has enough space for the flow and its length prefix.
                flow.encode_length_delimited(chunk).ok();
                self.count += 1;
            }
        }
    }
}

/// Size of a chunk, in bytes, unless a single flow is larger.
const CHUNK: usize = 1 << 20;

/// Maximum size of the length prefix of a flow, in bytes (protobuf varint).
const MAX_PREFIX: usize = 10;
