//! `Pins`: accounting of the old revisions that answers hold while they are sent.
//!
//! An answer shares its elements with the graph, so it needs little memory of its own until the
//! graph replaces them. A pin registers the sequence number of an answer's snapshot. When a change
//! replaces a revision, the answers with pins between the change that created the revision and this
//! change may hold it; these pins form a range of the sorted pins. The bytes of the revision are
//! counted at the newest pin of the range, under the number of the oldest pin, and move to the next
//! older pin when the newest is dropped. Thus each revision is counted once, as long as any answer
//! may hold it. A change costs `O(log pins)`, and nothing without pins.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::memory::{MemoryBudget, MemoryCharge, MemoryUse};

/// Registry of the pins of a graph.
pub(super) struct Pins {
    /// Number of pins created so far, from which each pin gets its unique number.
    made: AtomicU64,
    /// Whether there are pins. Changes only under the lock of `state`.
    any: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Pins by the sequence number of their snapshot and their own number.
    pins: BTreeMap<(u64, u64), Holder>,
    /// Sum of all bytes in `pins`.
    bytes: usize,
    /// Charge for `bytes`; `None` until the first pin.
    charge: Option<MemoryCharge>,
}

/// A pin in the registry.
struct Holder {
    /// Bytes of the revisions counted at this pin, by the sequence number of the oldest pin that
    /// may hold them.
    bytes: BTreeMap<u64, usize>,
    end: Arc<End>,
}

/// State of a pin's answer: whether the answer must be abandoned, and the function to call then.
#[derive(Default)]
struct End {
    is_reached: AtomicBool,
    notify: Mutex<Option<Notify>>,
}

type Notify = Box<dyn Fn() + Send>;

impl End {
    fn is_reached(&self) -> bool {
        self.is_reached.load(Ordering::Relaxed)
    }

    fn reach(&self) {
        let notify = self.notify.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_reached.store(true, Ordering::Relaxed);
        if let Some(notify) = &*notify {
            notify();
        }
    }

    fn set_notify(&self, new: Notify) {
        let mut notify = self.notify.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_reached() {
            new();
        }
        *notify = Some(new);
    }
}

/// Registration of an answer that holds the elements of a snapshot; dropped together with the
/// answer.
///
/// When the old revisions that answers hold exceed a quarter of the memory for clients
/// (`http.limits.memory`), the pins of the oldest answers end, and their senders must stop.
///
/// ```
/// use skylib::graph::{Graph, GraphView, Metadata, Node, NodeId};
/// use skylib::memory::{MemoryBudget, MemoryUse};
/// use skylib::time::Timestamp;
///
/// let mut graph = Graph::new();
/// graph.add_node(Node::new("a", Metadata::new(), Timestamp::ZERO))?;
/// let memory = MemoryBudget::new(1 << 20);
/// let pin = GraphView::open(&graph).pin(&memory);
/// graph.delete_node(&NodeId::from("a"), Timestamp::ZERO)?;
/// assert!(memory.used_for(MemoryUse::Revisions) > 0);
/// assert!(!pin.is_ended());
/// drop(pin);
/// assert_eq!(memory.used_for(MemoryUse::Revisions), 0);
/// # Ok::<(), skylib::graph::GraphError>(())
/// ```
pub struct RevisionPin {
    pins: Arc<Pins>,
    key: (u64, u64),
    end: Arc<End>,
}

impl RevisionPin {
    /// Returns whether the answer must be abandoned, because old revisions need too much memory.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.end.is_reached()
    }

    /// Sets a function that is called when the answer must be abandoned. The function runs under
    /// the lock of the graph, so it must only send a notification.
    pub fn on_end(&self, notify: impl Fn() + Send + 'static) {
        self.end.set_notify(Box::new(notify));
    }
}

impl Drop for RevisionPin {
    fn drop(&mut self) {
        self.pins.lock().remove(self.key);
        self.pins.note_end();
    }
}

impl fmt::Debug for RevisionPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevisionPin(sequence {})", self.key.0)
    }
}

impl Pins {
    /// Registers an answer that holds elements of a snapshot.
    pub(super) fn pin(self: &Arc<Self>, sequence: u64, memory: &MemoryBudget) -> RevisionPin {
        let key = (sequence, self.made.fetch_add(1, Ordering::Relaxed));
        let end = Arc::<End>::default();
        let holder = Holder {
            bytes: BTreeMap::new(),
            end: Arc::clone(&end),
        };
        let mut state = self.lock();
        state.pins.insert(key, holder);
        state
            .charge
            .get_or_insert_with(|| memory.charge(MemoryUse::Revisions));
        self.any.store(true, Ordering::Relaxed);
        drop(state);
        RevisionPin {
            pins: Arc::clone(self),
            key,
            end,
        }
    }

    /// Records that the revision created by the change `made` is replaced; `bytes` returns its
    /// size.
    #[inline]
    pub(super) fn replaced(&self, made: u64, bytes: impl FnOnce() -> usize) {
        if self.any.load(Ordering::Relaxed) {
            self.lock().add(made, bytes);
        }
    }

    fn note_end(&self) {
        let state = self.lock();
        self.any.store(!state.pins.is_empty(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, made: u64, bytes: impl FnOnce() -> usize) {
        let Some((&(oldest, _), _)) = self.pins.range((made, 0)..).next() else {
            return;
        };
        let bytes = bytes();
        if let Some(mut newest) = self.pins.last_entry() {
            *newest.get_mut().bytes.entry(oldest).or_default() += bytes;
        }
        self.set_bytes(self.bytes + bytes);
    }

    /// Removes a pin. The bytes of revisions that an older pin may also hold move to that pin.
    fn remove(&mut self, key: (u64, u64)) {
        let Some(ended) = self.pins.remove(&key) else {
            return;
        };
        let mut freed = 0;
        let mut older = self.pins.range_mut(..key).next_back();
        for (oldest, bytes) in ended.bytes {
            match &mut older {
                Some(((sequence, _), holder)) if *sequence >= oldest => {
                    *holder.bytes.entry(oldest).or_default() += bytes;
                }
                _ => freed += bytes,
            }
        }
        self.set_bytes(self.bytes - freed);
    }

    /// Sets the size of the held revisions. If it exceeds the share of memory, or the memory for
    /// clients is exhausted, ends the oldest pin that has not ended.
    fn set_bytes(&mut self, bytes: usize) {
        self.bytes = bytes;
        let Some(charge) = &self.charge else {
            return;
        };
        charge.count(bytes);
        let budget = charge.budget();
        if bytes > budget.limit() / SHARE || (bytes > 0 && budget.used() > budget.limit()) {
            let mut held = self.pins.values();
            if let Some(oldest) = held.find(|holder| !holder.end.is_reached()) {
                oldest.end.reach();
            }
        }
    }
}

impl Default for Pins {
    fn default() -> Self {
        Self {
            made: AtomicU64::new(0),
            any: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }
}

/// Fraction of the memory for clients that old revisions may use: one part in `SHARE`.
const SHARE: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns a budget and an empty registry.
    fn empty(limit: usize) -> (MemoryBudget, Arc<Pins>) {
        (MemoryBudget::new(limit), Arc::default())
    }

    #[test]
    fn a_revision_counts_once_until_its_last_pin_ends() {
        let (memory, pins) = empty(1 << 20);
        let used = || memory.used_for(MemoryUse::Revisions);
        pins.replaced(1, || panic!("no pin needs it"));
        let (first, second) = (pins.pin(10, &memory), pins.pin(20, &memory));
        pins.replaced(5, || 100);
        pins.replaced(15, || 10);
        pins.replaced(25, || panic!("made after the pins"));
        assert_eq!(used(), 110);
        drop(second);
        assert_eq!(used(), 100, "only the second pin held the other");
        drop(first);
        assert_eq!(used(), 0);
    }

    #[test]
    fn the_oldest_answers_end_when_the_revisions_need_too_much() {
        let (memory, pins) = empty(4000);
        let answers: Vec<RevisionPin> = (1..=3).map(|i| pins.pin(10 * i, &memory)).collect();
        pins.replaced(1, || 1000);
        assert!(!answers.iter().any(RevisionPin::is_ended));
        pins.replaced(1, || 1);
        let (sender, notified) = std::sync::mpsc::channel();
        answers[1].on_end(move || sender.send(()).unwrap());
        let ended = || {
            answers
                .iter()
                .map(RevisionPin::is_ended)
                .collect::<Vec<_>>()
        };
        assert_eq!(ended(), [true, false, false]);
        pins.replaced(1, || 1);
        assert_eq!(ended(), [true, true, false]);
        assert_eq!(notified.try_recv(), Ok(()));
        let (sender, notified) = std::sync::mpsc::channel();
        answers[0].on_end(move || sender.send(()).unwrap());
        assert_eq!(notified.try_recv(), Ok(()), "it has ended before");
    }

    proptest! {
        /// The count equals that of a model that stores every revision.
        #[test]
        fn the_count_is_that_of_a_model(
            steps in proptest::collection::vec((0..3_u8, 0..40_u64), 1..120),
        ) {
            let (memory, pins) = empty(usize::MAX);
            let (mut now, mut answers) = (40_u64, Vec::<(u64, RevisionPin)>::new());
            let mut replaced: Vec<(u64, u64)> = Vec::new();
            for (what, number) in steps {
                match what {
                    0 => answers.push((now, pins.pin(now, &memory))),
                    1 if !answers.is_empty() => {
                        drop(answers.swap_remove(number as usize % answers.len()));
                    }
                    _ => {
                        let made = now.saturating_sub(number);
                        now += 1;
                        pins.replaced(made, || 7);
                        replaced.push((made, now));
                    }
                }
                replaced.retain(|(made, end)| {
                    answers.iter().any(|(at, _)| made <= at && at < end)
                });
                prop_assert_eq!(memory.used_for(MemoryUse::Revisions), 7 * replaced.len());
            }
        }
    }
}
