//! `TableCounters`: what happened to a table since the start.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::time::Timestamp;

/// Counters of a table since the start.
#[derive(Debug, Default)]
pub(super) struct TableCounters {
    pub(super) seals: AtomicU64,
    pub(super) merges: AtomicU64,
    /// Seals and merges that failed.
    pub(super) failures: AtomicU64,
    /// Bytes of incomplete or damaged frames in logs.
    pub(super) lost_log_bytes: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    /// Time of the last log that is durable, in Unix milliseconds; 0 before the first.
    synced: AtomicI64,
}

/// Reason why rows of the history were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// The limit on the age.
    Age,
    /// The limits on the size of all files and on free space.
    Size,
    /// The disk could not be written, and the memory was full.
    Disk,
    /// Records arrived faster than the disk could take them, and the memory was full.
    Slow,
    /// The file was damaged.
    Damage,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 5] = [Self::Age, Self::Size, Self::Disk, Self::Slow, Self::Damage];

    /// Returns the name in metrics and the status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Size => "size",
            Self::Disk => "disk",
            Self::Slow => "slow",
            Self::Damage => "damage",
        }
    }
}

impl TableCounters {
    /// Adds one.
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds dropped rows.
    pub(super) fn drop_rows(&self, reason: DropReason, rows: usize) {
        self.dropped[reason as usize].fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Returns the rows dropped because the disk failed or was too slow.
    pub(super) fn dropped_for_disk(&self) -> u64 {
        let reasons = [DropReason::Disk, DropReason::Slow];
        let dropped = reasons.map(|reason| self.dropped[reason as usize].load(Ordering::Relaxed));
        dropped.iter().sum()
    }

    /// Returns the rows dropped for each reason.
    pub(super) fn dropped(&self) -> [u64; DropReason::ALL.len()] {
        std::array::from_fn(|reason| self.dropped[reason].load(Ordering::Relaxed))
    }

    /// Records that everything recorded before a time is durable.
    pub(super) fn set_synced(&self, now: Timestamp) {
        self.synced.store(now.as_ms(), Ordering::Relaxed);
    }

    /// Returns the time before which everything recorded is durable.
    pub(super) fn synced(&self) -> Option<Timestamp> {
        let ms = self.synced.load(Ordering::Relaxed);
        (ms != 0).then(|| Timestamp::from_ms(ms))
    }
}
