//! Bounded set of slots that is shared fairly between clients.
//!
//! A free slot goes to the waiting client that holds the fewest slots, and no client holds more
//! than its share. Among requests of clients with equally many slots, [`Order`] decides. Granting a
//! slot scans the waiting requests: O(waiting), where `http.limits.connections` bounds the number
//! of clients.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Key of a client: the name of its user or, without passwords, its address.
pub(crate) type ClientKey = Arc<str>;

/// Returns the key of the client at an address. For IPv6, the key is the /64 prefix, because one
/// host may use all addresses in it.
pub(crate) fn address_key(peer: IpAddr) -> ClientKey {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.to_string().into(),
        IpAddr::V6(address) => format!("{:x}::/64", u128::from(address) >> 64).into(),
    }
}

/// Bounded set of slots.
#[derive(Debug)]
pub(crate) struct FairSlots {
    state: Mutex<State>,
    count: usize,
    /// Maximum number of slots of one client; `1 <= share <= count`, or both are 0.
    share: usize,
    order: Order,
}

/// Order in which requests of clients with equally many slots are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The request that has waited longest is served first.
    OldestFirst,
    /// The latest request is served first: a request that waits long is served by another set of
    /// slots.
    NewestFirst,
}

#[derive(Debug, Default)]
struct State {
    /// Number of held slots; at most `count`.
    held: usize,
    /// Number of slots of each client that holds any; the sum is `held`.
    by_client: HashMap<ClientKey, usize>,
    /// Requests in the order of their arrival.
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    client: ClientKey,
    grant: oneshot::Sender<FairSlot>,
}

/// Held slot; released when dropped.
#[derive(Debug)]
pub(crate) struct FairSlot {
    /// `None` if the slot was never received.
    slots: Option<Arc<FairSlots>>,
    client: ClientKey,
}

impl FairSlots {
    /// Creates `count` slots, of which one client can hold at most `share`.
    pub(crate) fn new(count: usize, share: usize, order: Order) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            count,
            share: share.clamp(1, count.max(1)),
            order,
        })
    }

    /// Returns the number of held slots.
    pub(crate) fn held(&self) -> usize {
        self.lock().held
    }

    /// Waits for a slot. Dropping the future cancels the request.
    pub(crate) async fn acquire(self: &Arc<Self>, client: &ClientKey) -> FairSlot {
        if self.count == 0 {
            return std::future::pending().await;
        }
        let receiver = {
            let mut state = self.lock();
            if state.held < self.count && state.of(client) < self.share {
                return self.grant(&mut state, client);
            }
            let (grant, receiver) = oneshot::channel();
            // Removes requests that were cancelled in the meantime.
            state.waiting.retain(|waiting| !waiting.grant.is_closed());
            let client = Arc::clone(client);
            state.waiting.push(Waiting { client, grant });
            receiver
        };
        match receiver.await {
            Ok(slot) => slot,
            // The sender is dropped only together with the set of slots.
            Err(_) => std::future::pending().await,
        }
    }

    fn grant(self: &Arc<Self>, state: &mut State, client: &ClientKey) -> FairSlot {
        state.held += 1;
        *state.by_client.entry(Arc::clone(client)).or_default() += 1;
        FairSlot {
            slots: Some(Arc::clone(self)),
            client: Arc::clone(client),
        }
    }

    /// Releases a slot and grants free slots to waiting requests.
    fn release(self: &Arc<Self>, client: &ClientKey) {
        let mut state = self.lock();
        state.remove(client);
        while let Some(waiting) = self.next_waiting(&mut state) {
            let slot = self.grant(&mut state, &waiting.client);
            if let Err(mut unwanted) = waiting.grant.send(slot) {
                // Its drop must not lock the state again.
                unwanted.slots = None;
                state.remove(&unwanted.client);
            }
        }
    }

    /// Removes and returns the request that is served next; `None` if none can be served.
    fn next_waiting(&self, state: &mut State) -> Option<Waiting> {
        if state.held >= self.count {
            return None;
        }
        let mut best: Option<(usize, usize)> = None;
        for (index, waiting) in state.waiting.iter().enumerate() {
            let held = state.of(&waiting.client);
            let is_better = best.is_none_or(|(_, fewest)| match self.order {
                Order::OldestFirst => held < fewest,
                Order::NewestFirst => held <= fewest,
            });
            if held < self.share && is_better {
                best = Some((index, held));
            }
        }
        best.map(|(index, _)| state.waiting.remove(index))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the number of slots that a client holds.
    fn of(&self, client: &ClientKey) -> usize {
        self.by_client.get(client).copied().unwrap_or_default()
    }

    fn remove(&mut self, client: &ClientKey) {
        self.held -= 1;
        if let Some(held) = self.by_client.get_mut(client) {
            *held -= 1;
            if *held == 0 {
                self.by_client.remove(client);
            }
        }
    }
}

impl Drop for FairSlot {
    fn drop(&mut self) {
        if let Some(slots) = &self.slots {
            slots.release(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn key(name: &str) -> ClientKey {
        name.into()
    }

    /// Returns a slot if one is free.
    fn take(slots: &Arc<FairSlots>, client: &ClientKey) -> Option<FairSlot> {
        slots.acquire(client).now_or_never()
    }

    #[test]
    fn one_ipv6_network_is_one_client() {
        let of = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(&*of("::ffff:192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn a_client_holds_at_most_its_share() {
        let slots = FairSlots::new(4, 3, Order::OldestFirst);
        let (greedy, other) = (key("greedy"), key("other"));
        let held: Vec<FairSlot> = (0..3).filter_map(|_| take(&slots, &greedy)).collect();
        assert_eq!(held.len(), 3);
        assert!(take(&slots, &greedy).is_none());
        let mut waiting = Box::pin(slots.acquire(&greedy));
        assert!(waiting.as_mut().now_or_never().is_none());
        let of_other = take(&slots, &other).unwrap();
        drop(of_other);
        assert!(
            waiting.as_mut().now_or_never().is_none(),
            "its share is used up"
        );
        drop(held);
        assert!(waiting.as_mut().now_or_never().is_some());
        drop(waiting);
        assert_eq!(slots.held(), 0);
    }

    #[test]
    fn a_free_slot_goes_to_the_client_with_the_fewest() {
        let slots = FairSlots::new(2, 2, Order::OldestFirst);
        let (a, b) = (key("a"), key("b"));
        let first = take(&slots, &a).unwrap();
        let _second = take(&slots, &a).unwrap();
        let mut of_a = Box::pin(slots.acquire(&a));
        assert!(of_a.as_mut().now_or_never().is_none());
        let mut of_b = Box::pin(slots.acquire(&b));
        assert!(of_b.as_mut().now_or_never().is_none());
        drop(first);
        assert!(of_a.as_mut().now_or_never().is_none());
        let held = of_b.as_mut().now_or_never().unwrap();
        drop(held);
        assert!(of_a.as_mut().now_or_never().is_some());
    }

    #[test]
    fn the_order_decides_between_equal_clients() {
        for (order, expected) in [(Order::OldestFirst, 0), (Order::NewestFirst, 2)] {
            let slots = FairSlots::new(1, 1, order);
            let held = take(&slots, &key("x")).unwrap();
            let keys = ["a", "b", "c"].map(key);
            let mut waiting: Vec<_> = keys
                .iter()
                .map(|key| Box::pin(slots.acquire(key)))
                .collect();
            assert!(
                waiting
                    .iter_mut()
                    .all(|one| one.as_mut().now_or_never().is_none())
            );
            drop(held);
            let served = waiting.iter_mut().map(|one| one.as_mut().now_or_never());
            let served: Vec<_> = served.collect();
            let index = served.iter().position(Option::is_some);
            assert_eq!(index, Some(expected), "{order:?}");
        }
    }

    #[test]
    fn requests_that_were_dropped_get_no_slot() {
        let slots = FairSlots::new(1, 1, Order::OldestFirst);
        let held = take(&slots, &key("a")).unwrap();
        let (b, c) = (key("b"), key("c"));
        let mut dropped = Box::pin(slots.acquire(&b));
        assert!(dropped.as_mut().now_or_never().is_none());
        let mut waiting = Box::pin(slots.acquire(&c));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(dropped);
        drop(held);
        let slot = waiting.as_mut().now_or_never();
        assert!(slot.is_some());
        // A slot that was granted but never received is free again.
        let mut unreceived = Box::pin(slots.acquire(&b));
        assert!(unreceived.as_mut().now_or_never().is_none());
        drop(slot);
        drop(unreceived);
        assert_eq!(slots.held(), 0);
    }
}
