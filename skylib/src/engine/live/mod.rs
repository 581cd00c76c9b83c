//! Live queries of an engine: one thread follows the graph and sends changes to clients.
//!
//! ```text
//! dispatcher ─ events ─┐
//! clients ─── opened ──┴ live thread ─ one update per query ─ client
//! ```
//!
//! A query runs for the first time on the thread that opens it, like any other query. Then the
//! thread `live` applies the graph's events to it, and runs it again when an event makes its answer
//! stale, or at an interval if it reads flows or the past. While a client has not taken the
//! previous update, no new update is built: later changes are merged into the next one. Therefore,
//! a slow client costs one update per query and does not delay other clients.

mod client;
mod scheduled;

pub use client::{LiveClient, LiveError, LiveEvent, LiveReservation};

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use self::client::ClientState;
use self::scheduled::ScheduledQuery;
use crate::engine::graph::LoggedEvent;
use crate::engine::monotonic;
use crate::engine::query::{QueryOptions, QueryRunner};
use crate::graph::GraphEvent;
use crate::gremlin::QueryError;
use crate::gremlin::live::{LiveQuery, Update};
use crate::memory::{MemoryBudget, MemoryCharge, MemoryUse};

/// Intervals and limits of live queries.
///
/// ```
/// use std::time::Duration;
/// use skylib::engine::LiveOptions;
/// let options = LiveOptions::default().with_interval(Duration::from_millis(500));
/// assert_eq!(options.max_queries, 1_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveOptions {
    /// Minimum time between two updates of a query.
    pub interval: Duration,
    /// Interval at which a query that reads flows or the past runs again.
    pub timed_interval: Duration,
    /// Maximum duration of one run; a query that exceeds it ends.
    pub max_time: Duration,
    /// Maximum number of live queries of all clients together.
    pub max_queries: usize,
    /// Maximum number of items in the answer of one query.
    pub max_items: usize,
    /// Maximum memory of all answers together, in bytes, approximately. Elements shared with the
    /// graph do not count.
    pub max_bytes: usize,
}

impl Default for LiveOptions {
    /// Returns intervals of 100 ms and 5 s, a time limit of 2 s, and limits of 1 000 queries, 100
    /// 000 items per query, and 256 MiB.
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(100),
            timed_interval: Duration::from_secs(5),
            max_time: Duration::from_secs(2),
            max_queries: 1_000,
            max_items: 100_000,
            max_bytes: 256 << 20,
        }
    }
}

impl LiveOptions {
    /// Sets the minimum time between two updates of a query.
    #[must_use]
    pub const fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets the interval at which a query that reads flows or the past runs again.
    #[must_use]
    pub const fn with_timed_interval(mut self, interval: Duration) -> Self {
        self.timed_interval = interval;
        self
    }

    /// Sets the maximum duration of one run.
    #[must_use]
    pub const fn with_max_time(mut self, max_time: Duration) -> Self {
        self.max_time = max_time;
        self
    }

    /// Sets the maximum number of live queries of all clients together.
    #[must_use]
    pub const fn with_max_queries(mut self, max_queries: usize) -> Self {
        self.max_queries = max_queries;
        self
    }

    /// Sets the maximum number of items in the answer of one query.
    #[must_use]
    pub const fn with_max_items(mut self, max_items: usize) -> Self {
        self.max_items = max_items;
        self
    }

    /// Sets the maximum memory of all answers together, in bytes.
    #[must_use]
    pub const fn with_max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }
}

/// Counters of the live queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveStatus {
    /// Number of queries that are open or being opened.
    pub queries: usize,
    /// Number of items in the answers of the open queries.
    pub items: usize,
    /// Approximate memory of the items in the answers, in bytes, excluding elements shared with the
    /// graph.
    pub bytes: usize,
    /// Number of times a query ran again.
    pub runs: u64,
    /// Number of times the event queue overflowed, so that all queries ran again.
    pub overruns: u64,
    /// Number of queries ended because they exceeded a limit.
    pub ended: u64,
}

/// State that the live thread shares with the clients.
pub(crate) struct LiveHub {
    options: LiveOptions,
    runner: QueryRunner,
    /// Charge for the answers; only the live thread changes it.
    memory: MemoryCharge,
    inbox: Mutex<Inbox>,
    /// Signal that wakes the live thread.
    filled: Condvar,
    clients: Mutex<Vec<Weak<ClientState>>>,
    is_stopped: AtomicBool,
    queries: AtomicUsize,
    items: AtomicUsize,
    bytes: AtomicUsize,
    runs: AtomicU64,
    overruns: AtomicU64,
    ended: AtomicU64,
}

/// Queued work for the live thread.
#[derive(Default)]
struct Inbox {
    /// Events, each with the graph's sequence number after its transaction.
    events: Vec<(GraphEvent, u64)>,
    /// Number of events, from the front, whose transactions are complete; `whole <= events.len()`.
    whole: usize,
    /// Memory that `events` retain, in bytes.
    bytes: usize,
    /// Sequence number of the last event that the thread has taken or that was dropped.
    passed: u64,
    /// Whether events were dropped because the inbox was full.
    is_overrun: bool,
    opened: Vec<ScheduledQuery>,
    /// Whether a client took an update or closed a query.
    is_disturbed: bool,
}

impl LiveHub {
    /// Returns a hub without queries.
    pub(crate) fn new(options: LiveOptions, runner: QueryRunner, memory: &MemoryBudget) -> Self {
        Self {
            options,
            runner,
            memory: memory.charge(MemoryUse::LiveQueries),
            inbox: Mutex::default(),
            filled: Condvar::new(),
            clients: Mutex::default(),
            is_stopped: AtomicBool::new(false),
            queries: AtomicUsize::new(0),
            items: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            runs: AtomicU64::new(0),
            overruns: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    /// Queues a graph event, in the order of the log. Called by the dispatcher; never blocks.
    pub(crate) fn graph_event(&self, logged: &LoggedEvent) {
        // A query that is opened after this check sees the change in its first run.
        if self.queries.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut inbox = self.inbox.lock();
        inbox.bytes += logged.bytes;
        inbox.events.push((logged.event.clone(), logged.sequence));
        if logged.is_last {
            inbox.whole = inbox.events.len();
        }
        if inbox.events.len() > MAX_EVENTS || inbox.bytes > MAX_BYTES {
            inbox.drop_events();
            self.overruns.fetch_add(1, Ordering::Relaxed);
        }
        if logged.is_last {
            self.filled.notify_one();
        }
    }

    /// Runs a query within the limits of live queries, on behalf of a client.
    ///
    /// # Errors
    /// Returns an error if the query fails or exceeds a limit, and
    /// [`QueryErrorKind::Interrupted`] if `is_canceled` returns `true`.
    ///
    /// [`QueryErrorKind::Interrupted`]: crate::gremlin::QueryErrorKind::Interrupted
    fn refresh(
        &self,
        query: &mut LiveQuery,
        client: Option<&str>,
        is_canceled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Update>, QueryError> {
        let deadline = monotonic::now() + self.options.max_time;
        let is_late = AtomicBool::new(false);
        let interrupt = || {
            let late = monotonic::now() >= deadline;
            is_late.fetch_or(late, Ordering::Relaxed);
            late || is_canceled() || self.is_stopped.load(Ordering::Relaxed)
        };
        let view = self.runner.graph.view();
        let memory = self.memory.budget().charge(MemoryUse::Queries);
        let mut options = QueryOptions::default()
            .with_interrupt(&interrupt)
            .with_memory(&memory);
        if let Some(client) = client {
            options = options.with_client(client);
        }
        let result = self
            .runner
            .refresh(&view, query, self.options.max_items, options);
        result.map_err(|error| match is_late.into_inner() {
            false => error,
            true => QueryError::limit(format!(
                "a run of the live query took longer than {} s (live.max_time)",
                self.options.max_time.as_secs_f64()
            )),
        })
    }

    /// Returns whether `more` bytes fit into the memory limit.
    fn has_space(&self, more: usize) -> bool {
        let bytes = self.bytes.load(Ordering::Relaxed).saturating_add(more);
        bytes <= self.options.max_bytes && !self.is_exhausted(bytes)
    }

    /// Returns whether the memory for clients would be exhausted if the answers used this number of
    /// bytes.
    fn is_exhausted(&self, bytes: usize) -> bool {
        let budget = self.memory.budget();
        let others = budget.used().saturating_sub(self.memory.bytes());
        bytes > 0 && others.saturating_add(bytes) > budget.limit()
    }

    fn memory_error(&self) -> QueryError {
        let max = self.options.max_bytes;
        QueryError::limit(format!(
            "limit of {max} bytes for the answers of all live queries reached (live.max_bytes, \
             http.limits.memory)"
        ))
    }

    /// Passes a query to the live thread. Returns `false` if the thread has ended.
    fn schedule(&self, mut opened: ScheduledQuery) -> bool {
        let mut inbox = self.inbox.lock();
        if self.is_stopped.load(Ordering::Relaxed) {
            return false;
        }
        if inbox.passed > opened.query.sequence() {
            // The thread has already taken events that the first run did not see.
            opened.query.mark_stale();
        }
        self.bytes
            .fetch_add(opened.query.bytes(), Ordering::Relaxed);
        inbox.opened.push(opened);
        self.filled.notify_one();
        true
    }

    /// Wakes the live thread because a client took an update or closed a query.
    fn disturb(&self) {
        self.inbox.lock().is_disturbed = true;
        self.filled.notify_one();
    }

    /// Serves the queries until [`LiveHub::stop`] is called; the body of the thread `live`.
    pub(crate) fn run(&self) {
        let mut queries: Vec<ScheduledQuery> = Vec::new();
        let mut last_turn = monotonic::now();
        while let Some(inbox) = self.wait(
            scheduled::next_time(&queries, &self.options),
            last_turn + COALESCE,
        ) {
            last_turn = monotonic::now();
            queries.extend(inbox.opened);
            queries.retain(|scheduled| !scheduled.slot.is_closed());
            for scheduled in &mut queries {
                if inbox.is_overrun {
                    scheduled.query.mark_stale();
                }
                for (event, sequence) in &inbox.events {
                    scheduled.query.apply_event(event, *sequence);
                }
            }
            self.enforce_limits(&mut queries);
            self.update_due(&mut queries);
        }
        let clients = std::mem::take(&mut *self.clients.lock());
        clients
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|client| client.signal());
    }

    /// Ends queries whose answers exceed a limit; for the memory limit, the largest answers first.
    fn enforce_limits(&self, queries: &mut Vec<ScheduledQuery>) {
        let max = self.options.max_items;
        for scheduled in queries
            .iter()
            .filter(|scheduled| scheduled.query.len() > max)
        {
            let text = format!("the answer of the live query exceeds {max} items (live.max_items)");
            scheduled.end(self, QueryError::limit(text));
        }
        queries.retain(|scheduled| !scheduled.slot.is_closed());
        let mut bytes: usize = queries
            .iter()
            .map(|scheduled| scheduled.query.bytes())
            .sum();
        while bytes > self.options.max_bytes || self.is_exhausted(bytes) {
            let sizes = queries.iter().enumerate();
            let largest = sizes.max_by_key(|(_, scheduled)| scheduled.query.bytes());
            let Some((index, _)) = largest else { break };
            let scheduled = queries.swap_remove(index);
            bytes -= scheduled.query.bytes();
            scheduled.end(self, self.memory_error());
        }
        let items = queries.iter().map(|scheduled| scheduled.query.len()).sum();
        self.items.store(items, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.memory.count(bytes);
    }

    /// Waits for work and takes it; returns `None` if the hub is stopped. The wait ends at `until`,
    /// or earlier for new events, but then not before `gather_until`. Only complete transactions
    /// are taken.
    fn wait(&self, until: Option<Instant>, gather_until: Instant) -> Option<Inbox> {
        let mut inbox = self.inbox.lock();
        loop {
            if self.is_stopped.load(Ordering::Relaxed) {
                // Breaks the reference cycle between the queries just opened, their clients, and
                // this hub.
                inbox.opened.clear();
                return None;
            }
            let until = match (until, inbox.whole > 0) {
                (Some(until), true) => Some(until.min(gather_until)),
                (None, true) => Some(gather_until),
                (until, false) => until,
            };
            let is_late = until.is_some_and(|until| monotonic::now() >= until);
            let is_urgent = inbox.is_overrun || inbox.is_disturbed || !inbox.opened.is_empty();
            if is_late || is_urgent {
                return Some(inbox.take());
            }
            match until {
                Some(until) => drop(self.filled.wait_until(&mut inbox, until)),
                None => self.filled.wait(&mut inbox),
            }
        }
    }

    /// Updates the queries that are due, the cheapest first, so that slow queries of some clients
    /// do not delay fast queries of others.
    fn update_due(&self, queries: &mut [ScheduledQuery]) {
        let start = monotonic::now();
        let mut due: Vec<&mut ScheduledQuery> = queries
            .iter_mut()
            .filter(|scheduled| scheduled.is_due(start, &self.options))
            .collect();
        due.sort_by_key(|scheduled| scheduled.cost());
        for scheduled in due {
            // The other queries wait until new events have been applied, because a fast query may
            // be due again.
            if monotonic::now() > start + TIME_SLICE {
                break;
            }
            if scheduled.update(self) {
                self.runs.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn add_client(&self, client: &Arc<ClientState>) {
        let mut clients = self.clients.lock();
        clients.retain(|client| client.strong_count() > 0);
        clients.push(Arc::downgrade(client));
    }

    /// Returns the counters of the live queries.
    pub(crate) fn status(&self) -> LiveStatus {
        LiveStatus {
            queries: self.queries.load(Ordering::Relaxed),
            items: self.items.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            runs: self.runs.load(Ordering::Relaxed),
            overruns: self.overruns.load(Ordering::Relaxed),
            ended: self.ended.load(Ordering::Relaxed),
        }
    }

    /// Ends the live thread and all waits of clients.
    pub(crate) fn stop(&self) {
        let _inbox = self.inbox.lock();
        self.is_stopped.store(true, Ordering::Relaxed);
        self.filled.notify_all();
    }
}

impl Inbox {
    /// Takes the work, except for the events of an incomplete transaction.
    fn take(&mut self) -> Self {
        let rest = self.events.split_off(self.whole);
        let taken = Self {
            events: std::mem::replace(&mut self.events, rest),
            opened: std::mem::take(&mut self.opened),
            is_overrun: std::mem::take(&mut self.is_overrun),
            ..Self::default()
        };
        if let Some((_, sequence)) = taken.events.last() {
            self.passed = *sequence;
        }
        let retained =
            |(event, _): &(GraphEvent, u64)| size_of::<GraphEvent>() + event.metadata_bytes();
        self.bytes = self.events.iter().map(retained).sum();
        self.whole = 0;
        self.is_disturbed = false;
        taken
    }

    /// Drops all events, so that every query has to run again.
    fn drop_events(&mut self) {
        if let Some((_, sequence)) = self.events.last() {
            self.passed = *sequence;
        }
        self.events = Vec::new();
        (self.whole, self.bytes, self.is_overrun) = (0, 0, true);
    }
}

/// Maximum number of events in the inbox; small in tests, so that some overflow it.
const MAX_EVENTS: usize = if cfg!(test) { 50 } else { 20_000 };
/// Maximum memory that the events in the inbox retain, in bytes; a single event may exceed it.
const MAX_BYTES: usize = 16 << 20;
/// Minimum time between two batches of events.
const COALESCE: Duration = Duration::from_millis(2);
/// Time for which the thread runs queries before it applies new events; a single run may exceed it.
const TIME_SLICE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
