//! Steps of the system clock during a live capture (rule E5 of `docs/flows.md`).
//!
//! A table counts in steady time: the timestamps that packets would have if the clock had never
//! been stepped. Records contain the actual timestamps of packets. The steps are a sorted list,
//! which is almost always empty; a lookup is a binary search.

use crate::time::Timestamp;

/// Steps of the clock since the table was created.
#[derive(Clone, Debug, Default)]
pub(super) struct ClockSteps {
    /// Pairs of a steady time from which a difference applies, and the difference, both in
    /// milliseconds. The difference is packet time minus steady time. Sorted by steady time.
    steps: Vec<(i64, i64)>,
    /// Latest difference, in nanoseconds.
    shift_ns: i64,
}

impl ClockSteps {
    /// Adds a step of `by` milliseconds, which applies to packets from the steady time `at` on.
    pub(super) fn add(&mut self, at: Timestamp, by: i64) {
        let (former_at, former) = self.steps.last().copied().unwrap_or((i64::MIN, 0));
        if self.steps.len() == MAX_STEPS {
            self.steps.remove(0);
        }
        let shift = former.saturating_add(by);
        self.steps.push((at.as_ms().max(former_at), shift));
        self.shift_ns = shift.saturating_mul(NS_PER_MS);
    }

    /// Converts the timestamp of a packet to steady time.
    #[inline(always)]
    pub(super) fn steady(&self, packet: Timestamp) -> Timestamp {
        if self.shift_ns == 0 {
            return packet;
        }
        Timestamp::from_ns(packet.as_ns().saturating_sub(self.shift_ns))
    }

    /// Converts a steady time to packet time, both in milliseconds.
    pub(super) fn shown(&self, steady: i64) -> i64 {
        let known = self.steps.partition_point(|(from, _)| *from <= steady);
        let step = known.checked_sub(1).and_then(|at| self.steps.get(at));
        steady.saturating_add(step.map_or(0, |(_, shift)| *shift))
    }

    /// Returns the allocated size, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.steps.capacity() * size_of::<(i64, i64)>()
    }
}

/// Maximum number of steps. If it is exceeded, the oldest step is removed, and earlier times are
/// converted as if that step had not occurred.
const MAX_STEPS: usize = 1024;
const NS_PER_MS: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_the_clock_was_then() {
        let mut steps = ClockSteps::default();
        assert_eq!(
            (steps.shown(7), steps.steady(Timestamp::from_ms(7))),
            (7, Timestamp::from_ms(7))
        );
        steps.add(Timestamp::from_ms(100), 3_600_000);
        steps.add(Timestamp::from_ms(200), -7_200_000);
        let shown = [99, 100, 199, 200].map(|steady| steps.shown(steady));
        assert_eq!(shown, [99, 3_600_100, 3_600_199, 200 - 3_600_000]);
        let packet = Timestamp::from_ms(300 - 3_600_000);
        assert_eq!(steps.steady(packet), Timestamp::from_ms(300));
    }

    #[test]
    fn the_list_is_bounded() {
        let mut steps = ClockSteps::default();
        for at in 0..5000 {
            steps.add(Timestamp::from_ms(at), 1000);
        }
        assert_eq!(steps.shown(4999), 4999 + 5_000_000);
        assert!(steps.bytes() <= 2 * MAX_STEPS * 16);
    }
}
