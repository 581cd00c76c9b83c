//! Where threads find work: whoever sees that it runs short reads on, for all of them.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::WAIT;
use super::steering::Steering;
use crate::capture::{Batch, CaptureError, PacketSource};
use crate::flow::{Flow, FlowSink, FlowTable, FlowTableOptions};
use crate::packet::{LinkType, PacketHeader};
use crate::time::Timestamp;

/// What a shard is to do next.
pub(super) enum Work {
    /// A timer is due.
    Tick(Timestamp),
    /// Packets of this shard, in a buffer that all shards share.
    Packets {
        link_type: LinkType,
        buffer: Arc<[u8]>,
        headers: Vec<PacketHeader>,
    },
}

/// The work of all shards, each in its order.
pub(super) struct Desk<'s> {
    state: Mutex<State<'s>>,
    changed: Condvar,
}

struct State<'s> {
    queues: Vec<VecDeque<Work>>,
    /// Not there while a thread reads.
    reader: Option<Reader<'s>>,
    /// Nothing more is read.
    has_ended: bool,
    /// A thread is gone: nothing more is done.
    is_abandoned: bool,
    /// How reading failed.
    error: Option<CaptureError>,
}

impl<'s> Desk<'s> {
    /// For this many shards with tables of these options.
    pub(super) fn new(
        source: &'s mut dyn PacketSource,
        options: &FlowTableOptions,
        shards: usize,
    ) -> Self {
        let state = State {
            queues: (0..shards).map(|_| VecDeque::new()).collect(),
            reader: Some(Reader::new(source, options, shards)),
            has_ended: false,
            is_abandoned: false,
            error: None,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// The next work of a shard; none when all is done. `each` is called now and then and can end
    /// the reading.
    pub(super) fn next(
        &self,
        shard: usize,
        each: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Option<Work> {
        let mut state = self.lock();
        while !state.is_abandoned {
            let mut lengths = state.queues.iter().map(VecDeque::len);
            let runs_short = lengths.clone().any(|len| len < ENOUGH);
            let has_room = lengths.all(|len| len < MOST);
            if !state.has_ended
                && runs_short
                && has_room
                && let Some(mut reader) = state.reader.take()
            {
                drop(state);
                let outcome = reader.read();
                let stops = each().is_break();
                state = self.lock();
                state.take_over(reader, outcome, stops);
                self.changed.notify_all();
            } else if let Some(work) = state.queues.get_mut(shard)?.pop_front() {
                // Somebody may wait for room.
                if !has_room {
                    self.changed.notify_all();
                }
                return Some(work);
            } else if state.has_ended && state.reader.is_some() {
                return None;
            } else {
                let woken = self.changed.wait_timeout(state, WAIT);
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
                if each().is_break() {
                    state.has_ended = true;
                }
            }
        }
        None
    }

    /// Ends all work, as a thread has panicked.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.is_abandoned = true;
        self.changed.notify_all();
    }

    /// How reading ended.
    pub(super) fn end(self) -> Result<(), CaptureError> {
        let state = self.state.into_inner();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state.error.map_or(Ok(()), Err)
    }

    fn lock(&self) -> MutexGuard<'_, State<'s>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'s> State<'s> {
    /// Takes what was read.
    fn take_over(
        &mut self,
        mut reader: Reader<'s>,
        outcome: Result<ControlFlow<()>, CaptureError>,
        stops: bool,
    ) {
        for (queue, work) in self.queues.iter_mut().zip(&mut reader.work) {
            queue.extend(work.drain(..));
        }
        self.reader = Some(reader);
        match outcome {
            Ok(ControlFlow::Continue(())) => self.has_ended |= stops,
            Ok(ControlFlow::Break(())) => self.has_ended = true,
            Err(error) => {
                self.has_ended = true;
                self.error = Some(error);
            }
        }
    }
}

/// Reads, and hands packets out. It keeps the time: all tables run their timers at the same packets
/// as a single one would.
struct Reader<'s> {
    source: &'s mut dyn PacketSource,
    steering: Steering,
    /// A table without packets: it tells when timers are due.
    clock: FlowTable,
    /// The packets of one batch, each with its shard.
    steered: Vec<(PacketHeader, usize)>,
    /// Packets of each shard since they were last made work.
    headers: Vec<Vec<PacketHeader>>,
    /// What was read for each shard.
    work: Vec<Vec<Work>>,
}

impl<'s> Reader<'s> {
    fn new(source: &'s mut dyn PacketSource, options: &FlowTableOptions, shards: usize) -> Self {
        Self {
            source,
            steering: Steering::new(options.decoder.clone(), shards),
            clock: FlowTable::new(options.clone()),
            steered: Vec::new(),
            headers: vec![Vec::new(); shards],
            work: (0..shards).map(|_| Vec::new()).collect(),
        }
    }

    /// Reads one batch; breaks at the end.
    fn read(&mut self) -> Result<ControlFlow<()>, CaptureError> {
        let is_shared = self.source.shared_buffer().is_some();
        let (link_type, copy) = match self.source.next_batch(WAIT)? {
            Batch::Packets(batch) => {
                for header in batch.headers {
                    let packet = header.packet(batch.buffer, batch.link_type);
                    self.steered.push((*header, self.steering.shard(packet)));
                }
                let copy = (!is_shared).then(|| Arc::from(batch.buffer));
                (batch.link_type, copy)
            }
            Batch::Timeout => return Ok(ControlFlow::Continue(())),
            Batch::End => return Ok(ControlFlow::Break(())),
        };
        if let Some(buffer) = copy.or_else(|| self.source.shared_buffer()) {
            self.hand_out(link_type, &buffer);
        }
        Ok(ControlFlow::Continue(()))
    }

    fn hand_out(&mut self, link_type: LinkType, buffer: &Arc<[u8]>) {
        let mut steered = std::mem::take(&mut self.steered);
        for (header, shard) in steered.drain(..) {
            let now = header.timestamp;
            if self.clock.due().is_none_or(|due| due <= now) {
                self.make_work(link_type, buffer);
                self.clock.tick(now, &mut Nowhere);
                for work in &mut self.work {
                    work.push(Work::Tick(now));
                }
            }
            if let Some(headers) = self.headers.get_mut(shard) {
                headers.push(header);
            }
        }
        self.steered = steered;
        self.make_work(link_type, buffer);
    }

    fn make_work(&mut self, link_type: LinkType, buffer: &Arc<[u8]>) {
        for (work, headers) in self.work.iter_mut().zip(&mut self.headers) {
            if !headers.is_empty() {
                let room = Vec::with_capacity(headers.len());
                work.push(Work::Packets {
                    link_type,
                    buffer: Arc::clone(buffer),
                    headers: std::mem::replace(headers, room),
                });
            }
        }
    }
}

/// What a table without packets sends.
struct Nowhere;

impl FlowSink for Nowhere {
    fn flows(&mut self, _: Vec<Flow>) {}
}

/// With less work than this for any shard, more is read.
const ENOUGH: usize = 4;
/// With as much work as this for one shard, nothing is read.
const MOST: usize = 16;
