//! A bounded multi-queue with work-driven reading: one FIFO of batches per shard, and a single
//! reader that is lent to the thread that first notices a short queue.
//!
//! There is no dedicated dispatcher thread. A thread that asks for work reads the next batch for
//! all shards if any queue is shorter than [`LOW_WATER`] and none has reached [`HIGH_WATER`]; so
//! the reader, like a token, moves between threads and no core idles while another reads ahead.
//! Cost: one lock and at most one wake-up per batch and shard, not per packet. Memory: at most
//! [`HIGH_WATER`] batches per shard, which share their buffers. A thread that finds its queue empty
//! while another thread reads waits on a condition variable, with a timeout so that `proceed` is
//! called regularly.

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

/// One shard's share of a batch: its packets in a buffer that all shards share.
pub(super) struct Work {
    link_type: LinkType,
    buffer: Arc<[u8]>,
    items: WorkItems,
}

/// A shard's packet headers and the ticks between them.
///
/// Invariant: the packet counts in `ticks` ascend and are at most `headers.len()`.
#[derive(Default)]
struct WorkItems {
    headers: Vec<PacketHeader>,
    /// Times at which timers are due, each with the number of packets before it.
    ticks: Vec<(usize, Timestamp)>,
}

impl WorkItems {
    /// Returns the emptied lists, so that their memory is reused.
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

/// The work of all shards, each in packet order, and the reader that produces it.
pub(super) struct WorkQueue<'s> {
    state: Mutex<QueueState<'s>>,
    /// Notified when work was added, room was made, or reading ended.
    changed: Condvar,
}

struct QueueState<'s> {
    /// One queue per shard. All queues receive each batch, so their lengths differ only by what
    /// their threads have taken: `len <= HIGH_WATER`.
    queues: Vec<VecDeque<Work>>,
    /// Emptied lists of finished work, for reuse.
    spare: Vec<WorkItems>,
    /// `None` while a thread reads; at most one thread reads at a time.
    reader: Option<Reader<'s>>,
    /// Whether nothing more is read. Never reset.
    has_ended: bool,
    /// Whether a thread is missing, so that remaining work is dropped. Never reset.
    is_abandoned: bool,
    /// Error that ended the reading.
    error: Option<CaptureError>,
}

impl<'s> WorkQueue<'s> {
    /// Creates the queues of `shards` shards over a source. `options` are those of the shards'
    /// tables.
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

    /// Returns the next work of a shard that has finished `done`; `None` when there is no more.
    ///
    /// Calls `proceed` after each finished work, read, and wait, until it returns `false` and so
    /// ends the reading.
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
            // The slowest shard limits the reading, so that queues stay bounded.
            let has_room = lengths.all(|len| len < HIGH_WATER);
            if !state.has_ended
                && runs_short
                && has_room
                && let Some(mut reader) = state.reader.take()
            {
                // Read without the lock: other shards take work meanwhile.
                drop(state);
                let outcome = reader.read();
                self.lock().accept(reader, outcome);
                self.changed.notify_all();
            } else if let Some(work) = state.queues.get_mut(shard)?.pop_front() {
                // Another thread may be waiting for this queue to have room.
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

    /// Ends the reading if `proceed` returns `false`. Calls it without holding the lock.
    fn check_proceed(&self, proceed: &mut dyn FnMut() -> bool) {
        if !self.lock().has_ended && !proceed() {
            self.lock().has_ended = true;
            self.changed.notify_all();
        }
    }

    /// Ends all work because a thread is missing.
    pub(super) fn abandon(&self, error: Option<CaptureError>) {
        let mut state = self.lock();
        state.is_abandoned = true;
        state.error = error.or(state.error.take());
        self.changed.notify_all();
    }

    /// Returns the error that ended the reading, if there was one, and adds the counters of the
    /// packets' times to `stats`.
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

/// The only reader of the source. It assigns packets to shards and schedules ticks, so that all
/// tables run their timers at the same packets as a single table would.
struct Reader<'s> {
    source: &'s mut dyn PacketSource,
    /// Filter of the tables; verified here, so that an invalid one ends the reading.
    filter: Option<ReplayFilter>,
    steering: Steering,
    /// A table without packets, which knows when timers are due.
    clock: FlowTable,
    /// Clock of the packets.
    packet_clock: PacketClock,
    /// Link type and buffer of the latest batch; `None` once it is queued.
    latest: Option<(LinkType, Arc<[u8]>)>,
    /// Each shard's share of the latest batch; empty while `latest` is `None`.
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

    /// Reads one batch, if there is one within [`WAIT`]. Breaks at the end of the source.
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

/// Schedules a tick behind the packets that all shards have so far.
fn tick_all(clock: &mut FlowTable, shards: &mut [WorkItems], now: Timestamp) {
    clock.tick(now, &mut NullSink);
    for items in shards {
        items.ticks.push((items.headers.len(), now));
    }
}

/// A sink for a table that never has flows.
struct NullSink;

impl FlowSink for NullSink {
    fn flows(&mut self, _: Vec<Flow>) {}
}

/// Queue length of any shard below which the next batch is read.
const LOW_WATER: usize = 3;
/// Queue length of any shard at which nothing more is read.
const HIGH_WATER: usize = 6;
