//! `RingMemory`: the memory of the packet rings of all captures together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Limit on the packet rings of all captures. New rings get smaller as more memory is used, so that
/// a few captures have large rings and many captures are possible.
#[derive(Debug)]
pub(crate) struct RingMemory {
    /// Size of one ring while enough memory is free, in bytes.
    each: u64,
    /// Maximum size of all rings together, in bytes.
    total: u64,
    /// Size of the open rings, in bytes; at most `total`.
    used: Arc<AtomicU64>,
}

/// Memory of one ring, released when dropped.
#[derive(Debug)]
pub(super) struct RingClaim {
    blocks: u32,
    used: Arc<AtomicU64>,
}

impl RingMemory {
    /// Creates a limit of `each` bytes for one ring and `total` bytes for all rings.
    pub(crate) fn new(each: u64, total: u64) -> Self {
        Self {
            each,
            total,
            used: Arc::default(),
        }
    }

    /// Claims the memory of a ring: at most 1/64 of the free memory, but at least two blocks.
    ///
    /// # Errors
    /// Returns the reason as a message if no memory is free.
    pub(super) fn claim(&self) -> Result<RingClaim, String> {
        // Only the reconciler claims memory, so nothing is added between the two operations.
        let free = self.total.saturating_sub(self.used.load(Ordering::Relaxed));
        let blocks = (self.each.min(free / SHARE) / u64::from(BLOCK_BYTES)).max(MIN_BLOCKS);
        let bytes = blocks * u64::from(BLOCK_BYTES);
        if bytes > free {
            return Err(format!(
                "limit of {} bytes for packet rings reached (agent.capture.ring_bytes_total)",
                self.total
            ));
        }
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Ok(RingClaim {
            blocks: u32::try_from(blocks).unwrap_or(u32::MAX),
            used: Arc::clone(&self.used),
        })
    }
}

impl RingClaim {
    /// Returns the number of blocks of [`BLOCK_BYTES`].
    pub(super) const fn blocks(&self) -> u32 {
        self.blocks
    }
}

impl Drop for RingClaim {
    fn drop(&mut self) {
        let bytes = u64::from(self.blocks) * u64::from(BLOCK_BYTES);
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Size of one block of a ring, in bytes.
pub(super) const BLOCK_BYTES: u32 = 128 << 10;
/// Minimum number of blocks: the kernel fills one while the worker reads the other.
const MIN_BLOCKS: u64 = 2;
/// Maximum share of the free memory that one ring takes, as a divisor.
const SHARE: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn rings_become_smaller_and_never_exceed_the_total() {
        let memory = RingMemory::new(8 * MIB, 512 * MIB);
        let mut claims = Vec::new();
        let error = loop {
            match memory.claim() {
                Ok(claim) => claims.push(claim),
                Err(error) => break error,
            }
        };
        assert_eq!(claims[0].blocks(), 64, "8 MiB");
        assert!(claims.is_sorted_by(|a, b| a.blocks() >= b.blocks()));
        assert!((256..400).contains(&claims.len()), "{}", claims.len());
        assert!(memory.used.load(Ordering::Relaxed) <= 512 * MIB);
        assert!(error.contains("agent.capture.ring_bytes_total"), "{error}");
        claims.pop();
        assert!(memory.claim().is_ok(), "its memory is free again");
        drop(claims);
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_small_total_allows_few_rings() {
        let memory = RingMemory::new(8 * MIB, MIB);
        let claims: Vec<_> = std::iter::from_fn(|| memory.claim().ok()).collect();
        assert_eq!(claims.len(), 4);
        assert!(RingMemory::new(8 * MIB, 0).claim().is_err());
    }
}
