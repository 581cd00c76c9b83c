//! Several threads that count flows, each with a table of its own.
//!
//! All packets between two addresses go to one shard, so every flow is in one table, together with
//! the flow around it and the flows within. The reader keeps the time: all tables run their timers
//! at the same packets as a single one would.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::feed;
use super::flows::{EncodedFlows, ReplayedFlows};
use crate::capture::{CaptureError, PacketSource};
use crate::decode::{Decoder, Parts};
use crate::flow::{Flow, FlowSink, FlowTable, FlowTableOptions, FlowTableStats};
use crate::packet::{LinkType, PacketBatch, PacketHeader, PacketRef};
use crate::time::Timestamp;

/// Counts on threads; flows go to the sink from all of them.
pub(super) fn run(
    tables: &[FlowTableOptions],
    source: &mut dyn PacketSource,
    sink: &mut (dyn FlowSink + Send),
    each: &mut dyn FnMut() -> ControlFlow<()>,
) -> (FlowTableStats, Result<(), CaptureError>) {
    let sink = Mutex::new(sink);
    let (shards, end) = count(tables, source, each, |table, work| {
        let mut sink = SharedSink(&sink);
        let latest = follow(table, work, &mut sink);
        table.flush(latest, &mut sink);
        table.stats()
    });
    let mut stats = FlowTableStats::default();
    for shard in shards {
        stats += shard;
    }
    (stats, end)
}

/// Counts on threads and keeps the tables.
pub(super) fn collect(
    tables: &[FlowTableOptions],
    source: &mut dyn PacketSource,
    each: &mut dyn FnMut() -> ControlFlow<()>,
) -> (ReplayedFlows, Result<(), CaptureError>) {
    let tables: Vec<_> = tables
        .iter()
        .map(|options| options.clone().with_leaving_only(true))
        .collect();
    let (shards, end) = count(&tables, source, each, |table, work| {
        let mut left = EncodedFlows::default();
        follow(table, work, &mut left);
        table.end(&mut left);
        let ended = FlowTable::new(FlowTableOptions::default());
        (left, std::mem::replace(table, ended))
    });
    (ReplayedFlows::new(shards), end)
}

/// Starts a thread for each table and hands the packets out; what each thread gives comes back.
fn count<T: Send>(
    tables: &[FlowTableOptions],
    source: &mut dyn PacketSource,
    each: &mut dyn FnMut() -> ControlFlow<()>,
    work: impl Fn(&mut FlowTable, Receiver<Work>) -> T + Sync,
) -> (Vec<T>, Result<(), CaptureError>) {
    thread::scope(|scope| {
        let mut queues = Vec::new();
        let mut threads = Vec::new();
        for options in tables {
            let (queue, receiver) = bounded(QUEUE);
            queues.push(queue);
            let work = &work;
            threads.push(scope.spawn(move || work(&mut FlowTable::new(options.clone()), receiver)));
        }
        let end = match tables.first() {
            Some(options) => {
                let mut reader = Reader::new(options, queues);
                feed(source, each, &mut |batch| reader.hand_out(batch))
            }
            None => Ok(()),
        };
        let join = |thread: ScopedJoinHandle<'_, T>| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        (threads.into_iter().map(join).collect(), end)
    })
}

/// Does what the reader says until there is no more; tells the time of the latest packet.
fn follow(table: &mut FlowTable, work: Receiver<Work>, sink: &mut dyn FlowSink) -> Timestamp {
    let mut latest = Timestamp::ZERO;
    for work in work {
        match work {
            Work::Tick(now) => table.tick(now, sink),
            Work::Packets {
                link_type,
                buffer,
                headers,
            } => {
                latest = headers.last().map_or(latest, |header| header.timestamp);
                table.replay(
                    &PacketBatch {
                        link_type,
                        buffer: &buffer,
                        headers: &headers,
                    },
                    sink,
                );
            }
        }
    }
    latest
}

enum Work {
    /// A timer is due.
    Tick(Timestamp),
    /// Packets of this shard, in a buffer that all shards share.
    Packets {
        link_type: LinkType,
        buffer: Arc<Vec<u8>>,
        headers: Vec<PacketHeader>,
    },
}

/// Hands packets out to the shards.
struct Reader {
    queues: Vec<Sender<Work>>,
    headers: Vec<Vec<PacketHeader>>,
    buffers: Vec<Arc<Vec<u8>>>,
    /// A table without packets: it tells when timers are due.
    clock: FlowTable,
    decoder: Decoder,
    parts: Parts,
}

impl Reader {
    fn new(options: &FlowTableOptions, queues: Vec<Sender<Work>>) -> Self {
        Self {
            headers: vec![Vec::new(); queues.len()],
            queues,
            buffers: Vec::new(),
            clock: FlowTable::new(options.clone()),
            decoder: Decoder::new(options.decoder.clone()),
            parts: Parts::new(),
        }
    }

    fn hand_out(&mut self, batch: &PacketBatch<'_>) {
        let (buffer, start) = self.copy(batch);
        for header in batch.headers {
            if self.clock.due().is_none_or(|due| due <= header.timestamp) {
                self.send(batch.link_type, &buffer);
                self.tick(header.timestamp);
            }
            let shard = self.shard(header.packet(batch.buffer, batch.link_type));
            let moved = PacketHeader {
                offset: header.offset.saturating_sub(start),
                ..*header
            };
            self.headers[shard].push(moved);
        }
        self.send(batch.link_type, &buffer);
        self.buffers.push(buffer);
    }

    /// The bytes of a batch in a buffer of our own, and where they started.
    fn copy(&mut self, batch: &PacketBatch<'_>) -> (Arc<Vec<u8>>, u32) {
        let ends = batch
            .headers
            .iter()
            .map(|header| (header.offset, header.captured_len));
        let start = ends
            .clone()
            .map(|(offset, _)| offset)
            .min()
            .unwrap_or_default();
        let end = ends
            .map(|(offset, len)| offset.saturating_add(len))
            .max()
            .unwrap_or_default();
        let bytes = batch
            .buffer
            .get(start as usize..end as usize)
            .unwrap_or_default();
        let unused = self
            .buffers
            .iter_mut()
            .position(|buffer| Arc::get_mut(buffer).is_some());
        let mut buffer = unused
            .map(|index| self.buffers.swap_remove(index))
            .unwrap_or_default();
        if let Some(buffer) = Arc::get_mut(&mut buffer) {
            buffer.clear();
            buffer.extend_from_slice(bytes);
        }
        (buffer, start)
    }

    fn send(&mut self, link_type: LinkType, buffer: &Arc<Vec<u8>>) {
        for (queue, headers) in self.queues.iter().zip(&mut self.headers) {
            if !headers.is_empty() {
                let room = Vec::with_capacity(headers.len());
                let headers = std::mem::replace(headers, room);
                let buffer = Arc::clone(buffer);
                // A thread that is gone has panicked, which is told when it is joined.
                queue
                    .send(Work::Packets {
                        link_type,
                        buffer,
                        headers,
                    })
                    .ok();
            }
        }
    }

    fn tick(&mut self, now: Timestamp) {
        self.clock.tick(now, &mut Nowhere);
        for queue in &self.queues {
            queue.send(Work::Tick(now)).ok();
        }
    }

    /// Which shard counts a packet: the same for all packets of a flow and of those around it.
    fn shard(&mut self, packet: PacketRef<'_>) -> usize {
        let ends = match plain_ends(&packet) {
            Some(ends) => ends,
            None => self.decoded_ends(packet),
        };
        // The upper half of the product spreads over the shards.
        let mixed = ends.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (mixed as usize * self.queues.len()) >> 32
    }

    /// What is the same in both directions of a flow, for any packet.
    #[cold]
    fn decoded_ends(&mut self, packet: PacketRef<'_>) -> u64 {
        // Packets decoded in part make flows of that part.
        self.decoder.decode(packet, &mut self.parts).ok();
        if let Some((source, destination)) = self.parts.key_network(0) {
            return unordered(source.as_bytes(), destination.as_bytes());
        }
        let link = self.parts.first().and_then(|part| part.link);
        link.map_or(0, |link| unordered(&link.source, &link.destination))
    }
}

/// The same for IP in Ethernet with whole headers, VLAN tags or not, without decoding it all.
fn plain_ends(packet: &PacketRef<'_>) -> Option<u64> {
    if packet.link_type != LinkType::ETHERNET {
        return None;
    }
    let mut rest = packet.data.get(12..)?;
    for _ in 0..3 {
        let (kind, inside) = rest.split_first_chunk::<2>()?;
        match *kind {
            [0x81, 0x00] | [0x88, 0xa8] => rest = inside.get(2..)?,
            [0x08, 0x00] => {
                let header: &[u8; 20] = inside.first_chunk()?;
                let header_len = usize::from(header[0] & 0xf) * 4;
                let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
                let is_whole = header[0] >> 4 == 4
                    && (20..=inside.len()).contains(&header_len)
                    && total_len >= header_len;
                return is_whole.then(|| unordered(&header[12..16], &header[16..20]));
            }
            [0x86, 0xdd] => {
                let header: &[u8; 40] = inside.first_chunk()?;
                let is_whole = header[0] >> 4 == 6;
                return is_whole.then(|| unordered(&header[8..24], &header[24..40]));
            }
            _ => return None,
        }
    }
    None
}

/// A number of two addresses that does not tell which is which.
fn unordered(a: &[u8], b: &[u8]) -> u64 {
    let number = |bytes: &[u8]| {
        let (words, rest) = bytes.as_chunks::<4>();
        let word = |word: &[u8; 4]| u64::from(u32::from_be_bytes(*word));
        let folded = words
            .iter()
            .map(word)
            .fold(0_u64, |sum, word| (sum << 7) ^ sum ^ word);
        rest.iter()
            .fold(folded, |sum, byte| (sum << 8) ^ u64::from(*byte))
    };
    let (a, b) = (number(a), number(b));
    (a ^ b).wrapping_add(a.wrapping_mul(b))
}

/// One sink for many threads.
struct SharedSink<'a, 'b>(&'a Mutex<&'b mut (dyn FlowSink + Send)>);

impl FlowSink for SharedSink<'_, '_> {
    fn flows(&mut self, flows: Vec<Flow>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .flows(flows);
    }
}

/// What a table without packets sends.
struct Nowhere;

impl FlowSink for Nowhere {
    fn flows(&mut self, _: Vec<Flow>) {}
}

/// Batches that may wait for one shard.
const QUEUE: usize = 8;
