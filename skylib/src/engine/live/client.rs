//! `LiveClient`: the live queries of one client, by names that it chooses.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::LiveHub;
use super::scheduled::Follower;
use crate::engine::monotonic;
use crate::gremlin::live::{LiveQuery, Update};
use crate::gremlin::{Query, QueryError};

/// The live queries of one client; clones are handles of the same one. When the last is dropped,
/// the queries end.
///
/// ```
/// use std::time::Duration;
/// use skylib::engine::{Engine, EngineOptions, LiveNews};
/// use skylib::graph::{GraphWriter, Metadata, Node};
/// use skylib::gremlin::live::{Change, Update};
///
/// let engine = Engine::start(EngineOptions::new("edge-01"))?;
/// let client = engine.live_client(16);
/// client.begin("bridges")?.open("G.V().Has('Type', 'bridge')", &|| false)?;
/// let patience = Duration::from_secs(20);
/// let (name, first) = client.recv_timeout(patience).expect("the answer");
/// assert_eq!(name, "bridges");
/// assert!(matches!(first, LiveNews::Update(Update::Answer { .. })));
///
/// engine.graph().update(&mut |graph, now| {
///     let metadata = Metadata::from_iter([("Type", "bridge")]);
///     graph.add_node(Node::new("br0", metadata, now)).ok();
/// });
/// let Some((_, LiveNews::Update(Update::Changes { changes, .. }))) = client.recv_timeout(patience)
/// else { panic!("a bridge came") };
/// assert!(matches!(&changes[..], [Change::Entered { at: 0, .. }]));
/// # drop(client);
/// # engine.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct LiveClient(Arc<Client>);

pub(super) struct Client {
    hub: Arc<LiveHub>,
    max_queries: usize,
    slots: Mutex<Slots>,
    /// Wakes whoever waits for news.
    filled: Notify,
    filled_for_threads: Condvar,
}

#[derive(Default)]
struct Slots {
    list: Vec<Arc<Slot>>,
    /// Whose turn it is.
    next: usize,
}

/// Where a live query leaves its news.
pub(super) struct Slot {
    name: String,
    hub: Arc<LiveHub>,
    client: Weak<Client>,
    news: Mutex<Option<LiveNews>>,
    is_closed: AtomicBool,
}

/// What a client hears of a live query.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LiveNews {
    /// The answer, or what changed of it.
    Update(Update),
    /// The query took too much, and ended.
    Ended(QueryError),
}

/// Why no live query may be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LiveRefusal {
    /// A query of this name is there.
    #[error("a live query named {0:?} is there already; cancel it first, or choose another name")]
    Taken(String),
    /// The client has as many as it may have.
    #[error("a client may have {0} live queries; cancel one first")]
    TooMany(usize),
    /// All clients together have as many as there may be.
    #[error("there are {0} live queries already (live.max_queries); try again later")]
    Full(usize),
}

impl LiveClient {
    pub(in crate::engine) fn new(hub: &Arc<LiveHub>, max_queries: usize) -> Self {
        let client = Arc::new(Client {
            hub: Arc::clone(hub),
            max_queries,
            slots: Mutex::default(),
            filled: Notify::new(),
            filled_for_threads: Condvar::new(),
        });
        hub.add_client(&client);
        Self(client)
    }

    /// Takes a name for a query that is to be opened.
    ///
    /// # Errors
    /// See [`LiveRefusal`].
    pub fn begin(&self, name: impl Into<String>) -> Result<LiveTicket, LiveRefusal> {
        let (name, hub) = (name.into(), &self.0.hub);
        let mut slots = self.0.slots.lock();
        if slots.list.iter().any(|slot| slot.name == name) {
            return Err(LiveRefusal::Taken(name));
        }
        if slots.list.len() >= self.0.max_queries {
            return Err(LiveRefusal::TooMany(self.0.max_queries));
        }
        let slot = Slot::new(name, hub, &self.0)?;
        slots.list.push(Arc::clone(&slot));
        Ok(LiveTicket {
            slot,
            client: Arc::clone(&self.0),
            is_open: false,
        })
    }

    /// Ends a query, also one that is only about to be opened; whether there was one. It is not
    /// heard of again.
    pub fn cancel(&self, name: &str) -> bool {
        self.0.remove(|slot| slot.name == name)
    }

    /// The next news of any query, each in its turn, and its name; `None` once the engine has
    /// stopped.
    pub async fn next(&self) -> Option<(String, LiveNews)> {
        loop {
            match self.try_next() {
                Some(news) => return Some(news),
                None if self.0.hub.is_stopped.load(Ordering::Relaxed) => return None,
                None => self.0.filled.notified().await,
            }
        }
    }

    /// The next news if there are some.
    pub fn try_next(&self) -> Option<(String, LiveNews)> {
        let found = self.0.take();
        if found.is_some() {
            self.0.hub.disturb();
        }
        found
    }

    /// The next news, waited for by a thread; `None` when the time is over or the engine has
    /// stopped.
    pub fn recv_timeout(&self, patience: Duration) -> Option<(String, LiveNews)> {
        let until = monotonic::now() + patience;
        loop {
            if let Some(news) = self.try_next() {
                return Some(news);
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
                .wait_until(&mut slots, until)
                .timed_out()
            {
                return None;
            }
        }
    }

    /// Number of queries, those about to be opened included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.slots.lock().list.len()
    }

    /// Whether there is no query.
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

impl Client {
    fn take(&self) -> Option<(String, LiveNews)> {
        let mut slots = self.slots.lock();
        let count = slots.list.len();
        for turn in 0..count {
            let at = (slots.next + turn) % count;
            let Some(news) = slots.list[at].news.lock().take() else {
                continue;
            };
            slots.next = at + 1;
            let name = slots.list[at].name.clone();
            if matches!(news, LiveNews::Ended(_)) {
                slots.list.remove(at).close();
            }
            return Some((name, news));
        }
        None
    }

    /// Closes and forgets the first slot that is meant; whether there is one.
    fn remove(&self, is_meant: impl Fn(&Arc<Slot>) -> bool) -> bool {
        let mut slots = self.slots.lock();
        let Some(at) = slots.list.iter().position(is_meant) else {
            return false;
        };
        let slot = slots.list.remove(at);
        drop(slots);
        slot.close();
        self.hub.disturb();
        true
    }

    /// Wakes whoever waits.
    pub(super) fn signal(&self) {
        // Nobody is between its look and its waiting.
        drop(self.slots.lock());
        self.filled.notify_one();
        self.filled_for_threads.notify_all();
    }
}

impl Drop for Client {
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
        client: &Arc<Client>,
    ) -> Result<Arc<Self>, LiveRefusal> {
        let max = hub.options.max_queries;
        if hub.queries.fetch_add(1, Ordering::AcqRel) >= max {
            hub.queries.fetch_sub(1, Ordering::AcqRel);
            return Err(LiveRefusal::Full(max));
        }
        Ok(Arc::new(Self {
            name,
            hub: Arc::clone(hub),
            client: Arc::downgrade(client),
            news: Mutex::new(None),
            is_closed: AtomicBool::new(false),
        }))
    }

    /// Whether the client has taken what there was.
    pub(super) fn is_empty(&self) -> bool {
        self.news.lock().is_none()
    }

    /// Whether nobody wants news any more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn put(&self, news: LiveNews) {
        *self.news.lock() = Some(news);
        if let Some(client) = self.client.upgrade() {
            client.signal();
        }
    }

    /// The last news.
    pub(super) fn end(&self, error: QueryError) {
        self.close();
        self.put(LiveNews::Ended(error));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.hub.queries.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A name that is taken, for a query that is to be opened.
pub struct LiveTicket {
    slot: Arc<Slot>,
    client: Arc<Client>,
    is_open: bool,
}

impl LiveTicket {
    /// Parses the query and runs it; blocks until its answer is there, which becomes the first
    /// news. `interrupt` is asked now and then whether to give up.
    ///
    /// # Errors
    /// What is no query, fails, takes too much or was cancelled; the name is free again.
    pub fn open(
        mut self,
        text: &str,
        interrupt: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), QueryError> {
        let opened = self.run(text, interrupt);
        match opened {
            Err(_) if self.slot.is_closed() => Err(QueryError::interrupted()),
            Err(error) => Err(error),
            Ok(follower) => {
                self.is_open = self.client.hub.follow(follower);
                self.client.signal();
                Ok(())
            }
        }
    }

    /// Runs the query for the first time.
    fn run(
        &self,
        text: &str,
        interrupt: &(dyn Fn() -> bool + Sync),
    ) -> Result<Follower, QueryError> {
        let hub = &self.client.hub;
        let mut query = LiveQuery::new(Query::parse(text)?);
        let is_given_up = || interrupt() || self.slot.is_closed();
        let began = monotonic::now();
        let update = hub.refresh(&mut query, &is_given_up)?;
        if let Some(Update::Failed(error)) = update {
            return Err(error);
        }
        if !hub.has_room(query.bytes()) {
            return Err(hub.no_room());
        }
        *self.slot.news.lock() = update.map(LiveNews::Update);
        let took = monotonic::now() - began;
        Ok(Follower::new(query, Arc::clone(&self.slot), took))
    }
}

impl fmt::Debug for LiveTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LiveTicket({:?})", self.slot.name)
    }
}

impl Drop for LiveTicket {
    fn drop(&mut self) {
        if !self.is_open {
            self.client.remove(|slot| Arc::ptr_eq(slot, &self.slot));
        }
    }
}
