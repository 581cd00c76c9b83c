//! Memory budget for the bodies and messages of all clients while they are received.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Budget of bytes for bodies and messages that are being received or wait to be processed.
#[derive(Debug)]
pub(crate) struct IncomingMemory {
    limit: usize,
    /// Sum of all claims; `0 <= used <= limit`, except while a claim beyond the limit is undone.
    used: AtomicUsize,
    refused: AtomicU64,
}

impl IncomingMemory {
    /// Creates a budget of `limit` bytes.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Returns an empty claim for one body or message.
    pub(crate) fn claim(self: &Arc<Self>) -> MemoryClaim {
        MemoryClaim {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }

    /// Returns the bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns the number of bodies and messages rejected because the budget was exhausted.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Share of the budget of one body or message; returned when dropped.
#[derive(Debug)]
pub(crate) struct MemoryClaim {
    budget: Arc<IncomingMemory>,
    bytes: usize,
}

/// Error: the budget is exhausted.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("memory for incoming data is exhausted (http.limits.incoming_bytes); try again later")]
pub(crate) struct IncomingMemoryFull;

impl MemoryClaim {
    /// Returns an empty claim on the same budget for the next body or message.
    pub(crate) fn next(&self) -> Self {
        self.budget.claim()
    }

    /// Grows the claim to the current length of the body or message. The first mebibyte is free: the
    /// connection limit bounds the number of short ones.
    ///
    /// # Errors
    /// [`IncomingMemoryFull`] if the budget is exhausted; the rejection is counted.
    pub(crate) fn grow_to(&mut self, length: usize) -> Result<(), IncomingMemoryFull> {
        if length <= FREE_BYTES || length <= self.bytes {
            return Ok(());
        }
        let more = length - self.bytes;
        let used = self.budget.used.fetch_add(more, Ordering::Relaxed);
        if used.saturating_add(more) > self.budget.limit {
            self.budget.used.fetch_sub(more, Ordering::Relaxed);
            self.budget.refused.fetch_add(1, Ordering::Relaxed);
            return Err(IncomingMemoryFull);
        }
        self.bytes = length;
        Ok(())
    }
}

impl Drop for MemoryClaim {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Claims of messages that have been received and not yet processed. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingMessages(Arc<Mutex<Vec<MemoryClaim>>>);

impl PendingMessages {
    /// Adds the claim of a received message.
    pub(crate) fn add(&self, claim: MemoryClaim) {
        if claim.bytes > 0 {
            let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            claims.push(claim);
        }
    }

    /// Releases all claims: the messages have been processed.
    pub(crate) fn clear(&self) {
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claims.clear();
    }
}

/// Length up to which a body or message does not count.
const FREE_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_bodies_share_a_budget_and_return_it() {
        let budget = IncomingMemory::new(5 * FREE_BYTES);
        let (mut first, mut second) = (budget.claim(), budget.claim());
        first.grow_to(FREE_BYTES).unwrap();
        assert_eq!(budget.used(), 0);
        first.grow_to(3 * FREE_BYTES).unwrap();
        second.grow_to(2 * FREE_BYTES).unwrap();
        assert!(second.grow_to(2 * FREE_BYTES + 1).is_err());
        assert_eq!((budget.used(), budget.refused()), (5 * FREE_BYTES, 1));
        let pending = PendingMessages::default();
        pending.add(first);
        assert_eq!(budget.used(), 5 * FREE_BYTES);
        pending.clear();
        second.grow_to(5 * FREE_BYTES).unwrap();
        drop(second);
        assert_eq!(budget.used(), 0);
    }
}
