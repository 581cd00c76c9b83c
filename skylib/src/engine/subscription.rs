//! Bounded queues between the engine and those who listen to it.
//!
//! A [`Bus`] hands every message to all its [`Subscription`]s. A queue that is full slows the bus
//! down as long as its reader keeps taking messages, so a reader that keeps up with its own socket
//! loses nothing; one that has not made room within [`PATIENCE`] is cut off, counted, and touches
//! nobody else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::proto::Outgoing;

/// How long a full queue may hold up the bus before its reader is cut off.
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
    fn wants(&self, namespace: &str) -> bool {
        self.namespaces
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name == namespace))
    }
}

/// What a bus has to know of its messages.
pub trait BusMessage {
    /// What subscribers select by.
    fn namespace(&self) -> &str;

    /// Approximate size in bytes, the same at every call.
    fn weight(&self) -> usize;
}

impl BusMessage for Outgoing {
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
    cut_off: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Queue<T> {
    options: SubscribeOptions,
    state: Mutex<State<T>>,
    /// Wakes the reader: something arrived, or the queue was closed.
    filled: Notify,
    /// Wakes the bus: something was taken.
    drained: Condvar,
    /// The bus's count of subscribers cut off.
    cut_off: Arc<AtomicU64>,
}

#[derive(Debug)]
struct State<T> {
    messages: VecDeque<Arc<T>>,
    bytes: usize,
    closed: bool,
}

/// The receiving end of a [`Bus`].
#[derive(Debug)]
pub struct Subscription<T>(Arc<Queue<T>>);

impl<T> Default for Bus<T> {
    fn default() -> Self {
        Self {
            queues: Mutex::new(Vec::new()),
            cut_off: Arc::default(),
        }
    }
}

impl<T: BusMessage> Bus<T> {
    /// A new queue that gets every message sent from now on.
    pub fn subscribe(&self, options: SubscribeOptions) -> Subscription<T> {
        let queue = Arc::new(Queue {
            options,
            state: Mutex::new(State {
                messages: VecDeque::new(),
                bytes: 0,
                closed: false,
            }),
            filled: Notify::new(),
            drained: Condvar::new(),
            cut_off: Arc::clone(&self.cut_off),
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

    /// Puts a message into every queue; waits at most [`PATIENCE`] for each full one.
    pub fn send(&self, message: &Arc<T>) {
        let queues = self.queues.lock().clone();
        let mut gone = false;
        let wanted = |queue: &&Arc<Queue<T>>| queue.options.wants(message.namespace());
        for queue in queues.iter().filter(wanted) {
            gone |= !queue.push(message);
        }
        if gone {
            self.queues
                .lock()
                .retain(|queue| !queue.state.lock().closed);
        }
    }

    /// How many subscribers were cut off because they stopped reading.
    pub fn cut_off(&self) -> u64 {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// Ends every subscription once its reader has taken what is queued.
    pub fn close(&self) {
        for queue in self.queues.lock().drain(..) {
            queue.close();
        }
    }
}

impl<T: BusMessage> Queue<T> {
    /// Whether there is still somebody to read it.
    fn push(&self, message: &Arc<T>) -> bool {
        let weight = message.weight();
        let mut state = self.state.lock();
        if state.is_full(&self.options, weight) {
            // A reader that keeps reading frees a good part of its queue in that time; one that
            // takes a message now and then to hold everybody up does not.
            let wanted = (state.messages.len() - state.messages.len() / 64).max(1);
            let still_full = |state: &mut State<T>| !state.closed && state.messages.len() >= wanted;
            if self
                .drained
                .wait_while_for(&mut state, still_full, PATIENCE)
                .timed_out()
            {
                self.cut(&mut state);
            }
        }
        if state.closed {
            return false;
        }
        state.messages.push_back(Arc::clone(message));
        state.bytes += weight;
        drop(state);
        self.filled.notify_one();
        true
    }
}

impl<T> Queue<T> {
    /// Drops what is queued, for good, and counts it.
    fn cut(&self, state: &mut State<T>) {
        if !state.closed {
            *state = State {
                messages: VecDeque::new(),
                bytes: 0,
                closed: true,
            };
            self.cut_off.fetch_add(1, Ordering::Relaxed);
            self.filled.notify_one();
            self.drained.notify_one();
        }
    }

    fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_one();
        self.drained.notify_one();
    }
}

impl<T> State<T> {
    /// A message larger than the whole queue still passes when it is the only one.
    fn is_full(&self, options: &SubscribeOptions, weight: usize) -> bool {
        !self.messages.is_empty()
            && (self.messages.len() >= options.max_messages
                || self.bytes + weight > options.max_bytes)
    }
}

impl<T: BusMessage> Subscription<T> {
    /// The next message; `None` once the subscription has been closed or cut off.
    pub async fn next(&mut self) -> Option<Arc<T>> {
        loop {
            {
                let mut state = self.0.state.lock();
                if let Some(message) = state.messages.pop_front() {
                    state.bytes -= message.weight();
                    self.0.drained.notify_one();
                    return Some(message);
                }
                if state.closed {
                    return None;
                }
            }
            self.0.filled.notified().await;
        }
    }

    /// Ends the subscription because whoever it is for takes nothing any more; counted among those
    /// [cut off](Bus::cut_off).
    pub fn give_up(&self) {
        self.0.cut(&mut self.0.state.lock());
    }

    /// The next message if one is there, to write several at once.
    pub fn try_next(&mut self) -> Option<Arc<T>> {
        let mut state = self.0.state.lock();
        let message = state.messages.pop_front()?;
        state.bytes -= message.weight();
        self.0.drained.notify_one();
        Some(message)
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
mod tests {
    use super::*;

    impl BusMessage for u32 {
        fn namespace(&self) -> &str {
            if self.is_multiple_of(2) {
                "even"
            } else {
                "odd"
            }
        }

        fn weight(&self) -> usize {
            4
        }
    }

    fn limits(max_messages: usize) -> SubscribeOptions {
        SubscribeOptions {
            max_messages,
            ..SubscribeOptions::default()
        }
    }

    #[test]
    fn subscribers_get_the_namespaces_they_asked_for() {
        let bus = Bus::default();
        let namespaces = Some(vec!["odd".to_owned()]);
        let mut odd = bus.subscribe(SubscribeOptions {
            namespaces,
            ..limits(10)
        });
        assert!(bus.is_wanted("odd") && !bus.is_wanted("even"));
        for i in 0..5_u32 {
            bus.send(&Arc::new(i));
        }
        assert_eq!(odd.try_next().as_deref(), Some(&1));
        assert_eq!(odd.len(), 1);
    }

    #[test]
    fn every_subscriber_gets_every_message_in_order() {
        let bus = Bus::default();
        let mut all = [bus.subscribe(limits(100)), bus.subscribe(limits(100))];
        for i in 0..50_u32 {
            bus.send(&Arc::new(i));
        }
        for subscription in &mut all {
            let got: Vec<u32> = std::iter::from_fn(|| subscription.try_next())
                .map(|m| *m)
                .collect();
            assert_eq!(got, (0..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_reader_that_keeps_reading_loses_nothing() {
        let bus = Arc::new(Bus::default());
        let mut subscription = bus.subscribe(limits(8));
        let sender = Arc::clone(&bus);
        let writer = std::thread::spawn(move || {
            for i in 0..10_000_u32 {
                sender.send(&Arc::new(i));
            }
        });
        let mut got = 0;
        while got < 10_000 {
            match subscription.try_next() {
                Some(message) => {
                    assert_eq!(*message, got);
                    got += 1;
                }
                None => std::thread::yield_now(),
            }
        }
        writer.join().unwrap();
        assert_eq!(bus.cut_off(), 0);
    }

    #[test]
    fn a_reader_that_stopped_is_cut_off_and_the_others_go_on() {
        let bus = Bus::default();
        let frozen = bus.subscribe(limits(2));
        let mut alive = bus.subscribe(limits(100));
        for i in 0..10_u32 {
            bus.send(&Arc::new(i));
        }
        assert_eq!(bus.cut_off(), 1);
        assert_eq!(alive.len(), 10);
        assert!(alive.try_next().is_some());
        assert!(frozen.is_empty(), "its memory is given back");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut frozen = frozen;
        assert!(runtime.block_on(frozen.next()).is_none());
    }

    #[test]
    fn a_dropped_subscription_leaves_the_bus() {
        let bus = Bus::default();
        drop(bus.subscribe(limits(2)));
        bus.send(&Arc::new(1_u32));
        assert!(bus.is_empty());
    }
}
