//! Connections that wait for their next request: the first to go where there are too many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The connections that wait, in the order in which they began to.
#[derive(Debug, Default)]
pub(crate) struct IdleConnections {
    places: Mutex<BTreeMap<u64, Arc<Notify>>>,
    next: AtomicU64,
    closed: AtomicU64,
}

impl IdleConnections {
    /// A new connection, which waits for its first request.
    pub(crate) fn enter(self: &Arc<Self>) -> Arc<TrackedConnection> {
        let waiter = Arc::new(TrackedConnection {
            waiting: Arc::clone(self),
            place: Mutex::new(None),
            close: Arc::new(Notify::new()),
        });
        waiter.rest();
        waiter
    }

    /// Closes the connection that has waited longest; `false` if none waits.
    pub(crate) fn close_one(&self) -> bool {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, close)) = places.pop_first() else {
            return false;
        };
        close.notify_one();
        self.closed.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// How many have been closed to make place.
    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct TrackedConnection {
    waiting: Arc<IdleConnections>,
    place: Mutex<Option<u64>>,
    close: Arc<Notify>,
}

impl TrackedConnection {
    /// Its request is worked on until the guard is dropped, which is with the end of the answer.
    pub(crate) fn work(self: &Arc<Self>) -> BusyGuard {
        self.leave();
        BusyGuard(Arc::clone(self))
    }

    /// Waits until it is to close.
    pub(crate) async fn closed(&self) {
        self.close.notified().await;
    }

    fn rest(&self) {
        let number = self.waiting.next.fetch_add(1, Ordering::Relaxed);
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places = self
            .waiting
            .places
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = place.replace(number) {
            places.remove(&old);
        }
        places.insert(number, Arc::clone(&self.close));
    }

    fn leave(&self) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = place.take() {
            let mut places = self
                .waiting
                .places
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            places.remove(&number);
        }
    }
}

impl Drop for TrackedConnection {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A request that is worked on.
#[derive(Debug)]
pub(crate) struct BusyGuard(Arc<TrackedConnection>);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.rest();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn who_has_waited_longest_goes_first_and_who_works_stays() {
        let waiting = Arc::new(IdleConnections::default());
        let [first, second, third] = [(); 3].map(|()| waiting.enter());
        let is_closed = |waiter: &TrackedConnection| waiter.closed().now_or_never().is_some();
        let working = first.work();
        assert!(waiting.close_one());
        assert!(is_closed(&second) && !is_closed(&first) && !is_closed(&third));
        drop(working);
        assert!(waiting.close_one());
        assert!(is_closed(&third), "the first has begun anew");
        let working = first.work();
        assert!(!waiting.close_one());
        drop(working);
        drop(first);
        assert!(!waiting.close_one(), "nobody is left");
        assert_eq!(waiting.closed(), 2);
    }
}
