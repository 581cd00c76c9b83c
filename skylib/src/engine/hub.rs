//! The one owner of the graph: applies mutations in order and hands their events on in that order.
//!
//! Writers run their transaction under the write lock ([`GraphWriter::update`]); its events are
//! put into a log before the lock is given back, so the log's order is the order of the changes;
//! the history, where there is one, takes them down at the same moment.
//! Nothing is sent to anybody while the graph is held: the dispatcher thread takes the log's
//! events and feeds the subscriptions. A log that is full makes the writers wait *outside* the
//! lock, so readers and queries are never held up by a slow subscriber.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, RwLock};

use crate::graph::history::History;
use crate::graph::{Graph, GraphAccess, GraphEvent, GraphView, GraphWriter, Processor};
use crate::time::{Clock, Timestamp};

/// The graph of a running engine, shared among probes, clients and queries.
pub struct SharedGraph {
    graph: RwLock<Graph>,
    clock: Arc<dyn Clock>,
    processors: Mutex<Vec<Box<dyn Processor>>>,
    history: Option<Arc<dyn History>>,
    log: Mutex<Log>,
    /// Wakes the dispatcher.
    written: Condvar,
    /// Wakes writers that wait for room.
    drained: Condvar,
}

#[derive(Default)]
struct Log {
    events: VecDeque<LoggedEvent>,
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
}

impl SharedGraph {
    /// Takes over a graph; the processors see every event and may change the graph further.
    pub fn new(graph: Graph, clock: Arc<dyn Clock>, processors: Vec<Box<dyn Processor>>) -> Self {
        Self {
            graph: RwLock::new(graph),
            clock,
            processors: Mutex::new(processors),
            history: None,
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
    /// Blocks while [`LOG_LIMIT`] events wait for the dispatcher, after the change is done.
    pub fn update_as<R>(
        &self,
        author: Option<u64>,
        work: impl FnOnce(&mut Graph, Timestamp) -> R,
    ) -> R {
        let mut graph = self.graph.write();
        let now = self.clock.now();
        let result = work(&mut graph, now);
        let events = self.settle(&mut graph, now);
        if events.is_empty() {
            return result;
        }
        if let Some(history) = &self.history {
            history.record(&events, now);
        }
        let sequence = graph.sequence();
        let mut log = self.log.lock();
        let logged = |event| LoggedEvent {
            event,
            sequence,
            author,
        };
        log.events.extend(events.into_iter().map(logged));
        drop(graph);
        self.written.notify_one();
        while log.events.len() > LOG_LIMIT && !log.closed {
            self.drained.wait(&mut log);
        }
        result
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

    /// Waits for events and takes all there are; `None` once closed and empty.
    pub(super) fn take_log(&self) -> Option<Vec<LoggedEvent>> {
        let mut log = self.log.lock();
        while log.events.is_empty() {
            if log.closed {
                return None;
            }
            self.written.wait(&mut log);
        }
        let events = log.events.drain(..).collect();
        drop(log);
        self.drained.notify_all();
        Some(events)
    }

    /// Ends the dispatcher once it has taken what is logged.
    pub(super) fn close_log(&self) {
        self.log.lock().closed = true;
        self.written.notify_all();
        self.drained.notify_all();
    }

    /// Events waiting for the dispatcher.
    pub fn log_len(&self) -> usize {
        self.log.lock().events.len()
    }
}

/// Events that may wait for the dispatcher before writers are slowed down.
pub const LOG_LIMIT: usize = 100_000;

impl GraphAccess for SharedGraph {
    fn read(&self, work: &mut dyn FnMut(&Graph)) {
        work(&self.graph.read());
    }
}

impl GraphWriter for SharedGraph {
    fn update(&self, work: &mut dyn FnMut(&mut Graph, Timestamp)) {
        self.update_as(None, work);
    }
}
