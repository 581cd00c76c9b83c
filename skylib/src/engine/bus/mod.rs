//! Bounded queues between the engine and those who listen to it.
//!
//! A [`Bus`] hands every message to all its [`Subscription`]s. A queue that is full slows the bus
//! down as long as its reader keeps taking messages, so a reader that keeps up with its own socket
//! loses nothing; one whose queue is full and that has taken nothing to speak of for [`PATIENCE`]
//! is cut off, counted, and touches nobody else. Every reader's patience runs from when *it* last
//! got on, full queue or not: many that freeze together hold the bus up no longer than one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::engine::monotonic;
use crate::proto::BroadcastMessage;

/// How long a reader may take nothing before it is cut off, once its queue is full.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// What a subscriber wants, and how much may wait for it.
#[derive(Clone, Debug)]
pub struct SubscribeOptions {
    /// Messages waiting.
    pub max_messages: usize,
    /// Their size in bytes; a message shared with other queues counts in full.
    pub max_bytes: usize,
    /// Only messages of these namespaces; none is all of them.
    pub namespaces: Option<Vec<String>>,
}

impl Default for SubscribeOptions {
    /// All namespaces, 100 000 messages, 64 MiB.
    fn default() -> Self {
        Self {
            max_messages: 100_000,
            max_bytes: 64 << 20,
            namespaces: None,
        }
    }
}

impl SubscribeOptions {
    /// The names must be sorted.
    fn wants(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|names| {
            names
                .binary_search_by(|name| (**name).cmp(namespace))
                .is_ok()
        })
    }
}

/// What a bus has to know of its messages.
pub trait BusMessage {
    /// What subscribers select by.
    fn namespace(&self) -> &str;

    /// Approximate size in bytes, the same at every call.
    fn weight(&self) -> usize;
}

impl BusMessage for BroadcastMessage {
    fn namespace(&self) -> &str {
        Self::namespace(self)
    }

    fn weight(&self) -> usize {
        Self::weight(self)
    }
}

/// Sends messages to every subscription.
#[derive(Debug)]
pub struct Bus<T> {
    queues: Mutex<Vec<Arc<Queue<T>>>>,
    shared: Arc<Shared>,
}

/// What a bus and its queues share.
#[derive(Debug, Default)]
struct Shared {
    /// Held by a sender while it looks for room, until it waits for [`Shared::freed`].
    search: Mutex<()>,
    /// Wakes senders: a queue that had no room may have some, or was closed.
    freed: Condvar,
    /// Subscribers cut off.
    cut_off: AtomicU64,
}

#[derive(Debug)]
struct Queue<T> {
    options: SubscribeOptions,
    state: Mutex<State<T>>,
    /// Wakes the reader: something arrived, or the queue was closed.
    filled: Notify,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct State<T> {
    messages: VecDeque<Arc<T>>,
    bytes: usize,
    closed: bool,
    /// When the reader last got on.
    since: Instant,
    /// Messages to be taken until it counts as getting on: a 64th of what waited then. A reader
    /// that keeps reading does so in [`PATIENCE`]; one that takes a message now and then to hold
    /// everybody up does not.
    owed: usize,
    /// Whether a sender waits for room here.
    is_awaited: bool,
}

/// The receiving end of a [`Bus`].
#[derive(Debug)]
pub struct Subscription<T>(Arc<Queue<T>>);

impl<T> Default for Bus<T> {
    fn default() -> Self {
        Self {
            queues: Mutex::new(Vec::new()),
            shared: Arc::default(),
        }
    }
}

impl<T: BusMessage> Bus<T> {
    /// A new queue that gets every message sent from now on.
    pub fn subscribe(&self, mut options: SubscribeOptions) -> Subscription<T> {
        // Looked into for every message; a client may have named thousands.
        if let Some(names) = &mut options.namespaces {
            names.sort_unstable();
        }
        let queue = Arc::new(Queue {
            options,
            state: Mutex::new(State {
                messages: VecDeque::new(),
                bytes: 0,
                closed: false,
                since: monotonic::now(),
                owed: 1,
                is_awaited: false,
            }),
            filled: Notify::new(),
            shared: Arc::clone(&self.shared),
        });
        self.queues.lock().push(Arc::clone(&queue));
        Subscription(queue)
    }

    /// Whether somebody wants messages of a namespace, so that they need to be made.
    pub fn is_wanted(&self, namespace: &str) -> bool {
        self.queues
            .lock()
            .iter()
            .any(|queue| queue.options.wants(namespace))
    }

    /// Number of subscribers.
    pub fn len(&self) -> usize {
        self.queues.lock().len()
    }

    /// Whether nobody listens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a message into every queue; waits for those that are full together, for each until
    /// its reader has got on or has not done so for [`PATIENCE`].
    pub fn send(&self, message: &Arc<T>) {
        let queues = self.queues.lock().clone();
        let mut gone = false;
        let mut full: Vec<&Queue<T>> = Vec::new();
        for queue in &queues {
            if queue.options.wants(message.namespace()) {
                match queue.push(message, false) {
                    Push::Done => {}
                    Push::Closed => gone = true,
                    Push::Full(_) => full.push(queue),
                }
            }
        }
        if !full.is_empty() {
            gone |= self.wait_for_room(message, full);
        }
        if gone {
            self.queues
                .lock()
                .retain(|queue| !queue.state.lock().closed);
        }
    }

    /// Puts a message into queues that are full; whether some were closed.
    fn wait_for_room(&self, message: &Arc<T>, mut full: Vec<&Queue<T>>) -> bool {
        let mut gone = false;
        // A reader that makes room after it was looked at waits for this lock to say so.
        let mut search = self.shared.search.lock();
        loop {
            let mut limit: Option<Instant> = None;
            full.retain(|queue| match queue.push(message, true) {
                Push::Done => false,
                Push::Closed => {
                    gone = true;
                    false
                }
                Push::Full(until) => {
                    limit = Some(limit.map_or(until, |limit| limit.min(until)));
                    true
                }
            });
            let Some(limit) = limit else { return gone };
            self.shared.freed.wait_until(&mut search, limit);
        }
    }

    /// How many subscribers were cut off because they stopped reading.
    pub fn cut_off(&self) -> u64 {
        self.shared.cut_off.load(Ordering::Relaxed)
    }

    /// Ends every subscription once its reader has taken what is queued.
    pub fn close(&self) {
        for queue in self.queues.lock().drain(..) {
            queue.close();
        }
    }
}

/// What became of a message.
enum Push {
    Done,
    /// Nobody reads the queue any more.
    Closed,
    /// There is no room; the reader has until then to get on.
    Full(Instant),
}

impl<T: BusMessage> Queue<T> {
    /// Puts a message in if there is room; cuts the reader off if it has run out of time.
    fn push(&self, message: &Arc<T>, is_awaited: bool) -> Push {
        let weight = message.weight();
        let mut state = self.state.lock();
        if state.closed {
            return Push::Closed;
        }
        if state.is_full(&self.options, weight) {
            let until = state.since + PATIENCE;
            if monotonic::now() < until {
                state.is_awaited |= is_awaited;
                return Push::Full(until);
            }
            self.cut(&mut state);
            return Push::Closed;
        }
        if state.messages.is_empty() {
            state.got_on();
        }
        state.messages.push_back(Arc::clone(message));
        state.bytes += weight;
        drop(state);
        self.filled.notify_one();
        Push::Done
    }

    fn take(&self) -> Taken<T> {
        let mut state = self.state.lock();
        let Some(message) = state.messages.pop_front() else {
            return if state.closed {
                Taken::Closed
            } else {
                Taken::Nothing
            };
        };
        state.bytes -= message.weight();
        state.owed -= 1;
        if state.owed == 0 {
            state.got_on();
            if std::mem::take(&mut state.is_awaited) {
                drop(state);
                self.shared.wake_senders();
            }
        }
        Taken::Message(message)
    }
}

/// What a reader finds in its queue.
enum Taken<T> {
    Message(Arc<T>),
    Nothing,
    /// Nothing, and nothing will come.
    Closed,
}

impl<T> Queue<T> {
    /// Drops what is queued, for good, and counts it.
    fn cut(&self, state: &mut State<T>) {
        if !state.closed {
            state.closed = true;
            state.messages = VecDeque::new();
            state.bytes = 0;
            self.shared.cut_off.fetch_add(1, Ordering::Relaxed);
            self.filled.notify_one();
        }
    }

    fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_one();
        self.shared.wake_senders();
    }
}

impl Shared {
    /// Called without any queue's lock, which senders take while they hold theirs.
    fn wake_senders(&self) {
        drop(self.search.lock());
        self.freed.notify_all();
    }
}

impl<T> State<T> {
    /// A message larger than the whole queue still passes when it is the only one.
    fn is_full(&self, options: &SubscribeOptions, weight: usize) -> bool {
        !self.messages.is_empty()
            && (self.messages.len() >= options.max_messages
                || self.bytes + weight > options.max_bytes)
    }

    fn got_on(&mut self) {
        self.since = monotonic::now();
        self.owed = (self.messages.len() / 64).max(1);
    }
}

impl<T: BusMessage> Subscription<T> {
    /// The next message; `None` once the subscription has been closed or cut off.
    pub async fn next(&mut self) -> Option<Arc<T>> {
        loop {
            match self.0.take() {
                Taken::Message(message) => return Some(message),
                Taken::Closed => return None,
                Taken::Nothing => self.0.filled.notified().await,
            }
        }
    }

    /// Ends the subscription because whoever it is for takes nothing any more; counted among those
    /// [cut off](Bus::cut_off).
    pub fn give_up(&self) {
        self.0.cut(&mut self.0.state.lock());
        self.0.shared.wake_senders();
    }

    /// The next message if one is there, to write several at once.
    pub fn try_next(&mut self) -> Option<Arc<T>> {
        match self.0.take() {
            Taken::Message(message) => Some(message),
            Taken::Nothing | Taken::Closed => None,
        }
    }

    /// Messages waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.state.lock().messages.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests;
