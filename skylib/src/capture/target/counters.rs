//! `TargetCounters`: what could not be sent to the target of a capture.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a sender, which other threads read.
#[derive(Debug, Default)]
pub struct TargetCounters {
    errors: AtomicU64,
    skipped: AtomicU64,
}

/// Values of [`TargetCounters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TargetStats {
    /// Number of datagrams that could not be sent.
    pub errors: u64,
    /// Number of flow records that the protocol of the target cannot express, such as IPv6 in
    /// NetFlow 5.
    pub skipped: u64,
}

impl TargetCounters {
    /// Returns the current values.
    #[must_use]
    pub fn stats(&self) -> TargetStats {
        TargetStats {
            errors: self.errors.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
        }
    }

    /// Counts a datagram that could not be sent.
    pub(super) fn add_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts flow records that the target cannot receive.
    pub(super) fn add_skipped(&self, flows: u64) {
        self.skipped.fetch_add(flows, Ordering::Relaxed);
    }
}

impl AddAssign for TargetStats {
    fn add_assign(&mut self, other: Self) {
        self.errors += other.errors;
        self.skipped += other.skipped;
    }
}
