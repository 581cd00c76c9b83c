//! `MemoryBudget`: a limit on the memory used on behalf of clients.
//!
//! Code that allocates memory on behalf of a client holds a [`MemoryCharge`] of the budget and
//! grows it before it allocates. A charge that would exceed the budget is rejected, so that only
//! that request fails. Dropping a charge returns its bytes to the budget. A change to a charge
//! costs two atomic additions, so that hot loops grow their charge in steps of [`STEP_BYTES`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Limit on the memory used on behalf of clients, shared by all code that allocates it. Clones
/// share the limit.
///
/// ```
/// use skylib::memory::{MemoryBudget, MemoryUse};
/// let budget = MemoryBudget::new(1000);
/// let body = budget.charge(MemoryUse::Requests);
/// body.grow_to(800)?;
/// assert!(budget.charge(MemoryUse::Queries).grow_to(300).is_err());
/// drop(body);
/// assert_eq!(budget.used(), 0);
/// # Ok::<(), skylib::memory::MemoryExhausted>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Maximum value of `used`, in bytes.
    limit: usize,
    /// Sum over all uses, in bytes. It exceeds `limit` only by memory that was counted
    /// ([`MemoryCharge::count`]) instead of charged.
    used: AtomicUsize,
    uses: [UseCounters; MemoryUse::ALL.len()],
}

#[derive(Debug, Default)]
struct UseCounters {
    bytes: AtomicUsize,
    refused: AtomicU64,
}

/// Purpose of memory used on behalf of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryUse {
    /// Request bodies and WebSocket messages while they arrive and are processed.
    Requests,
    /// Uploaded capture files: decompression windows and flow tables.
    Uploads,
    /// Intermediate results of running queries.
    Queries,
    /// Responses and replies, until their last byte is sent.
    Responses,
    /// Elements selected by the Gremlin filters of WebSocket clients.
    Filters,
    /// Answers of live queries.
    LiveQueries,
    /// Messages in the queues of WebSocket clients.
    Queues,
    /// Resources while they are created or patched.
    Patches,
    /// Superseded revisions of elements that unfinished responses still contain.
    Revisions,
}

impl MemoryUse {
    /// All uses.
    pub const ALL: [Self; 9] = [
        Self::Requests,
        Self::Uploads,
        Self::Queries,
        Self::Responses,
        Self::Filters,
        Self::LiveQueries,
        Self::Queues,
        Self::Patches,
        Self::Revisions,
    ];

    /// Returns the name of the purpose in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Uploads => "uploads",
            Self::Queries => "queries",
            Self::Responses => "responses",
            Self::Filters => "filters",
            Self::LiveQueries => "live_queries",
            Self::Queues => "queues",
            Self::Patches => "patches",
            Self::Revisions => "revisions",
        }
    }
}

/// Error returned if the memory for clients is exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the memory for clients is exhausted: {bytes} more bytes exceed the limit of {limit} bytes \
     (http.limits.memory); try again later"
)]
pub struct MemoryExhausted {
    bytes: usize,
    limit: usize,
}

impl MemoryBudget {
    /// Creates a budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shared {
            limit,
            used: AtomicUsize::new(0),
            uses: Default::default(),
        }))
    }

    /// Creates a budget without a limit, which counts memory and rejects nothing.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(usize::MAX)
    }

    /// Returns an empty charge.
    #[must_use]
    pub fn charge(&self, purpose: MemoryUse) -> MemoryCharge {
        MemoryCharge {
            budget: self.clone(),
            purpose,
            bytes: AtomicUsize::new(0),
        }
    }

    /// Returns the limit, in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Returns the memory in use, in bytes.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Returns the memory in use for one purpose, in bytes.
    #[must_use]
    pub fn used_for(&self, purpose: MemoryUse) -> usize {
        self.counters(purpose).bytes.load(Ordering::Relaxed)
    }

    /// Returns the number of charges for one purpose that were rejected.
    #[must_use]
    pub fn refused(&self, purpose: MemoryUse) -> u64 {
        self.counters(purpose).refused.load(Ordering::Relaxed)
    }

    fn counters(&self, purpose: MemoryUse) -> &UseCounters {
        &self.0.uses[purpose as usize]
    }

    /// Takes bytes from the budget, if enough are available.
    fn take(&self, purpose: MemoryUse, bytes: usize) -> Result<(), MemoryExhausted> {
        let limit = self.0.limit;
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
        let taken = self
            .0
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        let counters = self.counters(purpose);
        if taken.is_err() {
            counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(MemoryExhausted { bytes, limit });
        }
        counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn give_back(&self, purpose: MemoryUse, bytes: usize) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
        let counters = self.counters(purpose);
        counters.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::unlimited()
    }
}

/// Memory of a [`MemoryBudget`] reserved for one purpose; returned to the budget on drop.
///
/// Only one thread at a time may change a charge; other threads may read it.
#[derive(Debug)]
pub struct MemoryCharge {
    budget: MemoryBudget,
    purpose: MemoryUse,
    bytes: AtomicUsize,
}

impl MemoryCharge {
    /// Returns the size of the charge, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns the budget.
    #[must_use]
    pub const fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Grows the charge to `bytes`; does nothing if the charge is larger already.
    ///
    /// # Errors
    /// Returns [`MemoryExhausted`] if the budget is exhausted. The rejection is counted, and the
    /// charge is unchanged.
    #[inline]
    pub fn grow_to(&self, bytes: usize) -> Result<(), MemoryExhausted> {
        match bytes.checked_sub(self.bytes()) {
            None | Some(0) => Ok(()),
            Some(more) => self.add(more),
        }
    }

    /// Grows the charge to at least `bytes`, in steps of [`STEP_BYTES`]; work that needs no more
    /// than one step is not charged. Suitable for loops that grow a charge often.
    ///
    /// # Errors
    /// Returns the errors of [`MemoryCharge::grow_to`].
    #[inline]
    pub fn grow_in_steps(&self, bytes: usize) -> Result<(), MemoryExhausted> {
        if bytes <= self.bytes().max(STEP_BYTES) {
            return Ok(());
        }
        self.grow_to(bytes.saturating_add(STEP_BYTES))
    }

    /// Adds bytes to the charge.
    ///
    /// # Errors
    /// Returns the errors of [`MemoryCharge::grow_to`].
    pub fn add(&self, bytes: usize) -> Result<(), MemoryExhausted> {
        self.budget.take(self.purpose, bytes)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Grows or shrinks the charge to `bytes`.
    ///
    /// # Errors
    /// Returns the errors of [`MemoryCharge::grow_to`].
    pub fn set(&self, bytes: usize) -> Result<(), MemoryExhausted> {
        self.shrink_to(bytes);
        self.grow_to(bytes)
    }

    /// Sets the charge to the size of memory that is already in use, even if that exceeds the limit
    /// of the budget; less memory is then available to other charges.
    pub fn count(&self, bytes: usize) {
        self.shrink_to(bytes);
        let more = bytes.saturating_sub(self.bytes());
        self.budget.0.used.fetch_add(more, Ordering::Relaxed);
        let counters = self.budget.counters(self.purpose);
        counters.bytes.fetch_add(more, Ordering::Relaxed);
        self.bytes.fetch_add(more, Ordering::Relaxed);
    }

    /// Shrinks the charge to `bytes` and returns the difference to the budget.
    pub fn shrink_to(&self, bytes: usize) {
        let excess = self.bytes().saturating_sub(bytes);
        if excess > 0 {
            self.bytes.fetch_sub(excess, Ordering::Relaxed);
            self.budget.give_back(self.purpose, excess);
        }
    }

    /// Moves the charge to another purpose.
    #[must_use]
    pub fn into_use(mut self, purpose: MemoryUse) -> Self {
        let bytes = self.bytes();
        let counter = |purpose| &self.budget.counters(purpose).bytes;
        counter(self.purpose).fetch_sub(bytes, Ordering::Relaxed);
        counter(purpose).fetch_add(bytes, Ordering::Relaxed);
        self.purpose = purpose;
        self
    }
}

impl Drop for MemoryCharge {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// Bytes by which [`MemoryCharge::grow_in_steps`] grows a charge.
pub const STEP_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_share_the_limit_and_return_their_bytes() {
        let budget = MemoryBudget::new(100);
        let (first, second) = (
            budget.charge(MemoryUse::Requests),
            budget.charge(MemoryUse::Queries),
        );
        first.grow_to(60).unwrap();
        second.grow_to(40).unwrap();
        assert_eq!(second.grow_to(40), Ok(()), "nothing more");
        let refused = second.grow_to(41).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the memory for clients is exhausted: 1 more bytes exceed the limit of 100 bytes \
             (http.limits.memory); try again later"
        );
        assert_eq!(second.bytes(), 40, "a rejected charge is unchanged");
        assert_eq!(
            (budget.refused(MemoryUse::Queries), budget.used()),
            (1, 100)
        );
        first.shrink_to(10);
        assert_eq!(second.set(90), Ok(()));
        assert_eq!(budget.used_for(MemoryUse::Requests), 10);
        drop((first, second));
        assert_eq!(budget.used(), 0);
        assert!(MemoryUse::ALL.iter().all(|u| budget.used_for(*u) == 0));
    }

    #[test]
    fn a_charge_moves_to_another_use() {
        let budget = MemoryBudget::new(100);
        let charge = budget.charge(MemoryUse::Queries);
        charge.grow_to(70).unwrap();
        let charge = charge.into_use(MemoryUse::Responses);
        assert_eq!(budget.used_for(MemoryUse::Queries), 0);
        assert_eq!(budget.used_for(MemoryUse::Responses), 70);
        drop(charge);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn memory_in_use_is_counted_beyond_the_limit() {
        let budget = MemoryBudget::new(100);
        let queue = budget.charge(MemoryUse::Queues);
        queue.count(130);
        assert!(budget.charge(MemoryUse::Requests).grow_to(1).is_err());
        queue.count(99);
        assert!(budget.charge(MemoryUse::Requests).grow_to(1).is_ok());
    }

    #[test]
    fn steps_are_large_and_the_first_is_free() {
        let budget = MemoryBudget::new(10 * STEP_BYTES);
        let charge = budget.charge(MemoryUse::Queries);
        charge.grow_in_steps(STEP_BYTES).unwrap();
        assert_eq!(budget.used(), 0);
        charge.grow_in_steps(STEP_BYTES + 1).unwrap();
        assert_eq!(budget.used(), 2 * STEP_BYTES + 1);
        charge.grow_in_steps(2 * STEP_BYTES).unwrap();
        assert_eq!(budget.used(), 2 * STEP_BYTES + 1);
        assert!(charge.grow_in_steps(usize::MAX).is_err());
    }
}
