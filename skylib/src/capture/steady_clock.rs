//! `SteadyClock`: the clock of a live capture's flow table, which is not affected by steps of the
//! system clock (rule E5 of `docs/flows.md`).

use crate::flow::FlowTable;
use crate::packet::PacketBatch;
use crate::time::{Clock, Timestamp};

/// Clock that detects steps by comparing the system clock with the monotonic clock.
#[derive(Debug)]
pub(super) struct SteadyClock {
    /// Latest readings of both clocks, in nanoseconds.
    wall: i64,
    monotonic: i64,
    /// Sum of all steps, in milliseconds.
    shift: i64,
    /// Step that occurred after some packets in the source were received.
    pending: Option<Step>,
}

/// Step of the system clock.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// Size, in milliseconds; positive for a step forward.
    by: i64,
    /// Midpoint between the old and the new time when the step was detected, in nanoseconds.
    middle: i64,
}

impl Step {
    /// Returns whether a packet was received after the step: its timestamp is nearer to the new
    /// time.
    const fn has(&self, packet: Timestamp) -> bool {
        if self.by > 0 {
            packet.as_ns() >= self.middle
        } else {
            packet.as_ns() <= self.middle
        }
    }
}

impl SteadyClock {
    /// Returns a clock that starts at the time of the system clock.
    pub(super) fn new(clock: &dyn Clock) -> Self {
        let (wall, monotonic) = clock.now_and_monotonic_ns();
        Self {
            wall: wall.as_ns(),
            monotonic,
            shift: 0,
            pending: None,
        }
    }

    /// Reads both clocks. Returns the steady time.
    pub(super) fn read(&mut self, clock: &dyn Clock, table: &mut FlowTable) -> Timestamp {
        let (now, monotonic) = clock.now_and_monotonic_ns();
        let wall = now.as_ns();
        let passed = monotonic.saturating_sub(self.monotonic);
        let by = wall.saturating_sub(self.wall).saturating_sub(passed) / NS_PER_MS;
        (self.wall, self.monotonic) = (wall, monotonic);
        if by.saturating_abs() >= MIN_STEP_MS {
            self.settle(table);
            self.shift = self.shift.saturating_add(by);
            let middle = wall.saturating_sub(by.saturating_mul(NS_PER_MS) / 2);
            self.pending = Some(Step { by, middle });
        }
        self.steady(now)
    }

    /// Passes packets to a flow table. Applies a pending step before the first packet received
    /// after it.
    pub(super) fn count(&mut self, batch: &PacketBatch<'_>, table: &mut FlowTable) {
        let Some(step) = self.pending else {
            table.process(batch);
            return;
        };
        let mut times = batch.headers.iter().map(|header| header.timestamp);
        let first = times.position(|time| step.has(time));
        let (before, after) = batch.headers.split_at(first.unwrap_or(batch.headers.len()));
        table.process(&PacketBatch {
            headers: before,
            ..*batch
        });
        if let Some(header) = after.first() {
            self.pending = None;
            table.step_clock(self.steady(header.timestamp), step.by);
            table.process(&PacketBatch {
                headers: after,
                ..*batch
            });
        }
    }

    /// Applies a pending step, because the source contains no packets from before the step.
    pub(super) fn settle(&mut self, table: &mut FlowTable) {
        if let Some(step) = self.pending.take() {
            table.step_clock(self.steady(Timestamp::from_ns(self.wall)), step.by);
        }
    }

    /// Converts a timestamp of the stepped clock to steady time.
    const fn steady(&self, time: Timestamp) -> Timestamp {
        let shift = self.shift.saturating_mul(NS_PER_MS);
        Timestamp::from_ns(time.as_ns().saturating_sub(shift))
    }
}

/// Minimum difference that is treated as a step, in milliseconds; a smaller difference does not end
/// flows.
const MIN_STEP_MS: i64 = 1000;
const NS_PER_MS: i64 = 1_000_000;
