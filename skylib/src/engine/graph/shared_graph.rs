//! The one owner of the graph: applies mutations in order and hands their events on in that order.
//!
//! Writers run their transaction under the write lock ([`GraphWriter::update`]); its events are
//! put into a log before the lock is given back, so the log's order is the order of the changes;
//! the history, where there is one, takes them down at the same moment.
//! Nothing is sent to anybody while the graph is held: the dispatcher thread takes the log's
//! events and feeds the subscriptions. A log that is full makes the writers wait *outside* the
//! lock, so readers and queries are never held up by a slow subscriber.

use std::collections::VecDeque;
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex, RwLock, RwLockWriteGuard};

use super::persistence::Keeper;
use crate::graph::history::History;
use crate::graph::{Graph, GraphAccess, GraphEvent, GraphView, GraphWriter, Processor};
use crate::time::{Clock, Timestamp};

/// The graph of a running engine, shared among probes, clients and queries.
pub struct SharedGraph {
    graph: RwLock<Graph>,
    /// Writers that have the lock or want it.
    writers: AtomicUsize,
    clock: Arc<dyn Clock>,
    processors: Mutex<Vec<Box<dyn Processor>>>,
    history: Option<Arc<dyn History>>,
    keeper: Option<Arc<Keeper>>,
    log: Mutex<Log>,
    /// Wakes the dispatcher.
    written: Condvar,
    /// Wakes writers that wait for room.
    drained: Condvar,
}

#[derive(Default)]
struct Log {
    events: VecDeque<LoggedEvent>,
    /// What the events keep alive.
    bytes: usize,
    /// Events that the dispatcher has taken and is busy with, and what they keep alive.
    taken: (usize, usize),
    closed: bool,
}

/// An event with who caused it.
#[derive(Clone, Debug)]
pub struct LoggedEvent {
    /// What happened.
    pub event: GraphEvent,
    /// The graph's sequence number at the end of its transaction.
    pub sequence: u64,
    /// The writer's connection, where it has one that wants no echo of its own changes.
    pub author: Option<u64>,
    /// Whether it is the last of its transaction.
    pub is_last: bool,
    /// Roughly how much memory it keeps alive.
    pub(crate) bytes: usize,
}

impl SharedGraph {
    /// Takes over a graph; the processors see every event and may change the graph further.
    pub fn new(graph: Graph, clock: Arc<dyn Clock>, processors: Vec<Box<dyn Processor>>) -> Self {
        Self {
            graph: RwLock::new(graph.with_journal()),
            writers: AtomicUsize::new(0),
            clock,
            processors: Mutex::new(processors),
            history: None,
            keeper: None,
            log: Mutex::new(Log::default()),
            written: Condvar::new(),
            drained: Condvar::new(),
        }
    }

    /// Takes down in a history, within each transaction, what happens from now on; what is in the
    /// graph already must be in it.
    #[must_use]
    pub fn with_history(self, history: Option<Arc<dyn History>>) -> Self {
        Self { history, ..self }
    }

    /// Keeps what is to outlive the process from now on.
    #[must_use]
    pub(crate) fn with_keeper(self, keeper: Option<Arc<Keeper>>) -> Self {
        Self { keeper, ..self }
    }

    /// Waits until what was changed before is durable, as far as it is kept.
    ///
    /// # Errors
    /// Why it could not be written; it is tried again later.
    pub(crate) fn flush(&self) -> Result<(), String> {
        self.keeper.as_ref().map_or(Ok(()), |keeper| keeper.flush())
    }

    /// Where the past is kept.
    pub fn history(&self) -> Option<&dyn History> {
        self.history.as_deref()
    }

    /// The graph as of now, for a query.
    pub fn view(&self) -> GraphView<'_> {
        GraphView::open(self)
    }

    /// [`GraphWriter::update`] in the name of a connection.
    ///
    /// Blocks while [`LOG_LIMIT`] events or [`LOG_BYTES`] wait for the dispatcher, after the change
    /// is done.
    pub fn update_as<R>(
        &self,
        author: Option<u64>,
        work: impl FnOnce(&mut Graph, Timestamp) -> R,
    ) -> R {
        self.transact(author, false, work)
    }

    /// [`SharedGraph::update_as`]; what is added outlives the process, where elements are kept. It
    /// is written soon, not at once.
    pub fn update_kept<R>(
        &self,
        author: Option<u64>,
        work: impl FnOnce(&mut Graph, Timestamp) -> R,
    ) -> R {
        self.transact(author, true, work)
    }

    fn transact<R>(
        &self,
        author: Option<u64>,
        is_kept: bool,
        work: impl FnOnce(&mut Graph, Timestamp) -> R,
    ) -> R {
        let turn = Turn::new(&self.writers);
        let mut graph = self.write();
        let now = self.clock.now();
        let result = work(&mut graph, now);
        let events = self.settle(&mut graph, now);
        if events.is_empty() {
            return result;
        }
        if let Some(history) = &self.history {
            history.record(&events, now);
        }
        if let Some(keeper) = &self.keeper {
            keeper.record(&events, is_kept);
        }
        let sequence = graph.sequence();
        let last = events.len() - 1;
        let logged: Vec<LoggedEvent> = events
            .into_iter()
            .enumerate()
            .map(|(place, event)| LoggedEvent {
                is_last: place == last,
                bytes: size_of::<LoggedEvent>() + event.metadata_bytes(),
                event,
                sequence,
                author,
            })
            .collect();
        let mut log = self.log.lock();
        log.bytes += bytes_of(&logged);
        log.events.extend(logged);
        drop(graph);
        drop(turn);
        self.written.notify_one();
        while log.is_full() && !log.closed {
            self.drained.wait(&mut log);
        }
        result
    }

    /// The lock for a writer. One that sleeps until a stretch is over needs longer to wake up than
    /// the stretch took, and readers wait with it: it stays awake for as long as a stretch takes.
    fn write(&self) -> RwLockWriteGuard<'_, Graph> {
        let soon = (0..STRETCH_SPINS).find_map(|_| {
            let graph = self.graph.try_write();
            if graph.is_none() {
                spin_loop();
            }
            graph
        });
        soon.unwrap_or_else(|| self.graph.write())
    }

    /// Lets the processors react until nothing changes any more; all events in causal order.
    fn settle(&self, graph: &mut Graph, now: Timestamp) -> Vec<GraphEvent> {
        let mut events = graph.take_events();
        let mut processors = self.processors.lock();
        let mut seen = 0;
        while seen < events.len() {
            for processor in processors.iter_mut() {
                processor.process(graph, &events[seen], now);
            }
            seen += 1;
            events.append(&mut graph.take_events());
        }
        events
    }

    /// Waits for events and takes some; `None` once closed and empty. They count as waiting until
    /// the next call.
    pub(crate) fn take_log(&self) -> Option<Vec<LoggedEvent>> {
        let mut log = self.log.lock();
        log.taken = (0, 0);
        self.drained.notify_all();
        while log.events.is_empty() {
            if log.closed {
                return None;
            }
            self.written.wait(&mut log);
        }
        let some = log.events.len().min(LOG_STEP);
        let events: Vec<LoggedEvent> = log.events.drain(..some).collect();
        let bytes = bytes_of(&events);
        log.bytes -= bytes;
        log.taken = (events.len(), bytes);
        Some(events)
    }

    /// Ends the dispatcher once it has taken what is logged.
    pub(crate) fn close_log(&self) {
        self.log.lock().closed = true;
        self.written.notify_all();
        self.drained.notify_all();
    }

    /// Events waiting for the dispatcher.
    pub fn log_len(&self) -> usize {
        self.log.lock().len()
    }
}

impl Log {
    fn len(&self) -> usize {
        self.events.len() + self.taken.0
    }

    fn is_full(&self) -> bool {
        self.len() > LOG_LIMIT || self.bytes + self.taken.1 > LOG_BYTES
    }
}

fn bytes_of(events: &[LoggedEvent]) -> usize {
    events.iter().map(|logged| logged.bytes).sum()
}

/// Events that may wait for the dispatcher before writers are slowed down.
pub const LOG_LIMIT: usize = 100_000;

/// Memory that they may keep alive, in bytes; one transaction may go beyond.
pub const LOG_BYTES: usize = 64 << 20;

/// Events that the dispatcher takes at a time.
const LOG_STEP: usize = 1_024;

/// A writer from when it wants the lock until it has given it back.
struct Turn<'a>(&'a AtomicUsize);

impl<'a> Turn<'a> {
    fn new(writers: &'a AtomicUsize) -> Self {
        writers.fetch_add(1, Ordering::Relaxed);
        Self(writers)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Looks at a lock that take about as long as a stretch.
const STRETCH_SPINS: usize = 1_000;

impl GraphAccess for SharedGraph {
    /// Lets writers that wait go first, for otherwise they would find the lock taken again at once.
    fn read(&self, work: &mut dyn FnMut(&Graph)) {
        for _ in 0..STRETCH_SPINS {
            if self.writers.load(Ordering::Relaxed) == 0 {
                break;
            }
            spin_loop();
        }
        work(&self.graph.read());
    }
}

impl GraphWriter for SharedGraph {
    fn update(&self, work: &mut dyn FnMut(&mut Graph, Timestamp)) {
        self.update_as(None, work);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::graph::{Metadata, Node};
    use crate::time::ManualClock;

    fn shared() -> Arc<SharedGraph> {
        let clock = Arc::new(ManualClock::new(Timestamp::from_ms(1)));
        Arc::new(SharedGraph::new(Graph::new(), clock, Vec::new()))
    }

    #[test]
    fn few_large_events_fill_the_log_as_many_small_ones_do() {
        let graph = shared();
        let writer = Arc::clone(&graph);
        let (done, written) = mpsc::channel();
        let large = LOG_BYTES / 8;
        let thread = std::thread::spawn(move || {
            for i in 0..20 {
                writer.update_as(None, |graph, now| {
                    let metadata = Metadata::from_iter([("Pad", "x".repeat(large).as_str())]);
                    let node = Node::new(format!("n{i}").as_str(), metadata, now);
                    graph.add_node(node).unwrap();
                });
                done.send(i).unwrap();
            }
        });
        let told = || std::iter::from_fn(|| written.recv_timeout(Duration::from_millis(200)).ok());
        assert!(told().count() < 8, "the writer waits");
        // What the dispatcher is busy with still counts.
        let mut seen = graph.take_log().unwrap().len();
        assert_eq!(told().count(), 0);
        while seen < 20 {
            seen += graph.take_log().unwrap().len();
        }
        thread.join().unwrap();
    }
}
