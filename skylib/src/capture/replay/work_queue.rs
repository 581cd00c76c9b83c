//! Where threads find work: whoever sees that it runs short reads on, for all of them.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::WAIT;
use super::steering::Steering;
use crate::capture::{Batch, CaptureError, PacketSource};
use crate::flow::{Flow, FlowSink, FlowTable, FlowTableOptions};
use crate::packet::{LinkType, PacketBatch, PacketHeader};
use crate::time::Timestamp;

/// What a shard is to do next: its packets of a buffer that all shards share.
pub(super) struct Work {
    link_type: LinkType,
    buffer: Arc<[u8]>,
    todo: Todo,
}

/// A shard's packets, and the times that timers are due at, each with the number of packets before.
#[derive(Default)]
struct Todo {
    headers: Vec<PacketHeader>,
    ticks: Vec<(usize, Timestamp)>,
}

impl Todo {
    /// The lists, to be filled again.
    fn emptied(mut self) -> Self {
        self.headers.clear();
        self.ticks.clear();
        self
    }
}

impl Work {
    /// All packets in their order; after each batch but the last comes a time to tick.
    pub(super) fn steps(&self) -> impl Iterator<Item = (PacketBatch<'_>, Option<Timestamp>)> {
        let Todo { headers, ticks } = &self.todo;
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

/// The work of all shards, each in its order.
pub(super) struct WorkQueue<'s> {
    state: Mutex<State<'s>>,
    changed: Condvar,
}

struct State<'s> {
    queues: Vec<VecDeque<Work>>,
    /// Lists of work that is done, empty.
    spare: Vec<Todo>,
    /// Not there while a thread reads.
    reader: Option<Reader<'s>>,
    /// Nothing more is read.
    has_ended: bool,
    /// A thread is gone: nothing more is done.
    is_abandoned: bool,
    /// How reading failed.
    error: Option<CaptureError>,
}

impl<'s> WorkQueue<'s> {
    /// For this many shards with tables of these options.
    pub(super) fn new(
        source: &'s mut dyn PacketSource,
        options: &FlowTableOptions,
        shards: usize,
    ) -> Self {
        let state = State {
            queues: (0..shards).map(|_| VecDeque::new()).collect(),
            spare: Vec::new(),
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

    /// The next work of a shard that is done with its previous one; none when all is done. `each`
    /// is called after every piece of work, every reading and every waiting, until it ends the
    /// reading: never again then.
    pub(super) fn next(
        &self,
        shard: usize,
        done: Option<Work>,
        each: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Option<Work> {
        if let Some(work) = done {
            self.hand_back(work);
            self.look_whether_to_end(each);
        }
        loop {
            let mut state = self.lock();
            if state.is_abandoned {
                return None;
            }
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
                self.lock().take_over(reader, outcome);
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
                drop(self.changed.wait_timeout(state, WAIT));
            }
            self.look_whether_to_end(each);
        }
    }

    /// Keeps the lists of work that is done.
    fn hand_back(&self, work: Work) {
        let todo = work.todo.emptied();
        self.lock().spare.push(todo);
    }

    /// Nobody waits for the lock while `each` does what it does.
    fn look_whether_to_end(&self, each: &mut dyn FnMut() -> ControlFlow<()>) {
        if !self.lock().has_ended && each().is_break() {
            self.lock().has_ended = true;
            self.changed.notify_all();
        }
    }

    /// Ends all work, as a thread is missing.
    pub(super) fn abandon(&self, error: Option<CaptureError>) {
        let mut state = self.lock();
        state.is_abandoned = true;
        state.error = error.or(state.error.take());
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
    ) {
        if let Some((link_type, buffer)) = reader.latest.take() {
            for (queue, todo) in self.queues.iter_mut().zip(&mut reader.todo) {
                let empty = self.spare.pop().unwrap_or_default();
                queue.push_back(Work {
                    link_type,
                    buffer: Arc::clone(&buffer),
                    todo: std::mem::replace(todo, empty),
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

/// Reads, and hands packets out. It keeps the time: all tables run their timers at the same packets
/// as a single one would.
struct Reader<'s> {
    source: &'s mut dyn PacketSource,
    steering: Steering,
    /// A table without packets: it tells when timers are due.
    clock: FlowTable,
    /// Where the packets of the latest batch are, and what each shard has of them.
    latest: Option<(LinkType, Arc<[u8]>)>,
    todo: Vec<Todo>,
}

impl<'s> Reader<'s> {
    fn new(source: &'s mut dyn PacketSource, options: &FlowTableOptions, shards: usize) -> Self {
        Self {
            source,
            steering: Steering::new(options.decoder.clone(), shards),
            clock: FlowTable::new(options.clone()),
            latest: None,
            todo: (0..shards).map(|_| Todo::default()).collect(),
        }
    }

    /// Reads one batch, if there is one within a while; breaks at the end.
    fn read(&mut self) -> Result<ControlFlow<()>, CaptureError> {
        let is_shared = self.source.shared_buffer().is_some();
        let (link_type, copy) = match self.source.next_batch(WAIT)? {
            Batch::Packets(batch) => {
                for header in batch.headers {
                    let now = header.timestamp;
                    if self.clock.due().is_none_or(|due| due <= now) {
                        self.clock.tick(now, &mut Nowhere);
                        for todo in &mut self.todo {
                            todo.ticks.push((todo.headers.len(), now));
                        }
                    }
                    let packet = header.packet(batch.buffer, batch.link_type);
                    if let Some(todo) = self.todo.get_mut(self.steering.shard(packet)) {
                        todo.headers.push(*header);
                    }
                }
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

/// What a table without packets sends.
struct Nowhere;

impl FlowSink for Nowhere {
    fn flows(&mut self, _: Vec<Flow>) {}
}

/// With less work than this for any shard, more is read.
const ENOUGH: usize = 3;
/// With as much work as this for one shard, nothing is read.
const MOST: usize = 6;
