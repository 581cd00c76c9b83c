//! `Bus` and `Subscription`: fan-out of messages to bounded queues with back-pressure.
//!
//! A [`Bus`] puts every message into the queue of each [`Subscription`]. While a queue is full, the
//! sender waits as long as the queue's reader makes progress, so a reader that keeps up with its
//! socket loses nothing. A reader whose queue is full and that has made no progress for
//! [`READ_TIMEOUT`] is cut off and counted; the other subscribers are not affected. The timeout of
//! each reader starts at *its* last progress, even if its queue was not full then: a hundred
//! readers that hang at the same time delay the sender no longer than a single one does.
//!
//! ```
//! use std::sync::Arc;
//! use skylib::engine::{Bus, SubscribeOptions};
//! use skylib::proto::BroadcastMessage;
//!
//! let bus = Bus::default();
//! let mut subscription = bus.subscribe(SubscribeOptions::default());
//! bus.send(&Arc::new(BroadcastMessage::object("flow", "store", b"[]".to_vec())));
//! assert!(subscription.try_next().is_some());
//! assert!(subscription.try_next().is_none());
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::engine::monotonic;
use crate::proto::BroadcastMessage;

/// Time without progress after which a reader with a full queue is cut off.
pub const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// Options of a subscription.
///
/// ```
/// use skylib::engine::SubscribeOptions;
/// let options = SubscribeOptions::default()
///     .with_max_messages(1_000)
///     .with_namespaces(["flow".to_owned()]);
/// assert_eq!(options.max_bytes, 64 << 20);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscribeOptions {
    /// Maximum number of queued messages.
    pub max_messages: usize,
    /// Maximum size of the queued messages, in bytes. A message that other queues also contain
    /// counts in full.
    pub max_bytes: usize,
    /// Namespaces of the messages to receive; `None` for all.
    pub namespaces: Option<Vec<String>>,
}

impl Default for SubscribeOptions {
    /// Returns options for all namespaces, 100 000 messages, and 64 MiB.
    fn default() -> Self {
        Self {
            max_messages: 100_000,
            max_bytes: 64 << 20,
            namespaces: None,
        }
    }
}

impl SubscribeOptions {
    /// Sets the maximum number of queued messages.
    #[must_use]
    pub fn with_max_messages(mut self, max_messages: usize) -> Self {
        self.max_messages = max_messages;
        self
    }

    /// Sets the maximum size of the queued messages, in bytes.
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Selects the namespaces of the messages to receive.
    #[must_use]
    pub fn with_namespaces(mut self, namespaces: impl IntoIterator<Item = String>) -> Self {
        self.namespaces = Some(namespaces.into_iter().collect());
        self
    }

    /// Returns whether a namespace is selected; `namespaces` must be sorted.
    fn wants(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|names| {
            names
                .binary_search_by(|name| (**name).cmp(namespace))
                .is_ok()
        })
    }
}

/// Message that a [`Bus`] can send.
pub trait BusMessage {
    /// Returns the namespace by which subscribers select messages.
    fn namespace(&self) -> &str;

    /// Returns the approximate size in bytes; always the same value for a message.
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

/// Sender of messages to all subscriptions.
#[derive(Debug)]
pub struct Bus<T> {
    queues: Mutex<Vec<Arc<Queue<T>>>>,
    shared: Arc<Shared>,
}

/// State shared by a bus and its queues.
#[derive(Debug, Default)]
struct Shared {
    /// Locked by a sender from its check for space until its wait for [`Shared::freed`], so that no
    /// wake-up in between is lost.
    search: Mutex<()>,
    /// Signal that wakes senders: a full queue may have space, or has been closed.
    freed: Condvar,
    /// Number of subscribers cut off.
    cut_off: AtomicU64,
}

#[derive(Debug)]
struct Queue<T> {
    options: SubscribeOptions,
    state: Mutex<State<T>>,
    /// Signal that wakes the reader: a message has been queued, or the queue has been closed.
    filled: Notify,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct State<T> {
    messages: VecDeque<Arc<T>>,
    /// Sum of the weights of `messages`.
    bytes: usize,
    closed: bool,
    /// Time of the reader's last progress.
    last_progress: Instant,
    /// Number of messages, at least 1, that the reader must take to make progress: 1/64 of the
    /// messages queued at the last progress. A reader that reads continuously achieves this within
    /// [`READ_TIMEOUT`]; a reader that takes a message occasionally in order to delay the others
    /// does not.
    owed: usize,
    /// Whether a sender is waiting for space in this queue.
    is_awaited: bool,
}

/// Receiving end of a [`Bus`]. Dropping it unsubscribes.
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
    /// Returns a subscription that receives every message sent from now on.
    pub fn subscribe(&self, mut options: SubscribeOptions) -> Subscription<T> {
        // Sorted for a binary search at every message: a client may have selected thousands of
        // namespaces.
        if let Some(names) = &mut options.namespaces {
            names.sort_unstable();
        }
        let queue = Arc::new(Queue {
            options,
            state: Mutex::new(State {
                messages: VecDeque::new(),
                bytes: 0,
                closed: false,
                last_progress: monotonic::now(),
                owed: 1,
                is_awaited: false,
            }),
            filled: Notify::new(),
            shared: Arc::clone(&self.shared),
        });
        self.queues.lock().push(Arc::clone(&queue));
        Subscription(queue)
    }

    /// Returns whether any subscriber selects this namespace; otherwise no messages need to be
    /// built.
    pub fn is_wanted(&self, namespace: &str) -> bool {
        self.queues
            .lock()
            .iter()
            .any(|queue| queue.options.wants(namespace))
    }

    /// Returns the number of subscribers.
    pub fn len(&self) -> usize {
        self.queues.lock().len()
    }

    /// Returns whether there are no subscribers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a message into every queue. Waits for all full queues at the same time, for each queue
    /// until its reader has made progress or is cut off after [`READ_TIMEOUT`].
    pub fn send(&self, message: &Arc<T>) {
        let queues = self.queues.lock().clone();
        let mut any_closed = false;
        let mut full: Vec<&Queue<T>> = Vec::new();
        for queue in &queues {
            if queue.options.wants(message.namespace()) {
                match queue.push(message, false) {
                    Push::Done => {}
                    Push::Closed => any_closed = true,
                    Push::Full(_) => full.push(queue),
                }
            }
        }
        if !full.is_empty() {
            any_closed |= self.wait_for_space(message, full);
        }
        if any_closed {
            self.queues
                .lock()
                .retain(|queue| !queue.state.lock().closed);
        }
    }

    /// Puts a message into full queues. Returns whether one of them was closed.
    fn wait_for_space(&self, message: &Arc<T>, mut full: Vec<&Queue<T>>) -> bool {
        let mut any_closed = false;
        // A reader that frees space after the check of its queue needs this lock to wake the
        // sender.
        let mut search = self.shared.search.lock();
        loop {
            let mut deadline: Option<Instant> = None;
            full.retain(|queue| match queue.push(message, true) {
                Push::Done => false,
                Push::Closed => {
                    any_closed = true;
                    false
                }
                Push::Full(until) => {
                    deadline = Some(deadline.map_or(until, |deadline| deadline.min(until)));
                    true
                }
            });
            let Some(deadline) = deadline else {
                return any_closed;
            };
            self.shared.freed.wait_until(&mut search, deadline);
        }
    }

    /// Returns the number of subscribers that were cut off because they stopped reading.
    pub fn cut_off_count(&self) -> u64 {
        self.shared.cut_off.load(Ordering::Relaxed)
    }

    /// Ends every subscription when its reader has taken the queued messages.
    pub fn close(&self) {
        for queue in self.queues.lock().drain(..) {
            queue.close();
        }
    }
}

/// Outcome of [`Queue::push`].
enum Push {
    Done,
    /// The queue was closed or its reader cut off.
    Closed,
    /// The queue is full. Its reader is cut off if it makes no progress until this time.
    Full(Instant),
}

impl<T: BusMessage> Queue<T> {
    /// Appends a message if there is space. Cuts the reader off if its timeout has elapsed.
    fn push(&self, message: &Arc<T>, is_awaited: bool) -> Push {
        let weight = message.weight();
        let mut state = self.state.lock();
        if state.closed {
            return Push::Closed;
        }
        if state.is_full(&self.options, weight) {
            let deadline = state.last_progress + READ_TIMEOUT;
            if monotonic::now() < deadline {
                state.is_awaited |= is_awaited;
                return Push::Full(deadline);
            }
            self.cut_off(&mut state);
            return Push::Closed;
        }
        // The timeout does not run while the reader has nothing to read.
        if state.messages.is_empty() {
            state.note_progress();
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
            state.note_progress();
            if std::mem::take(&mut state.is_awaited) {
                drop(state);
                self.shared.wake_senders();
            }
        }
        Taken::Message(message)
    }
}

/// Outcome of [`Queue::take`].
enum Taken<T> {
    Message(Arc<T>),
    /// The queue is empty.
    Nothing,
    /// The queue is empty and closed.
    Closed,
}

impl<T> Queue<T> {
    /// Closes the queue, drops its messages, and counts the subscriber as cut off.
    fn cut_off(&self, state: &mut State<T>) {
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
    /// Wakes waiting senders. The caller must not hold the lock of a queue, because senders lock
    /// queues while they hold `search`.
    fn wake_senders(&self) {
        drop(self.search.lock());
        self.freed.notify_all();
    }
}

impl<T> State<T> {
    /// Returns whether a message of this weight does not fit. An empty queue accepts any message.
    fn is_full(&self, options: &SubscribeOptions, weight: usize) -> bool {
        !self.messages.is_empty()
            && (self.messages.len() >= options.max_messages
                || self.bytes + weight > options.max_bytes)
    }

    fn note_progress(&mut self) {
        self.last_progress = monotonic::now();
        self.owed = (self.messages.len() / 64).max(1);
    }
}

impl<T: BusMessage> Subscription<T> {
    /// Waits for the next message and returns it; `None` if the subscription has been closed or cut
    /// off.
    pub async fn next(&mut self) -> Option<Arc<T>> {
        loop {
            match self.0.take() {
                Taken::Message(message) => return Some(message),
                Taken::Closed => return None,
                Taken::Nothing => self.0.filled.notified().await,
            }
        }
    }

    /// Ends the subscription because its client has stopped reading, and counts it in
    /// [`Bus::cut_off_count`].
    pub fn cut_off(&self) {
        self.0.cut_off(&mut self.0.state.lock());
        self.0.shared.wake_senders();
    }

    /// Returns the next message if there is one, without waiting.
    pub fn try_next(&mut self) -> Option<Arc<T>> {
        match self.0.take() {
            Taken::Message(message) => Some(message),
            Taken::Nothing | Taken::Closed => None,
        }
    }

    /// Returns the number of queued messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.state.lock().messages.len()
    }

    /// Returns whether no messages are queued.
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
