//! `FlowTable`: packets in, flows out.

mod age_queue;
mod arena;
mod entry;
mod export;
mod extra_messages;
mod fragments;
mod hash_index;
mod layer_paths;
mod new_flow;
mod process;
mod scan;
mod segments;
mod timer;

use std::hash::{BuildHasher, Hasher};

use self::age_queue::Queue;
use self::arena::Arena;
use self::entry::{Entry, Interval, Rare, Slab};
use self::fragments::Fragments;
use self::hash_index::Index;
use self::layer_paths::Paths;
use self::process::Pending;
pub use self::scan::FlowScan;
use self::timer::Timers;
use super::key::HashSeed;
use super::options::FlowTableOptions;
use super::packet_filter::PacketFilter;
use super::record::Flow;
use super::stats::FlowTableStats;
use super::tcp_stream::Streams;
use crate::decode::{Decoder, Encapsulations};
use crate::packet::PacketBatch;

/// The flows of one capture point.
///
/// One thread writes it; it reads no clock: packets carry their times, and timers run when told
/// ([`FlowTable::tick`]). Memory is bounded by [`FlowTableOptions::max_entries`] and
/// [`FlowTableOptions::max_bytes`].
///
/// ```
/// use skylib::flow::{FlowQuery, FlowTable, FlowTableOptions};
/// use skylib::packet::{LinkType, PacketBatch, PacketHeader};
/// use skylib::time::Timestamp;
///
/// // An ARP request of 02:00:00:00:0a:01.
/// let mut frame = vec![0xff; 6];
/// frame.extend([2, 0, 0, 0, 0x0a, 1, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
/// frame.resize(60, 0);
/// let headers =
///     [PacketHeader { timestamp: Timestamp::from_ms(5), offset: 0, captured_len: 60, wire_len: 60 }];
/// let batch = PacketBatch { link_type: LinkType::ETHERNET, buffer: &frame, headers: &headers };
///
/// let mut table = FlowTable::new(FlowTableOptions::default());
/// table.process(&batch);
/// let set = table.query(&FlowQuery::default())?;
/// assert_eq!(set.flows[0].layers_path.as_str(), "Ethernet/ARP");
///
/// let mut sent = Vec::new();
/// table.flush(&mut sent);
/// assert_eq!((table.len(), sent.len()), (0, 1));
/// # Ok::<(), skylib::flow::FlowQueryError>(())
/// ```
pub struct FlowTable {
    options: FlowTableOptions,
    seed: HashSeed,
    decoder: Decoder,
    filter: Option<Box<dyn PacketFilter>>,
    index: Index,
    arena: Arena,
    intervals: Slab<Interval>,
    rare: Slab<Rare>,
    paths: Paths,
    /// Flows by age; the first queue, and one for each application with a timeout.
    queues: Vec<Queue>,
    /// Records with packets since the previous update, if updates send any.
    touched: Vec<u32>,
    /// Records with an end seen.
    finishing: Vec<u32>,
    timers: Timers,
    /// The most flows that both bounds allow.
    limit: usize,
    /// Evicted flows that wait to be sent.
    evicted: Vec<Flow>,
    /// Bytes of the contents of extra layers.
    contents_bytes: usize,
    /// Bytes of TCP segments that wait for others.
    segment_bytes: usize,
    /// Where fragments wait, if they are joined.
    fragments: Option<Box<Fragments>>,
    /// Whether an option wants more of packets than headers and lengths.
    looks_inside: bool,
    /// Whether [`FlowTable::end`] has been called.
    has_ended: bool,
    stats: FlowTableStats,
    parts: Encapsulations,
    first_parts: Encapsulations,
    pending: Vec<Pending>,
}

impl FlowTable {
    /// An empty table.
    #[must_use]
    pub fn new(options: FlowTableOptions) -> Self {
        let seed = options
            .seed
            .unwrap_or_else(|| std::hash::RandomState::new().build_hasher().finish());
        let others = extra_messages::contents_limit(&options)
            + fragments::fragments_limit(&options)
            + segments::segments_limit(&options);
        let by_bytes = options.max_bytes.map_or(usize::MAX, |bytes| {
            bytes.saturating_sub(others) / Self::flow_bytes(&options)
        });
        Self {
            seed: HashSeed::new(seed),
            decoder: Decoder::new(options.decoder.clone()),
            filter: None,
            index: Index::new(),
            arena: Arena::new(),
            intervals: Slab::new(),
            rare: Slab::new(),
            paths: Paths::default(),
            queues: vec![Queue::new(); 1 + options.application_timeouts.len().min(MAX_TIMEOUTS)],
            touched: Vec::new(),
            finishing: Vec::new(),
            timers: Timers::new(options.update, options.expire),
            limit: options.max_entries.min(by_bytes).max(1),
            evicted: Vec::new(),
            contents_bytes: 0,
            segment_bytes: 0,
            fragments: Fragments::new(&options),
            looks_inside: options.reassemble_tcp || !options.extra_layers.is_none(),
            has_ended: false,
            stats: FlowTableStats::default(),
            parts: Encapsulations::new(),
            first_parts: Encapsulations::new(),
            pending: vec![Pending::NONE; BATCH * Encapsulations::CAPACITY],
            options,
        }
    }

    /// Counts only packets that pass; `None` counts all.
    pub fn set_filter(&mut self, filter: Option<Box<dyn PacketFilter>>) {
        self.filter = filter;
    }

    /// Counts packets. Those of one table come in order, as one thread captured them.
    pub fn process(&mut self, batch: &PacketBatch<'_>) {
        for headers in batch.headers.chunks(BATCH) {
            self.process_batch(&PacketBatch { headers, ..*batch });
        }
    }

    /// Number of flows.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no flow.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it is made of.
    #[must_use]
    pub const fn options(&self) -> &FlowTableOptions {
        &self.options
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> FlowTableStats {
        let lists = self.touched.capacity() + self.finishing.capacity();
        let bytes = self.arena.bytes()
            + self.index.bytes()
            + self.intervals.bytes()
            + self.rare.bytes()
            + self.contents_bytes
            + self.segment_bytes
            + self
                .fragments
                .as_ref()
                .map_or(0, |fragments| fragments.bytes())
            + lists * size_of::<u32>();
        FlowTableStats {
            flows: self.len(),
            bytes,
            ..self.stats
        }
    }

    /// Whether options make more flows than a few have a [`Rare`].
    const fn keeps_rare(options: &FlowTableOptions) -> bool {
        options.extra_tcp_metric
            || options.reassemble_tcp
            || options.ip_defrag
            || options.raw_packet_limit > 0
            || !options.extra_layers.is_none()
    }

    /// What a flow takes at most, all told: its entry, its share of index and lists, former
    /// intervals, and what the options add.
    const fn flow_bytes(options: &FlowTableOptions) -> usize {
        let entry = size_of::<Entry>() + size_of::<Interval>();
        let index = 4 * size_of::<u64>();
        // Touched, finishing, and free slots of both slabs; a list may have room for twice its
        // content.
        let lists = 2 * 4 * size_of::<u32>();
        let rare = if Self::keeps_rare(options) {
            size_of::<Rare>()
        } else {
            0
        };
        let raw = options.raw_packet_limit as usize * RAW_PACKET_BYTES;
        let streams = if options.reassemble_tcp {
            size_of::<Streams>()
        } else {
            0
        };
        entry + index + lists + rare + raw + streams
    }
}

impl std::fmt::Debug for FlowTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowTable")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Packets decoded before the first of them is counted, so that the memory they need is there.
const BATCH: usize = 32;
/// Applications with a timeout that are told apart.
const MAX_TIMEOUTS: usize = 255;
/// What a raw packet is reckoned with: the default snap length and its record.
const RAW_PACKET_BYTES: usize = 256 + 64;

#[cfg(test)]
mod tests;
