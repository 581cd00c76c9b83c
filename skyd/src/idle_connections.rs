//! Registry of idle keep-alive connections, the first to be closed at the connection limit.
//!
//! The registry is a FIFO queue ordered by the time at which each connection became idle; every
//! operation is O(log n).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::fair_slots::ClientKey;

/// Registry of the connections that wait for their next request, in the order in which they became
/// idle.
#[derive(Debug, Default)]
pub(crate) struct IdleConnections {
    /// Idle connections by ascending sequence number; the first has been idle longest.
    idle: Mutex<BTreeMap<u64, IdleConnection>>,
    next_sequence: AtomicU64,
    closed: AtomicU64,
}

/// Connection that can be closed.
#[derive(Clone, Debug)]
struct IdleConnection {
    close: Arc<Notify>,
    /// Key of the client's address.
    address: Option<ClientKey>,
}

impl IdleConnections {
    /// Registers a new connection, idle until its first request.
    pub(crate) fn register(self: &Arc<Self>, address: Option<ClientKey>) -> Arc<TrackedConnection> {
        let connection = Arc::new(TrackedConnection {
            registry: Arc::clone(self),
            sequence: Mutex::new(None),
            connection: IdleConnection {
                close: Arc::new(Notify::new()),
                address,
            },
        });
        connection.mark_idle();
        connection
    }

    /// Closes the connection that has been idle longest, among the connections of an address or,
    /// for `None`, among all. Returns `false` if none is idle.
    pub(crate) fn close_oldest_of(&self, address: Option<&ClientKey>) -> bool {
        let mut idle = self.lock();
        let is_of = |connection: &IdleConnection| {
            address.is_none_or(|address| connection.address.as_ref() == Some(address))
        };
        let oldest = idle.iter().find(|(_, connection)| is_of(connection));
        let Some(sequence) = oldest.map(|(sequence, _)| *sequence) else {
            return false;
        };
        if let Some(connection) = idle.remove(&sequence) {
            connection.close.notify_one();
        }
        self.closed.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, IdleConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of connections closed in favor of new ones.
    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }
}

/// Registered connection, idle or busy.
#[derive(Debug)]
pub(crate) struct TrackedConnection {
    registry: Arc<IdleConnections>,
    /// Key in the registry while idle; `None` while busy or after the connection was closed as
    /// idle.
    sequence: Mutex<Option<u64>>,
    connection: IdleConnection,
}

impl TrackedConnection {
    /// Marks the connection as busy until the returned guard is dropped, at the end of the
    /// response.
    pub(crate) fn begin_request(self: &Arc<Self>) -> BusyGuard {
        self.mark_busy();
        BusyGuard(Arc::clone(self))
    }

    /// Waits until the registry closes the connection.
    pub(crate) async fn closed(&self) {
        self.connection.close.notified().await;
    }

    fn mark_idle(&self) {
        let next = self.registry.next_sequence.fetch_add(1, Ordering::Relaxed);
        let mut sequence = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
        let mut idle = self.registry.lock();
        if let Some(old) = sequence.replace(next) {
            idle.remove(&old);
        }
        idle.insert(next, self.connection.clone());
    }

    fn mark_busy(&self) {
        let mut sequence = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = sequence.take() {
            self.registry.lock().remove(&old);
        }
    }
}

impl Drop for TrackedConnection {
    fn drop(&mut self) {
        self.mark_busy();
    }
}

/// Guard that marks a connection as busy with a request.
#[derive(Debug)]
pub(crate) struct BusyGuard(Arc<TrackedConnection>);

impl BusyGuard {
    /// Returns a function that closes the connection, even in the middle of a response.
    pub(crate) fn closer(&self) -> impl Fn() + Send + use<> {
        let close = Arc::clone(&self.0.connection.close);
        move || close.notify_one()
    }
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.mark_idle();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_longest_idle_connection_is_closed_and_busy_ones_are_not() {
        let registry = Arc::new(IdleConnections::default());
        let [first, second, third] = [(); 3].map(|()| registry.register(None));
        let is_closed =
            |connection: &TrackedConnection| connection.closed().now_or_never().is_some();
        let busy = first.begin_request();
        assert!(registry.close_oldest_of(None));
        assert!(is_closed(&second) && !is_closed(&first) && !is_closed(&third));
        drop(busy);
        assert!(registry.close_oldest_of(None));
        assert!(is_closed(&third), "the first became idle after it");
        let busy = first.begin_request();
        assert!(!registry.close_oldest_of(None));
        drop(busy);
        drop(first);
        assert!(!registry.close_oldest_of(None), "no connection is left");
        assert_eq!(registry.closed(), 2);
    }

    #[test]
    fn the_longest_idle_connection_of_an_address_is_closed() {
        let registry = Arc::new(IdleConnections::default());
        let [a, b]: [ClientKey; 2] = ["a", "b"].map(Into::into);
        let first = registry.register(Some(Arc::clone(&a)));
        let second = registry.register(Some(Arc::clone(&b)));
        assert!(registry.close_oldest_of(Some(&b)));
        assert!(second.closed().now_or_never().is_some());
        assert!(first.closed().now_or_never().is_none());
        assert!(!registry.close_oldest_of(Some(&b)));
        assert!(registry.close_oldest_of(Some(&a)));
    }
}
