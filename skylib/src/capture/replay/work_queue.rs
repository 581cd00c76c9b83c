//! Bounded multi-queue with work-driven reading: one FIFO of batches per shard, and a single reader
//! that is used by the first thread that finds a short queue.
//!
//! There is no dedicated dispatcher thread. A thread that needs work reads the next batch for all
//! shards if any queue is shorter than [`LOW_WATER`] and none has reached [`HIGH_WATER`]. The
//! reader thus moves between threads like a token, and no core idles while another one reads ahead.
//! Cost: one lock and at most one wake-up per batch and shard, not per packet. Memory: at most
//! [`HIGH_WATER`] batches per shard, which share their buffers. A thread that finds its queue empty
//! while another thread reads waits on a condition variable. The wait has a timeout, so that
//! `proceed` is called regularly.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::WAIT;
use super::filter::ReplayFilter;
use super::steering::Steering;
use crate::capture::{Batch, CaptureError, PacketSource};
use crate::flow::{Flow, FlowSink, FlowTable, FlowTableOptions, FlowTableStats, PacketClock};
use crate::packet::{LinkType, PacketBatch, PacketHeader};
use crate::time::Timestamp;

/// Share of one shard in a batch: its packets in a buffer that all shards share.
pub(super) struct Work {
    link_type: LinkType,
    buffer: Arc<[u8]>,
    items: WorkItems,
}

/// Packet headers of a shard, and the ticks between them.
///
/// Invariant: the packet counts in `ticks` are in ascending order and at most `headers.len()`.
#[derive(Default)]
struct WorkItems {
    headers: Vec<PacketHeader>,
    /// Times at which timers are due, each with the number of packets before the tick.
    ticks: Vec<(usize, Timestamp)>,
}

impl WorkItems {
    /// Empties the lists, so that their memory is reused.
    fn emptied(mut self) -> Self {
        self.headers.clear();
        self.ticks.clear();
        self
    }
}

impl Work {
    /// Returns all packets in order, in runs; each run except the last is followed by a tick.
    pub(super) fn steps(&self) -> impl Iterator<Item = (PacketBatch<'_>, Option<Timestamp>)> {
        let WorkItems { headers, ticks } = &self.items;
        let ticks = ticks.iter().map(|(end, now)| (*end, Some(*now)));
        let stops = ticks.chain(std::iter::once((headers.len(), None)));
        let mut start = 0;
        stops.map(move |(end, now)| {
            let headers = headers.get(start..end).unwrap_or_default();
            start = end;
            let batch = PacketBatch {
                link_type: self.link_type,
                buffer: &self.buffer,
                headers,
            };
            (batch, now)
        })
    }
}

/// Work of all shards, each in packet order, and the reader that produces the work.
pub(super) struct WorkQueue<'s> {
    state: Mutex<QueueState<'s>>,
    /// Notified when work is added, when space becomes available, or when reading ends.
    changed: Condvar,
}

struct QueueState<'s> {
    /// One queue per shard; `len <= HIGH_WATER`. All queues receive each batch, so that their
    /// lengths differ only because of the work that threads have taken.
    queues: Vec<VecDeque<Work>>,
    /// Emptied lists of finished work, for reuse.
    spare: Vec<WorkItems>,
    /// Reader of the source; `None` while a thread uses it, so that only one thread reads.
    reader: Option<Reader<'s>>,
    /// Whether reading has ended: end of the source, error, or interruption. Never reset.
    has_ended: bool,
    /// Whether a thread panicked or could not be started, so that the remaining work is dropped.
    /// Never reset.
    is_abandoned: bool,
    /// Error that ended reading.
    error: Option<CaptureError>,
}

impl<'s> WorkQueue<'s> {
    /// Creates the queues of `shards` shards over a source. `options` are the options of the
    /// shards' tables.
    pub(super) fn new(
        source: &'s mut dyn PacketSource,
        filter: Option<ReplayFilter>,
        options: &FlowTableOptions,
        shards: usize,
    ) -> Self {
        let state = QueueState {
            queues: (0..shards).map(|_| VecDeque::new()).collect(),
            spare: Vec::new(),
            reader: Some(Reader::new(source, filter, options, shards)),
            has_ended: false,
            is_abandoned: false,
            error: None,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Returns the next work of a shard that has finished `done`; `None` if no work is left.
    ///
    /// Calls `proceed` after each finished work, read, and wait, until it returns `false`, which
    /// ends reading.
    pub(super) fn next(
        &self,
        shard: usize,
        done: Option<Work>,
        proceed: &mut dyn FnMut() -> bool,
    ) -> Option<Work> {
        if let Some(work) = done {
            self.recycle(work);
            self.check_proceed(proceed);
        }
        loop {
            let mut state = self.lock();
            if state.is_abandoned {
                return None;
            }
            let mut lengths = state.queues.iter().map(VecDeque::len);
            let runs_short = lengths.clone().any(|len| len < LOW_WATER);
            // The slowest shard limits reading, so that queues remain bounded.
            let has_room = lengths.all(|len| len < HIGH_WATER);
            if !state.has_ended
                && runs_short
                && has_room
                && let Some(mut reader) = state.reader.take()
            {
                // Read without the lock: other shards can take work in the meantime.
                drop(state);
                let outcome = reader.read();
                self.lock().accept(reader, outcome);
                self.changed.notify_all();
            } else if let Some(work) = state.queues.get_mut(shard)?.pop_front() {
                // Another thread may be waiting for space in this queue.
                if !has_room {
                    self.changed.notify_all();
                }
                return Some(work);
            } else if state.has_ended && state.reader.is_some() {
                // Without a read in progress, no work can follow.
                return None;
            } else {
                drop(self.changed.wait_timeout(state, WAIT));
            }
            self.check_proceed(proceed);
        }
    }

    /// Stores the emptied lists of finished work.
    fn recycle(&self, work: Work) {
        let items = work.items.emptied();
        self.lock().spare.push(items);
    }

    /// Ends reading if `proceed` returns `false`. Calls it without holding the lock.
    fn check_proceed(&self, proceed: &mut dyn FnMut() -> bool) {
        if !self.lock().has_ended && !proceed() {
            self.lock().has_ended = true;
            self.changed.notify_all();
        }
    }

    /// Ends all work because a thread panicked or could not be started.
    pub(super) fn abandon(&self, error: Option<CaptureError>) {
        let mut state = self.lock();
        state.is_abandoned = true;
        state.error = error.or(state.error.take());
        self.changed.notify_all();
    }

    /// Adds the counters of packet timestamps to `stats`. Returns the error that ended reading;
    /// `None` if there was none.
    pub(super) fn end(self, stats: &mut FlowTableStats) -> Result<(), CaptureError> {
        let state = self.state.into_inner();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = &state.reader {
            reader.packet_clock.count(stats);
        }
        state.error.map_or(Ok(()), Err)
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<'s>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'s> QueueState<'s> {
    /// Adds the batch just read to all queues and makes the reader available again.
    fn accept(&mut self, mut reader: Reader<'s>, outcome: Result<ControlFlow<()>, CaptureError>) {
        if let Some((link_type, buffer)) = reader.latest.take() {
            for (queue, items) in self.queues.iter_mut().zip(&mut reader.items) {
                let empty = self.spare.pop().unwrap_or_default();
                queue.push_back(Work {
                    link_type,
                    buffer: Arc::clone(&buffer),
                    items: std::mem::replace(items, empty),
                });
            }
        }
        self.reader = Some(reader);
        match outcome {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => self.has_ended = true,
            Err(error) => {
                self.has_ended = true;
                self.error = Some(error);
            }
        }
    }
}

/// Only reader of the source. It assigns packets to shards and schedules ticks, so that all tables
/// run their timers at the same packets as a single table.
struct Reader<'s> {
    source: &'s mut dyn PacketSource,
    /// Filter of the tables; verified here, so that an invalid filter ends reading.
    filter: Option<ReplayFilter>,
    steering: Steering,
    /// Table without packets, which determines when timers are due.
    clock: FlowTable,
    /// Clock of the packets.
    packet_clock: PacketClock,
    /// Link type and buffer of the latest batch; `None` once it is queued.
    latest: Option<(LinkType, Arc<[u8]>)>,
    /// Share of each shard in the latest batch; empty while `latest` is `None`.
    items: Vec<WorkItems>,
}

impl<'s> Reader<'s> {
    fn new(
        source: &'s mut dyn PacketSource,
        filter: Option<ReplayFilter>,
        options: &FlowTableOptions,
        shards: usize,
    ) -> Self {
        Self {
            source,
            filter,
            steering: Steering::new(
                options.decoder.clone().with_recorded(options.recorded),
                shards,
            ),
            clock: FlowTable::new(options.clone()),
            packet_clock: FlowTable::packet_clock(options),
            latest: None,
            items: (0..shards).map(|_| WorkItems::default()).collect(),
        }
    }

    /// Reads one batch, if there is one within [`WAIT`]. Returns `Break` at the end of the source.
    fn read(&mut self) -> Result<ControlFlow<()>, CaptureError> {
        let is_shared = self.source.shared_buffer().is_some();
        let (link_type, copy) = match self.source.next_batch(WAIT)? {
            Batch::Packets(batch) => {
                if let Some(filter) = &mut self.filter {
                    filter.check(batch.link_type)?;
                }
                for header in batch.headers {
                    let (now, due) = (header.timestamp, self.clock.due());
                    let mut tick = self.packet_clock.advance(now, due);
                    // With `recorded`, each packet moves the clock, before it is counted.
                    if self.clock.options().recorded {
                        tick = None;
                        if due.is_none_or(|due| due <= now) {
                            tick_all(&mut self.clock, &mut self.items, now);
                        }
                    }
                    let packet = header.packet(batch.buffer, batch.link_type);
                    if let Some(items) = self.items.get_mut(self.steering.shard(packet)) {
                        items.headers.push(*header);
                    }
                    if let Some(now) = tick {
                        tick_all(&mut self.clock, &mut self.items, now);
                    }
                }
                // A source that cannot share its buffer reuses it for the next batch.
                (
                    batch.link_type,
                    (!is_shared).then(|| Arc::from(batch.buffer)),
                )
            }
            Batch::Timeout => return Ok(ControlFlow::Continue(())),
            Batch::End => return Ok(ControlFlow::Break(())),
        };
        let buffer = copy.or_else(|| self.source.shared_buffer());
        self.latest = buffer.map(|buffer| (link_type, buffer));
        Ok(ControlFlow::Continue(()))
    }
}

/// Schedules a tick after the packets that the shards have so far.
fn tick_all(clock: &mut FlowTable, shards: &mut [WorkItems], now: Timestamp) {
    clock.tick(now, &mut NullSink);
    for items in shards {
        items.ticks.push((items.headers.len(), now));
    }
}

/// Sink for a table that never has flows.
struct NullSink;

impl FlowSink for NullSink {
    fn flows(&mut self, _: Vec<Flow>) {}
}

/// Queue length of any shard below which the next batch is read.
const LOW_WATER: usize = 3;
/// Queue length of any shard at which reading pauses.
const HIGH_WATER: usize = 6;
