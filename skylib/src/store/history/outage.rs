//! `Outage`: failures of the disk until it can be written again. Performs no I/O; the time is an
//! argument.

use std::time::Duration;

use parking_lot::Mutex;

use crate::error_chain::Chain;
use crate::time::Timestamp;

/// Failures of a table's disk: when an operation may be tried again, and what was reported.
///
/// An outage begins with the first failure and ends once every operation that failed has succeeded.
/// The first failure of each operation and the end of the outage are reported.
#[derive(Debug)]
pub(super) struct Outage {
    /// Content of the table, for the reports.
    table: &'static str,
    state: Mutex<Option<State>>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// Set of the operations whose last attempt failed, a bit each.
    failing: u8,
    /// Set of the operations whose failure was reported in this outage.
    reported: u8,
    retry_at: Timestamp,
    pause: Duration,
    /// Rows that had been dropped because of the disk when the outage began.
    dropped_before: u64,
}

/// Operation on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Appending to a log.
    Log,
    /// Making a log durable.
    Sync,
    /// Writing a segment from memory.
    Seal,
    /// Merging segments.
    Merge,
    /// Writing a snapshot.
    Snapshot,
    /// Removing raw packets from a segment.
    Packets,
    /// Sealing as fast as records arrive.
    KeepUp,
    /// Reading which elements must be recorded again.
    Reconcile,
}

impl Operation {
    const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// Returns the consequence of a failure for the records, as part of a log message.
    const fn consequence(self) -> &'static str {
        match self {
            Self::Sync => "the newest records may not survive a power failure",
            Self::Log | Self::Seal | Self::KeepUp => {
                "new records remain in memory; the oldest of them are dropped if they exceed \
                 storage.local.memory"
            }
            Self::Merge | Self::Snapshot | Self::Packets => {
                "the files remain as they are, and no record is lost"
            }
            Self::Reconcile => "elements whose changes were lost remain as they were before",
        }
    }
}

impl Outage {
    /// Returns a state without failures.
    pub(super) const fn new(table: &'static str) -> Self {
        Self {
            table,
            state: Mutex::new(None),
        }
    }

    /// Returns whether an operation should be tried: it did not fail last, or its pause is over.
    pub(super) fn may_try(&self, operation: Operation, now: Timestamp) -> bool {
        self.state.lock().is_none_or(|state| {
            let is_failing = state.failing & operation.bit() != 0;
            // A clock that was set back must not extend the pause.
            let is_waiting =
                now < state.retry_at && state.retry_at <= now.saturating_add(MAX_PAUSE);
            !(is_failing && is_waiting)
        })
    }

    /// Returns whether the last attempt of an operation failed.
    pub(super) fn is_failing(&self, operation: Operation) -> bool {
        let state = *self.state.lock();
        state.is_some_and(|state| state.failing & operation.bit() != 0)
    }

    /// Records a failed attempt. `dropped` is the number of rows dropped so far because of the disk.
    pub(super) fn fail(
        &self,
        operation: Operation,
        now: Timestamp,
        error: &(dyn std::error::Error + 'static),
        dropped: u64,
    ) {
        let mut guard = self.state.lock();
        let state = guard.get_or_insert(State {
            failing: 0,
            reported: 0,
            retry_at: now,
            pause: FIRST_PAUSE / 2,
            dropped_before: dropped,
        });
        state.failing |= operation.bit();
        let is_over = now >= state.retry_at || state.retry_at > now.saturating_add(MAX_PAUSE);
        // Nothing is tried again after `KeepUp`.
        if is_over && operation != Operation::KeepUp {
            state.pause = (state.pause * 2).min(MAX_PAUSE);
            state.retry_at = now.saturating_add(state.pause);
        }
        let is_new = state.reported & operation.bit() == 0;
        state.reported |= operation.bit();
        drop(guard);
        if is_new {
            tracing::warn!(
                table = self.table,
                operation = ?operation,
                error = %Chain(error),
                "an operation of the history on the disk failed; {}",
                operation.consequence()
            );
        }
    }

    /// Records that an operation succeeded, or that there is nothing left for it to do.
    pub(super) fn succeed(&self, operation: Operation, dropped: u64) {
        let mut guard = self.state.lock();
        let Some(state) = &mut *guard else {
            return;
        };
        state.failing &= !operation.bit();
        if state.failing != 0 {
            return;
        }
        let rows = dropped.saturating_sub(state.dropped_before);
        *guard = None;
        drop(guard);
        tracing::info!(
            table = self.table,
            dropped_rows = rows,
            "the history is written to the disk again"
        );
    }
}

/// Pause after the first failure of an outage; doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Maximum pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(outage: &Outage, operation: Operation, now: i64) {
        let error = std::io::Error::other("full");
        outage.fail(operation, Timestamp::from_ms(now), &error, 0);
    }

    fn may_try(outage: &Outage, operation: Operation, now: i64) -> bool {
        outage.may_try(operation, Timestamp::from_ms(now))
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let outage = Outage::new("test");
        let (mut now, mut pauses) = (1_000_000, Vec::new());
        for _ in 0..8 {
            assert!(may_try(&outage, Operation::Seal, now));
            fail(&outage, Operation::Seal, now);
            let begin = now;
            while !may_try(&outage, Operation::Seal, now) {
                now += 500;
            }
            pauses.push((now - begin) / 1000);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn other_operations_go_on_and_share_the_pause_when_they_fail() {
        let outage = Outage::new("test");
        fail(&outage, Operation::Seal, 0);
        assert!(may_try(&outage, Operation::Log, 10));
        fail(&outage, Operation::Log, 10);
        assert!(!may_try(&outage, Operation::Log, 999));
        assert!(may_try(&outage, Operation::Log, 1000), "one pause for all");
        fail(&outage, Operation::Seal, 1000);
        fail(&outage, Operation::Log, 1001);
        assert!(!may_try(&outage, Operation::Log, 2999));
        assert!(may_try(&outage, Operation::Log, 3000));
    }

    #[test]
    fn an_outage_ends_when_everything_that_failed_has_succeeded() {
        let outage = Outage::new("test");
        fail(&outage, Operation::Seal, 0);
        fail(&outage, Operation::Log, 0);
        outage.succeed(Operation::Log, 0);
        assert!(may_try(&outage, Operation::Log, 1));
        assert!(
            !may_try(&outage, Operation::Seal, 1),
            "a log does not end the pause of seals"
        );
        assert!(outage.is_failing(Operation::Seal));
        outage.succeed(Operation::Seal, 5);
        assert!(outage.state.lock().is_none());
        fail(&outage, Operation::Seal, 10_000);
        assert!(
            may_try(&outage, Operation::Seal, 11_000),
            "the pause begins anew"
        );
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_extend_the_pause() {
        let outage = Outage::new("test");
        fail(&outage, Operation::Log, 10_000_000);
        assert!(may_try(&outage, Operation::Log, 0));
    }
}
