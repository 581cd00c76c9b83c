//! `SharedGraph`: the graph of an engine behind a reader-writer lock, with an ordered event log.
//!
//! A writer runs its transaction under the write lock. The events are recorded in the history and
//! appended to the log before the lock is released, so the order of the log is that of the changes.
//! Nothing is sent while the lock is held: the dispatcher thread takes events from the log and
//! sends them to the subscribers. While the log is full, or the history has no room, writers wait
//! *after* they have released the lock (back-pressure), so that a slow subscriber or a slow disk
//! never delays readers and queries.

use std::collections::VecDeque;
use std::fmt;
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex, RwLock, RwLockWriteGuard};

use super::persistence::GraphPersister;
use crate::graph::history::History;
use crate::graph::{EdgeId, Graph, GraphAccess, GraphEvent, GraphView, GraphWriter, Processor};
use crate::time::{Clock, Timestamp};

/// Graph of a running engine, shared by probes, clients, and queries.
///
/// ```
/// use skylib::engine::{Engine, EngineOptions};
/// use skylib::graph::{Metadata, Node};
///
/// let engine = Engine::start(EngineOptions::new("edge-01"))?;
/// engine.graph().update_as(None, |graph, now| {
///     let metadata = Metadata::from_iter([("Type", "bridge")]);
///     graph.add_node(Node::new("br0", metadata, now))
/// })?;
/// assert_eq!(engine.graph().view().node_count(), 1);
/// # Ok::<(), skylib::Error>(())
/// ```
pub struct SharedGraph {
    graph: RwLock<Graph>,
    /// Number of writers that hold the lock or wait for it.
    writers: AtomicUsize,
    clock: Arc<dyn Clock>,
    processors: Mutex<Vec<Box<dyn Processor>>>,
    history: Option<Arc<dyn History>>,
    persister: Option<Arc<GraphPersister>>,
    log: Mutex<Log>,
    /// Signal that wakes the dispatcher.
    written: Condvar,
    /// Signal that wakes writers that wait for space in the log.
    drained: Condvar,
}

#[derive(Default)]
struct Log {
    events: VecDeque<LoggedEvent>,
    /// Memory that `events` retain, in bytes: the sum of their `bytes`.
    bytes: usize,
    /// Number and size in bytes of the events that the dispatcher has taken and is still
    /// processing.
    taken: (usize, usize),
    closed: bool,
}

/// Graph event with its author and its position in the transaction.
#[derive(Clone, Debug)]
pub struct LoggedEvent {
    /// The event.
    pub event: GraphEvent,
    /// Sequence number of the graph at the end of the transaction.
    pub sequence: u64,
    /// Connection that made the change and must not receive it; `None` for other writers.
    pub author: Option<u64>,
    /// Whether this is the last event of its transaction.
    pub is_last: bool,
    /// Memory that the event retains, in bytes, approximately.
    pub(crate) bytes: usize,
}

impl SharedGraph {
    /// Shares a graph. The processors receive every event and may change the graph further within
    /// the same transaction.
    pub fn new(graph: Graph, clock: Arc<dyn Clock>, processors: Vec<Box<dyn Processor>>) -> Self {
        Self {
            graph: RwLock::new(graph.with_journal()),
            writers: AtomicUsize::new(0),
            clock,
            processors: Mutex::new(processors),
            history: None,
            persister: None,
            log: Mutex::new(Log::default()),
            written: Condvar::new(),
            drained: Condvar::new(),
        }
    }

    /// Sets the history, which records later changes within their transactions. It must already
    /// contain the current graph.
    #[must_use]
    pub fn with_history(self, history: Option<Arc<dyn History>>) -> Self {
        Self { history, ..self }
    }

    /// Sets the persister of persistent elements.
    #[must_use]
    pub(crate) fn with_persister(self, persister: Option<Arc<GraphPersister>>) -> Self {
        Self { persister, ..self }
    }

    /// Waits until all earlier changes to persistent elements are durable, and their events in the
    /// history. A history that cannot be written reports the failure itself; it does not cause an
    /// error here.
    ///
    /// # Errors
    /// Returns the reason if the changes could not be written. The write is retried later.
    pub(crate) fn flush(&self) -> Result<(), String> {
        if let Some(history) = &self.history {
            let _reported = history.sync();
        }
        self.persister
            .as_ref()
            .map_or(Ok(()), |persister| persister.flush())
    }

    /// Deletes a stored edge that waits for a node. Returns whether such an edge existed.
    pub(crate) fn delete_waiting(&self, id: &EdgeId) -> bool {
        let persister = self.persister.as_ref();
        persister.is_some_and(|persister| persister.delete_waiting(id))
    }

    /// Returns the history, if there is one.
    pub fn history(&self) -> Option<&dyn History> {
        self.history.as_deref()
    }

    /// Returns a snapshot of the graph.
    pub fn view(&self) -> GraphView<'_> {
        GraphView::open(self)
    }

    /// Runs a transaction on behalf of a connection, which does not receive the events of its own
    /// changes, and returns the result of `work`.
    ///
    /// After the transaction, blocks while more than [`LOG_LIMIT`] events or [`LOG_BYTES`] of
    /// events wait for the dispatcher, and for a bounded time while the history has no room.
    pub fn update_as<R>(
        &self,
        author: Option<u64>,
        work: impl FnOnce(&mut Graph, Timestamp) -> R,
    ) -> R {
        self.transact(author, false, work)
    }

    /// Runs a transaction like [`SharedGraph::update_as`], and makes the elements that it adds
    /// persistent if the engine has a store for elements. They are written within about a second,
    /// usually after this function has returned.
    pub fn update_persistent<R>(
        &self,
        author: Option<u64>,
        work: impl FnOnce(&mut Graph, Timestamp) -> R,
    ) -> R {
        self.transact(author, true, work)
    }

    fn transact<R>(
        &self,
        author: Option<u64>,
        is_persistent: bool,
        work: impl FnOnce(&mut Graph, Timestamp) -> R,
    ) -> R {
        let writer = WriterCount::new(&self.writers);
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
        if let Some(persister) = &self.persister {
            persister.record(&events, is_persistent);
        }
        let sequence = graph.sequence();
        let last = events.len() - 1;
        let logged: Vec<LoggedEvent> = events
            .into_iter()
            .enumerate()
            .map(|(index, event)| LoggedEvent {
                is_last: index == last,
                bytes: size_of::<LoggedEvent>() + event.metadata_bytes(),
                event,
                sequence,
                author,
            })
            .collect();
        // Locked before the graph is unlocked, so that the log has the order of the changes.
        let mut log = self.log.lock();
        log.bytes += bytes_of(&logged);
        log.events.extend(logged);
        drop(graph);
        drop(writer);
        self.written.notify_one();
        while log.is_full() && !log.closed {
            self.drained.wait(&mut log);
        }
        drop(log);
        if let Some(history) = &self.history {
            history.make_room();
        }
        result
    }

    /// Acquires the write lock. Spins for about as long as a reader holds the lock, because waking
    /// a sleeping writer takes longer, and all readers would wait for that writer.
    fn write(&self) -> RwLockWriteGuard<'_, Graph> {
        let acquired = (0..CHUNK_SPINS).find_map(|_| {
            let graph = self.graph.try_write();
            if graph.is_none() {
                spin_loop();
            }
            graph
        });
        acquired.unwrap_or_else(|| self.graph.write())
    }

    /// Runs the processors until they make no more changes. Returns all events in causal order.
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

    /// Waits for events and takes up to [`LOG_BATCH`] of them; returns `None` when the log is
    /// closed and empty. Taken events count as waiting until the next call.
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
        let count = log.events.len().min(LOG_BATCH);
        let events: Vec<LoggedEvent> = log.events.drain(..count).collect();
        let bytes = bytes_of(&events);
        log.bytes -= bytes;
        log.taken = (events.len(), bytes);
        Some(events)
    }

    /// Ends the dispatcher after it has taken all events; writers no longer wait for space in the
    /// log.
    pub(crate) fn close_log(&self) {
        self.log.lock().closed = true;
        self.written.notify_all();
        self.drained.notify_all();
    }

    /// Returns the number of events that wait for the dispatcher.
    pub fn log_len(&self) -> usize {
        self.log.lock().len()
    }
}

impl fmt::Debug for SharedGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedGraph")
            .field("log_len", &self.log_len())
            .field("has_history", &self.history.is_some())
            .field("is_persistent", &self.persister.is_some())
            .finish_non_exhaustive()
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

/// Maximum number of events that wait for the dispatcher; above it, writers block.
pub const LOG_LIMIT: usize = 100_000;

/// Maximum memory retained by waiting events, in bytes; above it, writers block. One transaction
/// may exceed it.
pub const LOG_BYTES: usize = 64 << 20;

/// Maximum number of events that the dispatcher takes at once.
const LOG_BATCH: usize = 1_024;

/// Guard that counts a writer from its request for the lock until the release.
struct WriterCount<'a>(&'a AtomicUsize);

impl<'a> WriterCount<'a> {
    fn new(writers: &'a AtomicUsize) -> Self {
        writers.fetch_add(1, Ordering::Relaxed);
        Self(writers)
    }
}

impl Drop for WriterCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Number of spins that take about as long as a reader holds the lock (one chunk of a view).
const CHUNK_SPINS: usize = 1_000;

impl GraphAccess for SharedGraph {
    /// Runs `work` under the read lock. Waiting writers go first, because a reader that releases
    /// the lock and immediately acquires it again would starve them.
    fn read(&self, work: &mut dyn FnMut(&Graph)) {
        for _ in 0..CHUNK_SPINS {
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
    use crate::graph::history::{HistoryStatus, MemoryHistory, PastReader, ReadBudget};
    use crate::graph::{Metadata, Node};
    use crate::time::{ManualClock, When};

    fn shared() -> Arc<SharedGraph> {
        let clock = Arc::new(ManualClock::new(Timestamp::from_ms(1)));
        Arc::new(SharedGraph::new(Graph::new(), clock, Vec::new()))
    }

    #[test]
    fn large_events_fill_the_log_by_their_bytes() {
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
        let received =
            || std::iter::from_fn(|| written.recv_timeout(Duration::from_millis(200)).ok());
        assert!(received().count() < 8, "the writer waits");
        // Events that the dispatcher is processing still count.
        let mut seen = graph.take_log().unwrap().len();
        assert_eq!(received().count(), 0);
        while seen < 20 {
            seen += graph.take_log().unwrap().len();
        }
        thread.join().unwrap();
    }

    /// History whose disk has no room until it is released.
    struct FullHistory {
        memory: MemoryHistory,
        waits: Mutex<mpsc::Sender<()>>,
        released: Mutex<mpsc::Receiver<()>>,
    }

    impl History for FullHistory {
        fn record(&self, events: &[GraphEvent], now: Timestamp) {
            self.memory.record(events, now);
        }

        fn make_room(&self) {
            self.waits.lock().send(()).unwrap();
            self.released.lock().recv().unwrap();
        }

        fn expire(&self, now: Timestamp) {
            self.memory.expire(now);
        }

        fn status(&self) -> HistoryStatus {
            self.memory.status()
        }

        fn open<'a>(&'a self, when: When, budget: &'a dyn ReadBudget) -> Box<dyn PastReader + 'a> {
            self.memory.open(when, budget)
        }
    }

    #[test]
    fn a_writer_that_waits_for_the_history_does_not_hold_the_graph() {
        let (waits, waiting) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let history: Arc<dyn History> = Arc::new(FullHistory {
            memory: MemoryHistory::new(crate::graph::history::HistoryLimits::default()),
            waits: Mutex::new(waits),
            released: Mutex::new(released),
        });
        let clock = Arc::new(ManualClock::new(Timestamp::from_ms(1)));
        let graph = SharedGraph::new(Graph::new(), clock, Vec::new()).with_history(Some(history));
        let graph = Arc::new(graph);
        let writer = Arc::clone(&graph);
        let thread = std::thread::spawn(move || {
            writer.update_as(None, |graph, now| {
                graph
                    .add_node(Node::new("n", Metadata::new(), now))
                    .unwrap();
            });
        });
        waiting.recv().unwrap();
        assert_eq!(graph.view().node_count(), 1, "a query reads the graph");
        assert_eq!(graph.log_len(), 1, "the dispatcher has the event");
        assert!(
            graph.graph.try_write().is_some(),
            "another writer gets the graph"
        );
        release.send(()).unwrap();
        thread.join().unwrap();
    }
}
