//! `LiveClient`: the live queries of one client and their updates.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::LiveHub;
use super::scheduled::ScheduledQuery;
use crate::engine::monotonic;
use crate::engine::query::QueryOptions;
use crate::gremlin::live::{LiveQuery, Update};
use crate::gremlin::{Query, QueryError};

/// Live queries of one client. Clones are handles of the same client; when the last handle is
/// dropped, the queries end.
///
/// ```
/// use std::time::Duration;
/// use skylib::engine::{Engine, EngineOptions, LiveEvent};
/// use skylib::graph::{GraphWriter, Metadata, Node};
/// use skylib::gremlin::live::{Change, Update};
///
/// let engine = Engine::start(EngineOptions::new("edge-01"))?;
/// let client = engine.live_client(16);
/// client.open("bridges", "G.V().Has('Type', 'bridge')")?;
/// let timeout = Duration::from_secs(20);
/// let (name, first) = client.recv_timeout(timeout).expect("the answer");
/// assert_eq!(name, "bridges");
/// assert!(matches!(first, LiveEvent::Update(Update::Answer { .. })));
///
/// engine.graph().update(&mut |graph, now| {
///     let metadata = Metadata::from_iter([("Type", "bridge")]);
///     graph.add_node(Node::new("br0", metadata, now)).ok();
/// });
/// let Some((_, LiveEvent::Update(Update::Changes { changes, .. }))) = client.recv_timeout(timeout)
/// else { panic!("a bridge was added") };
/// assert!(matches!(&changes[..], [Change::Entered { at: 0, .. }]));
/// # Ok::<(), skylib::Error>(())
/// ```
#[derive(Clone)]
pub struct LiveClient(Arc<ClientState>);

pub(super) struct ClientState {
    hub: Arc<LiveHub>,
    max_queries: usize,
    slots: Mutex<Slots>,
    /// Signal that wakes tasks that wait for an event.
    filled: Notify,
    /// Signal that wakes threads that wait for an event.
    filled_for_threads: Condvar,
    /// Called when an event is available; see [`LiveClient::call_when_filled`].
    filled_callback: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct Slots {
    list: Vec<Arc<Slot>>,
    /// Index at which the next search for an event starts (round robin).
    next: usize,
}

/// Queue of one live query with space for a single event.
pub(super) struct Slot {
    name: String,
    hub: Arc<LiveHub>,
    client: Weak<ClientState>,
    event: Mutex<Option<LiveEvent>>,
    is_closed: AtomicBool,
}

/// Event of a live query.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LiveEvent {
    /// The first answer, or the changes since the last update.
    Update(Update),
    /// The query has ended because it failed or exceeded a limit.
    Ended(QueryError),
}

/// Error returned if a live query cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// The client already has a query with this name.
    #[error("a live query named {0:?} is already open; cancel it or use another name")]
    Taken(String),
    /// The client has reached its limit on the number of queries.
    #[error("limit of {0} live queries per client reached; cancel one first")]
    TooMany(usize),
    /// All clients together have reached the limit on the number of queries.
    #[error("limit of {0} live queries reached (live.max_queries); try again later")]
    Full(usize),
    /// The query is invalid, failed, or exceeded a limit in its first run.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl LiveClient {
    /// Creates a client of a hub.
    pub(in crate::engine) fn new(hub: &Arc<LiveHub>, max_queries: usize) -> Self {
        let client = Arc::new(ClientState {
            hub: Arc::clone(hub),
            max_queries,
            slots: Mutex::default(),
            filled: Notify::new(),
            filled_for_threads: Condvar::new(),
            filled_callback: OnceLock::new(),
        });
        hub.add_client(&client);
        Self(client)
    }

    /// Opens a live query: reserves its name, parses it, and runs it for the first time. Blocks
    /// until the answer is available, which is the first event.
    ///
    /// # Errors
    /// Returns an error if the name is in use, a limit is reached, or the query is invalid or fails.
    pub fn open(&self, name: impl Into<String>, text: &str) -> Result<(), LiveError> {
        Ok(self.reserve(name)?.open(text, QueryOptions::default())?)
    }

    /// Reserves a name for a query that will be opened, so that [`LiveClient::cancel`] works during
    /// the query's first run.
    ///
    /// # Errors
    /// Returns an error if the name is in use or a limit is reached.
    pub fn reserve(&self, name: impl Into<String>) -> Result<LiveReservation, LiveError> {
        let (name, hub) = (name.into(), &self.0.hub);
        let mut slots = self.0.slots.lock();
        if slots.list.iter().any(|slot| slot.name == name) {
            return Err(LiveError::Taken(name));
        }
        if slots.list.len() >= self.0.max_queries {
            return Err(LiveError::TooMany(self.0.max_queries));
        }
        let slot = Slot::new(name, hub, &self.0)?;
        slots.list.push(Arc::clone(&slot));
        Ok(LiveReservation {
            slot,
            client: Arc::clone(&self.0),
            timed_interval: self.0.hub.options.timed_interval,
            is_open: false,
        })
    }

    /// Ends a query, which may still be in its first run. Returns whether there was a query with
    /// this name. No further event of the query is returned.
    pub fn cancel(&self, name: &str) -> bool {
        self.0.remove(|slot| slot.name == name)
    }

    /// Waits for the next event and returns it with the name of its query; `None` if the engine has
    /// stopped. The queries are served in round-robin order.
    pub async fn next(&self) -> Option<(String, LiveEvent)> {
        loop {
            match self.try_next() {
                Some(event) => return Some(event),
                None if self.0.hub.is_stopped.load(Ordering::Relaxed) => return None,
                None => self.0.filled.notified().await,
            }
        }
    }

    /// Returns the next event and the name of its query, without waiting.
    pub fn try_next(&self) -> Option<(String, LiveEvent)> {
        let found = self.0.take();
        if found.is_some() {
            self.0.hub.disturb();
        }
        found
    }

    /// Blocks the thread until the next event and returns it with the name of its query; `None`
    /// after `timeout` or if the engine has stopped.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<(String, LiveEvent)> {
        let deadline = monotonic::now() + timeout;
        loop {
            if let Some(event) = self.try_next() {
                return Some(event);
            }
            let mut slots = self.0.slots.lock();
            if self.0.hub.is_stopped.load(Ordering::Relaxed) {
                return None;
            }
            if slots.list.iter().any(|slot| !slot.is_empty()) {
                continue;
            }
            if self
                .0
                .filled_for_threads
                .wait_until(&mut slots, deadline)
                .timed_out()
            {
                return None;
            }
        }
    }

    /// Calls a function whenever an event is available, so that a thread that also waits for other
    /// work need not wait here. The function must not block; only the first call has an effect.
    pub(in crate::engine) fn call_when_filled(&self, callback: impl Fn() + Send + Sync + 'static) {
        self.0.filled_callback.set(Box::new(callback)).ok();
    }

    /// Returns the number of queries, including those in their first run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.slots.lock().list.len()
    }

    /// Returns whether there are no queries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for LiveClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LiveClient({} queries)", self.len())
    }
}

impl ClientState {
    fn take(&self) -> Option<(String, LiveEvent)> {
        let mut slots = self.slots.lock();
        let count = slots.list.len();
        for offset in 0..count {
            let index = (slots.next + offset) % count;
            let Some(event) = slots.list[index].event.lock().take() else {
                continue;
            };
            slots.next = index + 1;
            let name = slots.list[index].name.clone();
            if matches!(event, LiveEvent::Ended(_)) {
                slots.list.remove(index).close();
            }
            return Some((name, event));
        }
        None
    }

    /// Closes and removes the first matching slot. Returns whether there was one.
    fn remove(&self, matches: impl Fn(&Arc<Slot>) -> bool) -> bool {
        let mut slots = self.slots.lock();
        let Some(index) = slots.list.iter().position(matches) else {
            return false;
        };
        let slot = slots.list.remove(index);
        drop(slots);
        slot.close();
        self.hub.disturb();
        true
    }

    /// Wakes the tasks and threads that wait for an event.
    pub(super) fn signal(&self) {
        // Waits until no thread is between its check for events and its wait, so that none misses
        // the signal.
        drop(self.slots.lock());
        self.filled.notify_one();
        self.filled_for_threads.notify_all();
        if let Some(callback) = self.filled_callback.get() {
            callback();
        }
    }
}

impl Drop for ClientState {
    fn drop(&mut self) {
        for slot in self.slots.get_mut().list.drain(..) {
            slot.close();
        }
        self.hub.disturb();
    }
}

impl Slot {
    fn new(
        name: String,
        hub: &Arc<LiveHub>,
        client: &Arc<ClientState>,
    ) -> Result<Arc<Self>, LiveError> {
        let max = hub.options.max_queries;
        if hub.queries.fetch_add(1, Ordering::AcqRel) >= max {
            hub.queries.fetch_sub(1, Ordering::AcqRel);
            return Err(LiveError::Full(max));
        }
        Ok(Arc::new(Self {
            name,
            hub: Arc::clone(hub),
            client: Arc::downgrade(client),
            event: Mutex::new(None),
            is_closed: AtomicBool::new(false),
        }))
    }

    /// Returns whether the client has taken the last event.
    pub(super) fn is_empty(&self) -> bool {
        self.event.lock().is_none()
    }

    /// Returns whether the client has closed the query.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Sets the event and wakes the client.
    pub(super) fn put(&self, event: LiveEvent) {
        *self.event.lock() = Some(event);
        if let Some(client) = self.client.upgrade() {
            client.signal();
        }
    }

    /// Closes the slot with its last event.
    pub(super) fn end(&self, error: QueryError) {
        self.close();
        self.put(LiveEvent::Ended(error));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.hub.queries.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Minimum interval between two runs that a client may choose.
const SHORTEST_TIMED_INTERVAL: Duration = Duration::from_secs(1);

/// Reserved name of a live query that will be opened. Dropping it releases the name.
pub struct LiveReservation {
    slot: Arc<Slot>,
    client: Arc<ClientState>,
    /// Interval between two runs, if the query reads flows or history.
    timed_interval: Duration,
    is_open: bool,
}

impl LiveReservation {
    /// Sets the interval between two runs of a query that reads flows or history. The minimum is
    /// one second, or [`LiveOptions::timed_interval`](super::LiveOptions::timed_interval) if that
    /// is shorter.
    #[must_use]
    pub fn with_timed_interval(mut self, interval: Duration) -> Self {
        let shortest = self.timed_interval.min(SHORTEST_TIMED_INTERVAL);
        self.timed_interval = interval.max(shortest);
        self
    }

    /// Parses the query and runs it for the first time. Blocks until the answer is available, which
    /// is the first event.
    ///
    /// # Errors
    /// Returns an error if the query is invalid, fails, exceeds a limit, or was canceled; then the
    /// name is released.
    pub fn open(mut self, text: &str, options: QueryOptions<'_>) -> Result<(), QueryError> {
        let opened = self.run(text, options);
        match opened {
            Err(_) if self.slot.is_closed() => Err(QueryError::interrupted()),
            Err(error) => Err(error),
            Ok(query) => {
                self.is_open = self.client.hub.schedule(query);
                self.client.signal();
                Ok(())
            }
        }
    }

    /// Runs the query for the first time.
    fn run(&self, text: &str, options: QueryOptions<'_>) -> Result<ScheduledQuery, QueryError> {
        let hub = &self.client.hub;
        let mut query = LiveQuery::new(Query::parse(text)?);
        let is_canceled = || options.is_interrupted() || self.slot.is_closed();
        let start = monotonic::now();
        let update = hub.refresh(&mut query, options.client(), &is_canceled)?;
        if let Some(Update::Failed(error)) = update {
            return Err(error);
        }
        if !hub.has_space(query.bytes()) {
            return Err(hub.memory_error());
        }
        *self.slot.event.lock() = update.map(LiveEvent::Update);
        let run_time = monotonic::now() - start;
        let slot = Arc::clone(&self.slot);
        Ok(ScheduledQuery::new(
            query,
            slot,
            self.timed_interval,
            run_time,
        ))
    }
}

impl LiveReservation {
    /// Opens a query without waiting for its first run. The first event is the answer or the error
    /// of this run. A query that cannot be answered at present remains open. Returns `false` if the
    /// engine has stopped.
    pub(in crate::engine) fn open_later(mut self, query: Query) -> bool {
        let query = ScheduledQuery::new(
            LiveQuery::new(query),
            Arc::clone(&self.slot),
            self.timed_interval,
            Duration::ZERO,
        );
        self.is_open = self.client.hub.schedule(query);
        self.is_open
    }
}

impl fmt::Debug for LiveReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LiveReservation({:?})", self.slot.name)
    }
}

impl Drop for LiveReservation {
    fn drop(&mut self) {
        if !self.is_open {
            self.client.remove(|slot| Arc::ptr_eq(slot, &self.slot));
        }
    }
}
