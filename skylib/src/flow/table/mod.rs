//! `FlowTable`: aggregates packets into flows. The `impl` is split by step:
//!
//! ```text
//!   batch ─▶ process.rs ── decode, key ─▶ find (hash_index.rs) ─▶ count (count.rs) ─▶ extras
//!               │  ▲ joined packet              │ not found                             │
//!               ▼  │                            ▼                                       ▼
//!           fragments.rs                  new_flow.rs: decode again,      raw_packets.rs
//!                                         evict.rs if full, link entry    segments.rs
//!                                                                         extra_messages.rs
//!   time ──▶ timer.rs ── update, expire, flush ─▶ export.rs: entry ─▶ Flow ─▶ FlowSink
//!   query ─▶ scan.rs ─── visit entries, filter ─▶ export.rs: fields, entry ─▶ Flow ─▶ FlowSet
//! ```
//!
//! | file | content |
//! |---|---|
//! | `mod.rs` | construction, byte budget, statistics |
//! | `process.rs` | per-packet path of a batch: decode, key, find |
//! | `pending.rs`, `control.rs`, `batch_packets.rs` | data that the path holds for each packet |
//! | `count.rs` | counters and ends of a flow |
//! | `fragments.rs` | IP fragments, reassembled before they are keyed |
//! | `new_flow.rs` | creation of an entry from its first packet |
//! | `evict.rs` | eviction of the least recently used flow; removal of a flow |
//! | `spans.rs` | choice among the flows of a key; where a flow ends |
//! | `round_trip.rs`, `handshake.rs`, `echoes.rs` | round-trip times, from request to answer |
//! | `packet_clock.rs`, `clock_steps.rs` | clock of a capture file; steps of the clock of a live capture |
//! | `segments.rs` | TCP segments, passed to the [stream counters](super::stream_counters) or, with `recorded`, the [recorded streams](super::recorded_streams); `TcpMetric` |
//! | `opener.rs` | determination of the end that is A, and its evidence |
//! | `pairing.rs` | one-way identifiers around a flow, paired by direction |
//! | `wire_fields.rs` | identifiers, `Wire`, and `ARP` of a record |
//! | `extra_messages.rs` | DNS, DHCPv4, and VRRP messages stored with a flow |
//! | `raw_packets.rs` | raw packets stored with a flow |
//! | `details.rs` | data that few flows have: `icmp_errors.rs`, `offload.rs`, `dns_metric.rs` |
//! | `network_index.rs` | flows by their key without MAC addresses, for ICMP errors |
//! | `timer.rs` | `tick`, `replay`, `update`, `expire`, `flush`, `end` |
//! | `scan.rs` | `query`, `count_flows`, resumable scans |
//! | `export.rs` | conversion of an entry to a `Flow`; field access for filters |
//! | `entry.rs` | memory layout of a flow; slabs for rare data |
//! | `arena.rs`, `hash_index.rs`, `age_queue.rs`, `layer_paths.rs` | data structures |

mod age_queue;
mod arena;
mod batch_packets;
mod clock_steps;
mod control;
mod count;
mod details;
mod dns_metric;
mod echoes;
mod entry;
mod evict;
mod export;
mod extra_messages;
mod fragments;
mod handshake;
mod hash_index;
mod icmp_errors;
mod layer_paths;
mod network_index;
mod new_flow;
mod offload;
mod opener;
mod packet_clock;
mod pairing;
mod pending;
mod process;
mod raw_packets;
mod round_trip;
mod scan;
mod segments;
mod spans;
mod timer;
mod wire_fields;

use std::hash::{BuildHasher, Hasher};

use self::age_queue::AgeQueue;
use self::arena::{Arena, MAX_ENTRIES};
use self::clock_steps::ClockSteps;
use self::control::Control;
use self::entry::{Entry, Interval, Rare, SideNumbers, Slab};
use self::fragments::Fragments;
use self::hash_index::HashIndex;
use self::layer_paths::LayerPaths;
use self::opener::FormerEnds;
pub(crate) use self::packet_clock::PacketClock;
use self::pending::Pending;
use self::round_trip::RoundTrips;
pub use self::scan::FlowScan;
use self::spans::Holds;
use self::timer::Timers;
use super::key::HashSeed;
use super::options::FlowTableOptions;
use super::packet_filter::PacketFilter;
use super::record::Flow;
use super::recorded_streams::RecordedStreams;
use super::stats::FlowTableStats;
use super::stream_counters::StreamCounters;
use crate::decode::{Decoder, Encapsulations};
use crate::packet::{CapturePoints, PacketBatch};
use crate::time::Timestamp;

/// Table of the flows at one capture point.
///
/// A table is written by one thread. It reads no clock: packets have timestamps, and the caller
/// runs the timers ([`tick`](Self::tick)). Memory is bounded by [`FlowTableOptions::max_entries`]
/// and [`FlowTableOptions::max_bytes`]; a full table evicts the least recently used flows.
///
/// ```
/// use skylib::flow::{FlowQuery, FlowTable, FlowTableOptions};
/// use skylib::packet::{CapturePoint, LinkType, PacketBatch, PacketHeader};
/// use skylib::time::Timestamp;
///
/// // An ARP request of 02:00:00:00:0a:01.
/// let mut frame = vec![0xff; 6];
/// frame.extend([2, 0, 0, 0, 0x0a, 1, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
/// frame.resize(60, 0);
/// let headers = [PacketHeader {
///     timestamp: Timestamp::from_ms(5), offset: 0, captured_len: 60, wire_len: 60,
///     point: CapturePoint::ONLY,
/// }];
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
    /// Names of the capture points of packets.
    capture_points: CapturePoints,
    /// Index from the hash of a key to the record numbers with that key; contains the entries in
    /// use except retired ones.
    index: HashIndex,
    /// Entries by record number.
    arena: Arena,
    /// Counters of earlier intervals, by `cold.interval`.
    intervals: Slab<Interval>,
    /// Data that few flows have, by `cold.rare`.
    rare: Slab<Rare>,
    /// Interned layer paths, by `cold.path`.
    paths: LayerPaths,
    /// Age queues: the first is for applications without a timeout, each other queue for one
    /// application with a timeout. Every entry in use is in exactly one queue,
    /// `queues[cold.class]`.
    queues: Vec<AgeQueue>,
    /// Records with packets since the previous update; each has `HOT_LISTED` and occurs at most
    /// once. Empty if updates send nothing. May contain removed records.
    touched: Vec<u32>,
    /// Records ended by TCP; each has `HOT_FINISHING` and occurs at most once. May contain removed
    /// records.
    finishing: Vec<u32>,
    timers: Timers,
    /// Maximum idle time of flows.
    holds: Holds,
    /// Clock of a replayed file.
    clock: PacketClock,
    /// Steps of the system clock.
    clock_steps: ClockSteps,
    /// Whether the packets come from a file.
    is_replay: bool,
    /// Number of entries in use that are not in the index.
    retired: usize,
    /// Whether the next new flow has the same key as another flow.
    begins_paired: bool,
    /// [`SideNumbers::occurrence`](entry::SideNumbers::occurrence) of the next flow that has the key of
    /// another flow.
    next_occurrence: u32,
    /// Maximum number of flows that `max_entries`, `max_bytes`, and the number of record numbers
    /// allow; at least 1.
    limit: usize,
    /// Side numbers by record number; may be shorter than the arena.
    side_numbers: Vec<SideNumbers>,
    /// Evicted flows that have not been sent yet; at most [`evict::MAX_EVICTED`].
    evicted: Vec<Flow>,
    /// Sum of `Details::bytes` of all flows, and the size of the network index.
    details_bytes: usize,
    /// ICMP errors and joined segments of the current batch that have not been counted yet.
    error_notes: Vec<icmp_errors::ErrorNote>,
    joined_notes: Vec<offload::JoinedNote>,
    /// Minimum segment size announced by an end, if it is smaller than usual, in bytes.
    smallest_segment: u32,
    /// Index of flows by their key without MAC addresses; `None` until an ICMP error needs it.
    network_index: Option<Box<HashIndex>>,
    /// Sum of `ExtraMessage::bytes` of all flows.
    extra_message_bytes: usize,
    /// Total size of the marks and pairings of all flows, with their [`Rare`], in bytes; limited to
    /// [`side_limit`] by evictions.
    side_bytes: usize,
    /// Ends of flows that were removed because they were idle.
    former_ends: FormerEnds,
    /// Sum of `RecordedStreams::bytes` and `StreamCounters::bytes` of all flows.
    segment_bytes: usize,
    /// Sum of `Rare::request_bytes` of all flows, and its limit.
    request_bytes: usize,
    request_limit: usize,
    /// Reassembly state, if the options enable it.
    fragments: Option<Box<Fragments>>,
    /// Whether an option needs more of a packet than its headers and lengths.
    reads_payload: bool,
    /// Whether [`FlowTable::end`] was called.
    has_ended: bool,
    stats: FlowTableStats,
    /// Decoder output of the current packet.
    encapsulations: Encapsulations,
    /// Decoder output of the first packet of a new flow.
    first_encapsulations: Encapsulations,
    /// Buffer of a batch: one element for each encapsulation that a batch can have.
    pending: Vec<Pending>,
    /// TCP and ICMP fields of the elements of `pending`, by the same index; valid only for packets
    /// that need them.
    controls: Vec<Control>,
}

impl FlowTable {
    /// Returns an empty table.
    #[must_use]
    pub fn new(options: FlowTableOptions) -> Self {
        let seed = options
            .seed
            .unwrap_or_else(|| std::hash::RandomState::new().build_hasher().finish());
        let others = extra_messages::extra_messages_limit(&options)
            + details::details_limit(&options)
            + fragments::fragments_limit(&options)
            + segments::segments_limit(&options)
            + options.max_bytes.map_or(0, |_| 2 * side_limit(&options))
            + requests_limit(&options);
        let by_bytes = options.max_bytes.map_or(usize::MAX, |bytes| {
            bytes.saturating_sub(others) / Self::flow_bytes(&options)
        });
        Self {
            seed: HashSeed::new(seed),
            decoder: Decoder::new(options.decoder.clone().with_recorded(options.recorded)),
            filter: None,
            capture_points: CapturePoints::default(),
            index: HashIndex::new(),
            arena: Arena::new(),
            intervals: Slab::new(),
            rare: Slab::new(),
            paths: LayerPaths::default(),
            queues: vec![AgeQueue::new(); 1 + options.application_timeouts.len().min(MAX_TIMEOUTS)],
            touched: Vec::new(),
            finishing: Vec::new(),
            timers: Timers::new(options.update_interval, options.expiry_interval),
            holds: Holds::new(&options),
            clock: Self::packet_clock(&options),
            clock_steps: ClockSteps::default(),
            is_replay: false,
            retired: 0,
            begins_paired: false,
            next_occurrence: 0,
            limit: options.max_entries.min(by_bytes).clamp(1, MAX_ENTRIES),
            side_numbers: Vec::new(),
            evicted: Vec::new(),
            details_bytes: 0,
            error_notes: Vec::new(),
            joined_notes: Vec::new(),
            smallest_segment: u32::MAX,
            network_index: None,
            extra_message_bytes: 0,
            segment_bytes: 0,
            side_bytes: 0,
            former_ends: FormerEnds::default(),
            request_bytes: 0,
            request_limit: requests_limit(&options),
            fragments: Fragments::new(&options),
            reads_payload: options.reassemble_tcp
                || options.extra_rtt_metric
                || !options.extra_layers.is_none(),
            has_ended: false,
            stats: FlowTableStats::default(),
            encapsulations: Encapsulations::new(),
            first_encapsulations: Encapsulations::new(),
            pending: vec![Pending::NONE; BATCH * Encapsulations::CAPACITY],
            controls: vec![Control::default(); BATCH * Encapsulations::CAPACITY],
            options,
        }
    }

    /// Sets the filter: only packets that match are counted; with `None`, all packets are counted.
    ///
    /// ```
    /// use skylib::FlowTable;
    /// use skylib::capture::{BpfInstruction, BpfProgram};
    /// use skylib::flow::FlowTableOptions;
    /// use skylib::packet::LinkType;
    ///
    /// let mut table = FlowTable::new(FlowTableOptions::default());
    /// let reject = BpfInstruction::new(0x06, 0, 0, 0);
    /// let program = BpfProgram::from_instructions(vec![reject], LinkType::ETHERNET)?;
    /// table.set_filter(Some(Box::new(program)));
    /// # Ok::<(), skylib::capture::CaptureError>(())
    /// ```
    pub fn set_filter(&mut self, filter: Option<Box<dyn PacketFilter>>) {
        self.filter = filter;
    }

    /// Sets the list of the source's capture points, which provides the names of the packets'
    /// capture points.
    pub fn set_capture_points(&mut self, points: CapturePoints) {
        self.capture_points = points;
    }

    /// Counts the packets of a batch. The caller must pass the packets of one table in capture
    /// order.
    ///
    /// ```
    /// use skylib::FlowTable;
    /// use skylib::flow::FlowTableOptions;
    /// use skylib::pcap_file::PcapReader;
    /// use skylib::time::Timestamp;
    /// # use skylib::packet::{LinkType, PacketRef};
    /// # use skylib::pcap_file::{PcapWriter, Resolution};
    /// # let mut writer = PcapWriter::new(Vec::new(), LinkType::ETHERNET, Resolution::Nanoseconds)?;
    /// # let (timestamp, data) = (Timestamp::from_ms(1), &[0xff; 60]);
    /// # writer.write(&PacketRef { link_type: LinkType::ETHERNET, timestamp, data, wire_len: 60 })?;
    /// # let file = writer.into_inner();
    ///
    /// let mut table = FlowTable::new(FlowTableOptions::default());
    /// let mut reader = PcapReader::new(file.as_slice())?;
    /// while let Some(batch) = reader.next_batch()? {
    ///     table.process(&batch);
    /// }
    /// assert_eq!((table.stats().packets, table.len()), (1, 1));
    /// # Ok::<(), skylib::pcap_file::PcapFileError>(())
    /// ```
    pub fn process(&mut self, batch: &PacketBatch<'_>) {
        for headers in batch.headers.chunks(BATCH) {
            self.process_batch(&PacketBatch { headers, ..*batch });
        }
    }

    /// Records that the clock of the packet timestamps was stepped by `by_ms` milliseconds: the
    /// timestamps of the following packets are from the stepped clock. Flows continue across the
    /// step, and records contain the timestamps of the packets.
    ///
    /// The timers ([`tick`](Self::tick)) must run on a clock without steps; `at` is the time of the
    /// step on that clock. With [`FlowTableOptions::recorded`], this function does nothing.
    ///
    /// ```
    /// use skylib::FlowTable;
    /// use skylib::flow::FlowTableOptions;
    /// use skylib::time::Timestamp;
    ///
    /// let mut table = FlowTable::new(FlowTableOptions::default());
    /// table.step_clock(Timestamp::from_ms(1_600_000_000_000), 3_600_000);
    /// assert_eq!(table.stats().clock_steps, 1);
    /// ```
    pub fn step_clock(&mut self, at: Timestamp, by_ms: i64) {
        if !self.options.recorded {
            self.clock_steps.add(at, by_ms);
            self.stats.clock_steps += 1;
            self.stats.clock_step_ms = by_ms;
        }
    }

    /// Returns the number of flows.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.index.len() + self.retired
    }

    /// Returns whether the table has no flow.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the options of the table.
    #[must_use]
    pub const fn options(&self) -> &FlowTableOptions {
        &self.options
    }

    /// Returns the counters since the creation of the table, and its current size.
    #[must_use]
    pub fn stats(&self) -> FlowTableStats {
        let lists = self.touched.capacity() + self.finishing.capacity();
        let bytes = self.arena.bytes()
            + self.index.bytes()
            + self.intervals.bytes()
            + self.rare.bytes()
            + self.extra_message_bytes
            + self.details_bytes
            + self.segment_bytes
            + self.side_bytes
            + self.former_ends.bytes()
            + self.clock_steps.bytes()
            + self.request_bytes
            + self
                .fragments
                .as_ref()
                .map_or(0, |fragments| fragments.bytes())
            + lists * size_of::<u32>()
            + self.side_numbers.capacity() * size_of::<SideNumbers>();
        let mut stats = FlowTableStats {
            flows: self.len(),
            bytes,
            ..self.stats
        };
        self.clock.count(&mut stats);
        stats
    }

    /// Returns whether the options give every flow a [`Rare`], not just a few.
    const fn needs_rare(options: &FlowTableOptions) -> bool {
        options.extra_tcp_metric
            || options.extra_rtt_metric
            || options.reassemble_tcp
            || options.ip_defrag
            || options.raw_packet_limit > 0
            || !options.extra_layers.is_none()
    }

    /// Returns the maximum size of a flow, in bytes: its entry, its share of the index and the
    /// lists, its counters of earlier intervals, and the data that the options add.
    const fn flow_bytes(options: &FlowTableOptions) -> usize {
        let entry = size_of::<Entry>() + size_of::<Interval>();
        let index = 4 * size_of::<u64>();
        // Touched, finishing, free slots of both slabs, and the side numbers; the capacity of a
        // list may be twice its length.
        let lists = 2 * (4 * size_of::<u32>() + size_of::<SideNumbers>());
        let rare = if Self::needs_rare(options) {
            size_of::<Rare>()
        } else {
            0
        };
        let raw = options.raw_packet_limit as usize * RAW_PACKET_BYTES;
        let streams = match options.reassemble_tcp {
            true if options.recorded => size_of::<RecordedStreams>(),
            true => size_of::<StreamCounters>(),
            false => 0,
        };
        let round_trips = if options.reassemble_tcp || options.extra_rtt_metric {
            size_of::<RoundTrips>()
        } else {
            0
        };
        entry + index + lists + rare + raw + streams + round_trips
    }
}

impl std::fmt::Debug for FlowTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowTable")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Returns the maximum size of marks and pairings, in bytes: a sixteenth of
/// [`FlowTableOptions::max_bytes`], unlimited if that is not set.
fn side_limit(options: &FlowTableOptions) -> usize {
    options.max_bytes.map_or(usize::MAX, |bytes| bytes / 16)
}

/// Returns the byte budget for requests outside their entries: a sixteenth of
/// [`FlowTableOptions::max_bytes`], at most 16 MiB.
fn requests_limit(options: &FlowTableOptions) -> usize {
    match options.max_bytes {
        _ if options.recorded => 0,
        Some(bytes) => (bytes / 16).min(MAX_REQUEST_BYTES),
        None => MAX_REQUEST_BYTES,
    }
}

/// Maximum byte budget for requests outside their entries.
const MAX_REQUEST_BYTES: usize = 16 << 20;
/// Number of packets decoded before the first is counted. The prefetched memory has then arrived.
const BATCH: usize = 32;
/// Maximum number of applications with a timeout; further applications have no timeout.
const MAX_TIMEOUTS: usize = 255;
/// Assumed size of a raw packet, in bytes: the default snap length and its record.
const RAW_PACKET_BYTES: usize = 256 + 64;

#[cfg(test)]
mod tests;
