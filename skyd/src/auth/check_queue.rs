//! Queue of password checks: shared fairly between addresses, and slower after failures.
//!
//! The checks of one address and one user name run one after the other, each after a delay that
//! doubles with every failure. Therefore, a client that guesses passwords cannot guess faster with
//! more connections and cannot occupy the slots of other clients.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::login::Denied;
use crate::fair_slots::{ClientKey, FairSlot, FairSlots, Order, address_key};

/// Queue of password checks.
#[derive(Debug)]
pub(crate) struct CheckQueue {
    /// One slot for each pair of an address and a name.
    pairs: Arc<FairSlots>,
    /// Slots for checks of slow hashes, which would otherwise occupy all blocking threads.
    checks: Arc<FairSlots>,
    /// Latest failures of each pair; at most [`MAX_PAIRS`].
    failures: Mutex<HashMap<ClientKey, Failures>>,
    /// Maximum time to wait for a permit.
    timeout: Duration,
    /// Delay after the first failure beyond [`FREE_FAILURES`].
    min_delay: Duration,
}

/// Failures of one address with one name.
#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

/// Permission for one check; the next check of the same pair waits until the permit is dropped.
#[derive(Debug)]
pub(crate) struct CheckPermit {
    pair: ClientKey,
    _pair_slot: FairSlot,
    check_slot: Option<FairSlot>,
}

impl CheckPermit {
    /// Takes the slot for a slow check, to be released when the check has ended.
    pub(crate) fn take_slot(&mut self) -> Option<FairSlot> {
        self.check_slot.take()
    }
}

impl CheckQueue {
    /// Creates an empty queue.
    pub(crate) fn new() -> Self {
        Self::with_times(PERMIT_TIMEOUT, MIN_DELAY)
    }

    fn with_times(timeout: Duration, min_delay: Duration) -> Self {
        let share = CHECKS_AT_A_TIME - 1;
        Self {
            pairs: FairSlots::new(usize::MAX, 1, Order::OldestFirst),
            checks: FairSlots::new(CHECKS_AT_A_TIME, share, Order::OldestFirst),
            failures: Mutex::default(),
            timeout,
            min_delay,
        }
    }

    /// Waits for the permit of a check; only slow checks wait for a slot.
    ///
    /// # Errors
    /// Returns [`Denied::Busy`] if no permit becomes available in time.
    pub(crate) async fn permit(
        &self,
        peer: IpAddr,
        name: &str,
        is_slow: bool,
    ) -> Result<CheckPermit, Denied> {
        let address = address_key(peer);
        let pair: ClientKey = format!("{address} {name}").into();
        let waiting = async {
            let pair_slot = self.pairs.acquire(&pair).await;
            if let Some(until) = self.earliest(&pair) {
                tokio::time::sleep_until(until).await;
            }
            let check_slot = match is_slow {
                true => Some(self.checks.acquire(&address).await),
                false => None,
            };
            CheckPermit {
                pair: Arc::clone(&pair),
                _pair_slot: pair_slot,
                check_slot,
            }
        };
        let permit = tokio::time::timeout(self.timeout, waiting).await;
        permit.map_err(|_| Denied::Busy)
    }

    /// Records the result of a check, which determines the delay of the next permit of the pair.
    pub(crate) fn record(&self, permit: &CheckPermit, is_right: bool) {
        let now = Instant::now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if is_right {
            failures.remove(&permit.pair);
            return;
        }
        if failures.len() >= MAX_PAIRS && !failures.contains_key(&permit.pair) {
            failures.retain(|_, failures| now.duration_since(failures.last) < MEMORY);
            if failures.len() >= MAX_PAIRS {
                let oldest = failures.iter().min_by_key(|(_, failures)| failures.last);
                if let Some(oldest) = oldest.map(|(pair, _)| Arc::clone(pair)) {
                    failures.remove(&oldest);
                }
            }
        }
        let entry = failures
            .entry(Arc::clone(&permit.pair))
            .or_insert(Failures {
                count: 0,
                last: now,
            });
        if now.duration_since(entry.last) >= MEMORY {
            entry.count = 0;
        }
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
    }

    /// Returns the time before which the next check of a pair must not begin.
    fn earliest(&self, pair: &ClientKey) -> Option<Instant> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let Failures { count, last } = *failures.get(pair)?;
        Some(last + delay_after(count, self.min_delay))
    }
}

/// Returns the delay after a number of failures: zero for the first [`FREE_FAILURES`], then
/// doubling with each failure.
fn delay_after(failures: u32, min_delay: Duration) -> Duration {
    match failures.checked_sub(FREE_FAILURES) {
        None => Duration::ZERO,
        Some(more) => min_delay.saturating_mul(1 << more.min(10)).min(MAX_DELAY),
    }
}

/// Maximum number of slow checks that run concurrently. One slot remains for other addresses.
const CHECKS_AT_A_TIME: usize = 4;
/// Maximum time to wait for a permit.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of failures of a pair that cause no delay.
const FREE_FAILURES: u32 = 4;
const MIN_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(4);
/// Time for which failures are counted.
const MEMORY: Duration = Duration::from_secs(600);
/// Maximum number of pairs whose failures are recorded.
const MAX_PAIRS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn the_delay_doubles_up_to_a_limit() {
        let delays: Vec<u128> = (0..12)
            .map(|n| delay_after(n, MIN_DELAY).as_millis())
            .collect();
        let expected = [0, 0, 0, 0, 100, 200, 400, 800, 1_600, 3_200, 4_000, 4_000];
        assert_eq!(delays, expected);
        assert_eq!(delay_after(u32::MAX, MIN_DELAY), MAX_DELAY);
    }

    #[tokio::test]
    async fn failures_delay_the_pair_and_success_ends_that() {
        let ms = Duration::from_millis;
        let queue = CheckQueue::with_times(ms(20_000), ms(20));
        let fail = async |name: &str| {
            let began = Instant::now();
            let permit = queue.permit(PEER, name, false).await.unwrap();
            queue.record(&permit, false);
            began.elapsed()
        };
        for _ in 0..FREE_FAILURES {
            fail("ann").await;
        }
        assert!(fail("ann").await >= ms(20) && fail("ann").await >= ms(40));
        let pair = |name: &str| -> ClientKey { format!("192.0.2.1 {name}").into() };
        assert!(queue.earliest(&pair("ann")).is_some());
        assert_eq!(queue.earliest(&pair("bob")), None, "another name");
        let permit = queue.permit(PEER, "ann", false).await.unwrap();
        queue.record(&permit, true);
        assert_eq!(queue.earliest(&pair("ann")), None);
    }

    #[tokio::test]
    async fn a_guesser_leaves_slots_to_others() {
        let queue = CheckQueue::with_times(Duration::from_millis(30), MIN_DELAY);
        // Each name is another pair, so that only the share of the address limits the guesser.
        let mut held = Vec::new();
        for n in 0..3 {
            held.push(queue.permit(PEER, &n.to_string(), true).await.unwrap());
        }
        let more = queue.permit(PEER, "more", true).await;
        assert_eq!(more.unwrap_err(), Denied::Busy, "after the timeout");
        let other = "192.0.2.2".parse().unwrap();
        assert!(queue.permit(other, "ann", true).await.is_ok());
        // Two checks of the same pair do not run concurrently.
        let first = queue.permit(other, "bob", false).await.unwrap();
        assert!(queue.permit(other, "bob", false).await.is_err());
        drop(first);
        assert!(queue.permit(other, "bob", false).await.is_ok());
    }

    #[tokio::test]
    async fn the_memory_of_failures_is_bounded() {
        let queue = CheckQueue::new();
        for n in 0..MAX_PAIRS + 10 {
            let permit = queue.permit(PEER, &n.to_string(), false).await.unwrap();
            queue.record(&permit, false);
        }
        assert_eq!(queue.failures.lock().unwrap().len(), MAX_PAIRS);
    }
}
