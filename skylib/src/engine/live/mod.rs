//! Live queries of a running engine: one thread follows the graph and tells clients what is new.
//!
//! ```text
//! dispatch ─ events ─┐
//! clients ─ opened ──┴ live ─ one piece of news a query ─ client
//! ```
//!
//! A query runs for the first time where it is opened, like any other query. From then on the
//! thread `live` takes note of the graph's events for it, and runs it again when they leave it in
//! doubt, or now and then where it looks at flows or the past. Nothing new is made for a client
//! that has not taken what there is: it finds all of it together in what comes next. So a slow
//! client costs one piece of news a query, and holds up nobody.

mod client;
mod scheduled;

pub use client::{LiveClient, LiveNews, LiveRefusal, LiveTicket};

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use self::client::Client;
use self::scheduled::Follower;
use crate::engine::graph::shared_graph::LoggedEvent;
use crate::engine::monotonic;
use crate::engine::query::QueryRunner;
use crate::graph::GraphEvent;
use crate::gremlin::QueryError;
use crate::gremlin::live::{LiveQuery, Update};

/// How often live queries tell, and what they may take.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LiveOptions {
    /// A query tells at most so often.
    pub interval: Duration,
    /// A query that looks at flows or at the past runs so often.
    pub timed_interval: Duration,
    /// A query that takes longer to run ends.
    pub max_time: Duration,
    /// Live queries at a time, of all clients together.
    pub max_queries: usize,
    /// Items in the answer of one.
    pub max_items: usize,
    /// Bytes that the answers of all together take beside the graph, approximately.
    pub max_bytes: usize,
}

impl Default for LiveOptions {
    /// Ten times a second, flows every five seconds, two seconds a run, a thousand queries of
    /// 100 000 items each and 256 MiB together.
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

/// How live queries do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveStatus {
    /// Queries that are followed, or about to be.
    pub queries: usize,
    /// Items in their answers.
    pub items: usize,
    /// Bytes that these take beside the graph, approximately.
    pub bytes: usize,
    /// How often one ran again.
    pub runs: u64,
    /// How often events came faster than they were taken note of, so that all queries ran again.
    pub overruns: u64,
    /// Queries ended because they took too much.
    pub ended: u64,
}

/// What the thread and the clients share.
pub(super) struct LiveHub {
    options: LiveOptions,
    runner: QueryRunner,
    inbox: Mutex<Inbox>,
    /// Wakes the thread.
    filled: Condvar,
    clients: Mutex<Vec<Weak<Client>>>,
    is_stopped: AtomicBool,
    queries: AtomicUsize,
    items: AtomicUsize,
    bytes: AtomicUsize,
    runs: AtomicU64,
    overruns: AtomicU64,
    ended: AtomicU64,
}

/// What waits for the thread.
#[derive(Default)]
struct Inbox {
    events: Vec<(GraphEvent, u64)>,
    /// Those of them that are of whole transactions.
    whole: usize,
    bytes: usize,
    /// The last change of the graph that the thread has taken, or that was lost.
    passed: u64,
    /// Some events found no room.
    is_overrun: bool,
    opened: Vec<Follower>,
    /// A client took its news or left.
    is_disturbed: bool,
}

impl LiveHub {
    pub(super) fn new(options: LiveOptions, runner: QueryRunner) -> Self {
        Self {
            options,
            runner,
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

    /// Takes down an event, in the order of the log; never waits for anybody.
    pub(super) fn graph_event(&self, logged: &LoggedEvent) {
        // A query opened after this look sees the change when it runs for the first time.
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
            inbox.lose_events();
            self.overruns.fetch_add(1, Ordering::Relaxed);
        }
        if logged.is_last {
            self.filled.notify_one();
        }
    }

    /// Runs a query, within what a live query may take.
    ///
    /// # Errors
    /// A query that took too much; where `is_given_up` said so, [`QueryErrorKind::Interrupted`].
    ///
    /// [`QueryErrorKind::Interrupted`]: crate::gremlin::QueryErrorKind::Interrupted
    fn refresh(
        &self,
        query: &mut LiveQuery,
        is_given_up: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Update>, QueryError> {
        let until = monotonic::now() + self.options.max_time;
        let is_late = AtomicBool::new(false);
        let interrupt = || {
            let late = monotonic::now() >= until;
            is_late.fetch_or(late, Ordering::Relaxed);
            late || is_given_up() || self.is_stopped.load(Ordering::Relaxed)
        };
        let view = self.runner.graph.view();
        let result = self
            .runner
            .refresh(&view, query, self.options.max_items, &interrupt);
        result.map_err(|error| match is_late.into_inner() {
            false => error,
            true => QueryError::limit(format!(
                "a live query may take {} s (live.max_time)",
                self.options.max_time.as_secs_f64()
            )),
        })
    }

    /// Whether there is room for so many bytes more.
    fn has_room(&self, more: usize) -> bool {
        let bytes = self.bytes.load(Ordering::Relaxed).saturating_add(more);
        bytes <= self.options.max_bytes
    }

    fn no_room(&self) -> QueryError {
        let max = self.options.max_bytes;
        QueryError::limit(format!(
            "all live queries together may hold {max} bytes (live.max_bytes)"
        ))
    }

    /// From now on the thread looks after a query; `false` where there is none any more.
    fn follow(&self, mut follower: Follower) -> bool {
        let mut inbox = self.inbox.lock();
        if self.is_stopped.load(Ordering::Relaxed) {
            return false;
        }
        if inbox.passed > follower.query.sequence() {
            // Events went by between its first run and now.
            follower.query.mark_stale();
        }
        self.bytes
            .fetch_add(follower.query.bytes(), Ordering::Relaxed);
        inbox.opened.push(follower);
        self.filled.notify_one();
        true
    }

    /// Something changed at the clients' side.
    fn disturb(&self) {
        self.inbox.lock().is_disturbed = true;
        self.filled.notify_one();
    }

    /// The body of the thread `live`.
    pub(super) fn run(&self) {
        let mut followers: Vec<Follower> = Vec::new();
        let mut looked = monotonic::now();
        while let Some(inbox) = self.wait(
            scheduled::next_time(&followers, &self.options),
            looked + COALESCE,
        ) {
            looked = monotonic::now();
            followers.extend(inbox.opened);
            followers.retain(|follower| !follower.slot.is_closed());
            for follower in &mut followers {
                if inbox.is_overrun {
                    follower.query.mark_stale();
                }
                for (event, sequence) in &inbox.events {
                    follower.query.apply_event(event, *sequence);
                }
            }
            self.bound(&mut followers);
            self.tell(&mut followers);
        }
        let clients = std::mem::take(&mut *self.clients.lock());
        clients
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|client| client.signal());
    }

    /// Ends queries whose answers have grown beyond what they may hold.
    fn bound(&self, followers: &mut Vec<Follower>) {
        let max = self.options.max_items;
        for follower in followers
            .iter()
            .filter(|follower| follower.query.len() > max)
        {
            let text = format!("a live query may hold {max} items (live.max_items)");
            follower.end(self, QueryError::limit(text));
        }
        followers.retain(|follower| !follower.slot.is_closed());
        let mut bytes: usize = followers
            .iter()
            .map(|follower| follower.query.bytes())
            .sum();
        while bytes > self.options.max_bytes {
            let sizes = followers.iter().enumerate();
            let largest = sizes.max_by_key(|(_, follower)| follower.query.bytes());
            let Some((place, _)) = largest else { break };
            let follower = followers.swap_remove(place);
            bytes -= follower.query.bytes();
            follower.end(self, self.no_room());
        }
        let items = followers.iter().map(|follower| follower.query.len()).sum();
        self.items.store(items, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Waits until there is something to do, with events until some time at least; `None` once
    /// stopped. Events come by whole transactions.
    fn wait(&self, until: Option<Instant>, gather_until: Instant) -> Option<Inbox> {
        let mut inbox = self.inbox.lock();
        loop {
            if self.is_stopped.load(Ordering::Relaxed) {
                // Queries that were opened just now and their clients know each other.
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

    /// Tells what there is to tell. Queries that are quick to run come first; the slow ones of some
    /// are not to hold up the quick ones of others.
    fn tell(&self, followers: &mut [Follower]) {
        let began = monotonic::now();
        let mut due: Vec<&mut Follower> = followers
            .iter_mut()
            .filter(|follower| follower.is_due(began, &self.options))
            .collect();
        due.sort_by_key(|follower| follower.cost());
        for follower in due {
            // Events are taken note of in between, and a quick query may be due again.
            if monotonic::now() > began + TURN {
                break;
            }
            if follower.tell(self) {
                self.runs.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn add_client(&self, client: &Arc<Client>) {
        let mut clients = self.clients.lock();
        clients.retain(|client| client.strong_count() > 0);
        clients.push(Arc::downgrade(client));
    }

    pub(super) fn status(&self) -> LiveStatus {
        LiveStatus {
            queries: self.queries.load(Ordering::Relaxed),
            items: self.items.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            runs: self.runs.load(Ordering::Relaxed),
            overruns: self.overruns.load(Ordering::Relaxed),
            ended: self.ended.load(Ordering::Relaxed),
        }
    }

    pub(super) fn stop(&self) {
        let _inbox = self.inbox.lock();
        self.is_stopped.store(true, Ordering::Relaxed);
        self.filled.notify_all();
    }
}

impl Inbox {
    /// What can be worked on: the events of a transaction that is not over yet stay.
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
        let kept =
            |(event, _): &(GraphEvent, u64)| size_of::<GraphEvent>() + event.metadata_bytes();
        self.bytes = self.events.iter().map(kept).sum();
        self.whole = 0;
        self.is_disturbed = false;
        taken
    }

    fn lose_events(&mut self) {
        if let Some((_, sequence)) = self.events.last() {
            self.passed = *sequence;
        }
        self.events = Vec::new();
        (self.whole, self.bytes, self.is_overrun) = (0, 0, true);
    }
}

/// Events that may wait for the thread; few in tests, so that some find no room.
const MAX_EVENTS: usize = if cfg!(test) { 50 } else { 20_000 };
/// Memory that they may keep alive, in bytes; one event may go beyond.
const MAX_BYTES: usize = 16 << 20;
/// The thread looks at events at most so often.
const COALESCE: Duration = Duration::from_millis(2);
/// How long the thread runs queries before it looks at events again; one run may take longer.
const TURN: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
