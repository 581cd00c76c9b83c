//! `Poller`: the event loop of a thread that watches many namespaces.
//!
//! Sockets belong to the namespace in which they were created, so the thread needs not be in a
//! namespace to use its sockets. One `epoll` reports which sockets have events; the next deadlines
//! of all namespaces are in one sorted set. A turn of the loop does a bounded amount of work for each
//! namespace that has any, so a namespace with many changes does not delay others. The cost of a turn
//! is `O(log n)` for each namespace that has work, and nothing for the others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::link_table::NamespaceKey;
use super::namespace::{Member, Shared, lock};
use super::watch::{Watch, Work};
use crate::sys::capability::Capability;
use crate::sys::eventfd::EventFd;
use crate::sys::monotonic;

/// Event loop of a thread, and what other threads pass to it.
#[derive(Debug)]
pub(super) struct Poller {
    /// Event sockets of the namespaces by the number of their key, [`STOP`], and [`WAKE`].
    epoll: OwnedFd,
    /// Raised when `inbox` is not empty.
    wake: EventFd,
    inbox: Mutex<Inbox>,
    /// Number of namespaces that this loop watches, or will watch.
    load: AtomicUsize,
}

#[derive(Debug, Default)]
struct Inbox {
    added: Vec<Arc<Slot>>,
    removed: Vec<NamespaceKey>,
    /// Namespaces with requests of other threads.
    woken: BTreeSet<NamespaceKey>,
}

impl Poller {
    /// Returns a loop without namespaces.
    pub(super) fn new() -> io::Result<Self> {
        let poller = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            wake: EventFd::new()?,
            inbox: Mutex::default(),
            load: AtomicUsize::new(0),
        };
        poller.poll(poller.wake.as_fd(), WAKE)?;
        Ok(poller)
    }

    /// Watches a namespace, from the next iteration of the loop.
    pub(super) fn add(&self, slot: &Arc<Slot>) {
        self.load.fetch_add(1, Ordering::Relaxed);
        lock(&self.inbox).added.push(Arc::clone(slot));
        self.wake.raise();
    }

    /// Makes the loop process the requests of other threads to a namespace.
    pub(super) fn wake(&self, key: NamespaceKey) {
        lock(&self.inbox).woken.insert(key);
        self.wake.raise();
    }

    /// Returns the number of namespaces that this loop watches.
    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Runs the loop on the calling thread until `stop` is raised.
    pub(super) fn run(&self, shared: &Arc<Shared>, stop: &EventFd) -> io::Result<()> {
        self.poll(stop.as_fd(), STOP)?;
        let mut slots = Slots::default();
        loop {
            let mut work = self.wait(slots.next_due())?;
            slots.take_inbox(std::mem::take(&mut *lock(&self.inbox)), &mut work);
            slots.take_due(monotonic::now(), &mut work);
            for (key, work) in work {
                if stop.is_raised() {
                    return Ok(());
                }
                if let Some(slot) = slots.by_key.get(&key) {
                    let due = slot.turn(shared, work);
                    slots.set_due(key, due);
                }
            }
            if stop.is_raised() {
                return Ok(());
            }
        }
    }

    /// Waits until a namespace has events, the inbox is not empty, or a deadline has passed.
    fn wait(&self, due: Option<Duration>) -> io::Result<BTreeMap<NamespaceKey, Work>> {
        let wait = due.map(|due| due.saturating_sub(monotonic::now()).min(MAX_WAIT));
        let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let mut buffer = [MaybeUninit::uninit(); EVENTS_AT_ONCE];
        let ready = match epoll::wait(&self.epoll, &mut buffer[..], timeout.as_ref()) {
            Ok((ready, _)) => ready,
            Err(Errno::INTR) => return Ok(BTreeMap::new()),
            Err(error) => return Err(error.into()),
        };
        let mut work: BTreeMap<NamespaceKey, Work> = BTreeMap::new();
        for event in ready {
            match event.data.u64() {
                WAKE => {
                    self.wake.clear();
                }
                number => {
                    if let Some(key) = NamespaceKey::from_number(number) {
                        work.entry(key).or_default().events = true;
                    }
                }
            }
        }
        Ok(work)
    }

    fn poll(&self, fd: impl AsFd, number: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(number);
        epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN)?;
        Ok(())
    }
}

/// Namespaces of a running loop.
#[derive(Default)]
struct Slots {
    by_key: HashMap<NamespaceKey, Arc<Slot>>,
    /// Next deadline of each namespace that has one.
    due: HashMap<NamespaceKey, Duration>,
    /// The same deadlines in their order.
    deadlines: BTreeSet<(Duration, NamespaceKey)>,
}

impl Slots {
    fn take_inbox(&mut self, inbox: Inbox, work: &mut BTreeMap<NamespaceKey, Work>) {
        for slot in inbox.added {
            work.entry(slot.member.key).or_default();
            self.by_key.insert(slot.member.key, slot);
        }
        for key in inbox.woken {
            work.entry(key).or_default().requests = true;
        }
        // A namespace can be removed before the loop has added it.
        for key in inbox.removed {
            self.by_key.remove(&key);
            self.set_due(key, None);
        }
    }

    fn take_due(&self, now: Duration, work: &mut BTreeMap<NamespaceKey, Work>) {
        let passed = self.deadlines.iter().take_while(|(due, _)| *due <= now);
        for (_, key) in passed {
            work.entry(*key).or_default();
        }
    }

    fn next_due(&self) -> Option<Duration> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    fn set_due(&mut self, key: NamespaceKey, due: Option<Duration>) {
        let former = match due {
            Some(due) => self.due.insert(key, due),
            None => self.due.remove(&key),
        };
        if let Some(former) = former {
            self.deadlines.remove(&(former, key));
        }
        self.deadlines.extend(due.map(|due| (due, key)));
    }
}

/// A namespace of a loop.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) member: Arc<Member>,
    /// Locked during an iteration of the loop, so that nothing happens in a namespace after
    /// [`Slot::close`].
    state: Mutex<SlotState>,
}

#[derive(Debug)]
enum SlotState {
    /// The sockets are opened at this time.
    Waiting(Duration),
    Open(Box<Watch>),
    /// The namespace cannot be entered without a further capability.
    Refused,
    /// The namespace was removed from the loop.
    Closed,
}

impl Slot {
    /// Returns a namespace whose sockets are opened in its first turn.
    pub(super) fn new(member: Arc<Member>) -> Arc<Self> {
        Arc::new(Self {
            member,
            state: Mutex::new(SlotState::Waiting(Duration::ZERO)),
        })
    }

    /// Closes the sockets and removes the namespace from its loop; waits for an iteration in progress.
    pub(super) fn close(&self) {
        let former = std::mem::replace(&mut *lock(&self.state), SlotState::Closed);
        if matches!(former, SlotState::Closed) {
            return;
        }
        let poller = &self.member.poller;
        lock(&poller.inbox).removed.push(self.member.key);
        poller.load.fetch_sub(1, Ordering::Relaxed);
        poller.wake.raise();
    }

    /// Does the work of a namespace, and returns its next deadline.
    fn turn(&self, shared: &Arc<Shared>, work: Work) -> Option<Duration> {
        let mut state = lock(&self.state);
        // A panic ends the watch of this namespace only, which begins again.
        let advanced = catch_unwind(AssertUnwindSafe(|| self.advance(&mut state, shared, work)));
        let result = advanced
            .unwrap_or_else(|_| Err(io::Error::other("the watch of the namespace panicked")));
        if let Err(error) = result {
            *state = self.failed(&error);
        }
        match &*state {
            SlotState::Waiting(due) => Some(*due),
            SlotState::Open(watch) => watch.due(),
            SlotState::Refused | SlotState::Closed => None,
        }
    }

    fn advance(&self, state: &mut SlotState, shared: &Arc<Shared>, work: Work) -> io::Result<()> {
        match state {
            SlotState::Waiting(due) if *due <= monotonic::now() => {
                let mut watch = Watch::open(shared, &self.member)?;
                self.member.poller.poll(&watch, self.member.key.number())?;
                watch.resync()?;
                self.member.watched();
                *state = SlotState::Open(Box::new(watch));
                Ok(())
            }
            SlotState::Open(watch) => watch.turn(work),
            SlotState::Waiting(_) | SlotState::Refused | SlotState::Closed => Ok(()),
        }
    }

    /// Reports an error, and returns the state after it.
    fn failed(&self, error: &io::Error) -> SlotState {
        let refused = error.kind() == io::ErrorKind::PermissionDenied;
        let remedy = match refused.then_some(Capability::SysAdmin) {
            Some(capability) if !capability.is_available() => capability.help(),
            _ => error.to_string(),
        };
        self.member.problem("", Some(remedy));
        // Waiting does not help against a missing capability.
        if refused {
            SlotState::Refused
        } else {
            SlotState::Waiting(monotonic::now() + RETRY_INTERVAL)
        }
    }
}

/// Number of the stop signal, which no namespace has.
const STOP: u64 = u64::MAX;

/// Number of the signal of the inbox, which no namespace has.
const WAKE: u64 = u64::MAX - 1;

/// Number of sockets with events in one iteration of the loop.
const EVENTS_AT_ONCE: usize = 64;

/// Time from an error of a namespace to the next attempt to watch it.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);

/// Maximum time of a wait.
const MAX_WAIT: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> NamespaceKey {
        NamespaceKey::from_number(number).unwrap()
    }

    #[test]
    fn deadlines_are_replaced_and_removed() {
        let mut slots = Slots::default();
        let at = Duration::from_secs;
        slots.set_due(key(1), Some(at(5)));
        slots.set_due(key(2), Some(at(7)));
        assert_eq!(slots.next_due(), Some(at(5)));
        slots.set_due(key(1), Some(at(9)));
        assert_eq!(slots.next_due(), Some(at(7)));
        let mut work = BTreeMap::new();
        slots.take_due(at(7), &mut work);
        assert_eq!(work.into_keys().collect::<Vec<_>>(), [key(2)]);
        slots.set_due(key(2), None);
        slots.set_due(key(1), None);
        assert_eq!((slots.next_due(), slots.due.len()), (None, 0));
    }

    #[test]
    fn a_loop_is_woken_and_waits_until_a_deadline() {
        let poller = Poller::new().unwrap();
        poller.wake(key(3));
        assert!(poller.wait(None).unwrap().is_empty(), "not a namespace");
        let mut work = BTreeMap::new();
        let mut slots = Slots::default();
        slots.take_inbox(std::mem::take(&mut *lock(&poller.inbox)), &mut work);
        assert!(work[&key(3)].requests);
        let due = monotonic::now() + Duration::from_millis(3);
        assert!(poller.wait(Some(due)).unwrap().is_empty());
        assert!(monotonic::now() >= due);
    }

    #[test]
    fn numbers_of_signals_are_not_namespaces() {
        assert_eq!(NamespaceKey::from_number(STOP), None);
        assert_eq!(NamespaceKey::from_number(WAKE), None);
        assert_eq!(key(7).number(), 7);
    }
}
