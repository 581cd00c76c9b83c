//! Memory for what clients send: bounded for all of them together, while it arrives.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The bytes that bodies and messages may take while they arrive.
#[derive(Debug)]
pub(crate) struct IncomingMemory {
    limit: usize,
    used: AtomicUsize,
    refused: AtomicU64,
}

impl IncomingMemory {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Nothing so far, for one body or message.
    pub(crate) fn claim(self: &Arc<Self>) -> MemoryClaim {
        MemoryClaim {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }

    /// Bytes taken now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How many bodies and messages found no room.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// What one body or message has of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct MemoryClaim {
    budget: Arc<IncomingMemory>,
    bytes: usize,
}

/// Others take all there is.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("too much is arriving at once, try again later (http.limits.incoming_bytes)")]
pub(crate) struct IncomingMemoryFull;

impl MemoryClaim {
    /// Nothing so far, for the next one.
    pub(crate) fn another(&self) -> Self {
        self.budget.claim()
    }

    /// Says how long the body or message is by now. A short one costs nothing: their number is
    /// bounded by that of the connections.
    ///
    /// # Errors
    /// [`IncomingMemoryFull`], which is counted.
    pub(crate) fn grow_to(&mut self, length: usize) -> Result<(), IncomingMemoryFull> {
        if length <= FREE || length <= self.bytes {
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

/// Messages that have arrived and are not worked through yet; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingMessages(Arc<Mutex<Vec<MemoryClaim>>>);

impl PendingMessages {
    pub(crate) fn add(&self, claim: MemoryClaim) {
        if claim.bytes > 0 {
            let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            claims.push(claim);
        }
    }

    /// They have been worked through.
    pub(crate) fn clear(&self) {
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claims.clear();
    }
}

/// Longest body or message that costs nothing.
const FREE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ones_share_a_budget_and_give_it_back() {
        let budget = IncomingMemory::new(5 * FREE);
        let (mut first, mut second) = (budget.claim(), budget.claim());
        first.grow_to(FREE).unwrap();
        assert_eq!(budget.used(), 0);
        first.grow_to(3 * FREE).unwrap();
        second.grow_to(2 * FREE).unwrap();
        assert!(second.grow_to(2 * FREE + 1).is_err());
        assert_eq!((budget.used(), budget.refused()), (5 * FREE, 1));
        let arrived = PendingMessages::default();
        arrived.add(first);
        assert_eq!(budget.used(), 5 * FREE);
        arrived.clear();
        second.grow_to(5 * FREE).unwrap();
        drop(second);
        assert_eq!(budget.used(), 0);
    }
}
