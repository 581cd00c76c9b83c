//! `ReplayedFlows`: all flows of a capture, to be asked.

use std::sync::{Mutex, PoisonError};

use prost::Message;

use crate::flow::{
    Flow, FlowQuery, FlowQueryError, FlowSet, FlowSink, FlowSource, FlowTable, FlowTableStats,
};

/// All flows of a whole capture, to be asked as often as needed; see
/// [`Replay::collect`](super::Replay::collect).
///
/// What is still in a table at the end is asked there; what left it before is kept encoded.
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use skylib::capture::{PcapFile, Replay};
/// use skylib::flow::{FlowQuery, FlowSource, FlowTableOptions};
///
/// let mut file = PcapFile::open("trace.pcap")?;
/// let replay = Replay::new(FlowTableOptions::default());
/// let (flows, end) = replay.collect(&mut file, &mut || ControlFlow::Continue(()));
/// end?;
/// println!("{} flows", flows.count(&FlowQuery::default())?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReplayedFlows {
    shards: Vec<Shard>,
}

#[derive(Debug)]
struct Shard {
    left: EncodedFlows,
    /// The table is only read; the lock is what lets threads share it.
    table: Mutex<FlowTable>,
}

impl ReplayedFlows {
    /// Of tables that have ended, each with what left it before.
    pub(super) fn new(shards: impl IntoIterator<Item = (EncodedFlows, FlowTable)>) -> Self {
        let shards = shards.into_iter();
        Self {
            shards: shards
                .map(|(left, table)| Shard {
                    left,
                    table: Mutex::new(table),
                })
                .collect(),
        }
    }

    /// What the tables counted.
    #[must_use]
    pub fn stats(&self) -> FlowTableStats {
        let mut stats = FlowTableStats::default();
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
            flows.extend(shard.left(query));
            flows.append(&mut shard.with_table(|table| table.query(&unordered))?.flows);
        }
        let mut set = FlowSet::from_flows(flows);
        query.arrange(&mut set)?;
        Ok(set)
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
                true => shard.left.count,
                false => shard.left(query).count() as u64,
            };
        }
        Ok(count)
    }
}

impl Shard {
    fn with_table<T>(&self, work: impl FnOnce(&FlowTable) -> T) -> T {
        work(&self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Flows that have left the table and pass a query, order and bounds apart.
    fn left(&self, query: &FlowQuery) -> impl Iterator<Item = Flow> {
        let passes = |flow: &Flow| query.wants_node(&flow.node_tid) && query.filter.matches(flow);
        self.left.iter().filter(passes)
    }
}

/// Flows in their wire form, a fraction of what records take.
#[derive(Debug, Default)]
pub(super) struct EncodedFlows {
    /// Each holds whole flows, one behind the other with its length before it.
    chunks: Vec<Vec<u8>>,
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
                // There is room, so this cannot fail.
                flow.encode_length_delimited(chunk).ok();
                self.count += 1;
            }
        }
    }
}

const CHUNK: usize = 1 << 20;

/// The most bytes that the length before a flow takes.
const MAX_PREFIX: usize = 10;
