//! `PacketClock`: the clock of a capture file, which a single packet with a wrong timestamp does
//! not move (rules E3 and E4 of `docs/flows.md`).

use crate::flow::stats::FlowTableStats;
use crate::time::Timestamp;

/// Clock driven by packets: the latest time such that [`RUN`] consecutive packets were at or after
/// it.
///
/// The clock is read only where a timer is due, so that it costs two comparisons per packet.
#[derive(Clone, Debug)]
pub(crate) struct PacketClock {
    /// Number of consecutive packets at or after the deadline, and the earliest of them.
    run: u32,
    earliest: Timestamp,
    /// Latest time of a packet that is not far ahead itself.
    newest: Timestamp,
    /// Time of the previous packet, if it is far ahead and the next packet must confirm it.
    suspect: Option<Timestamp>,
    /// Difference from `newest` from which a packet needs a closer look, in nanoseconds.
    window: u64,
    /// Jump forward that a following packet must confirm, in nanoseconds.
    jump: i64,
    back: u64,
    ahead: u64,
    /// Maximum amount by which a packet is older than `newest`, in nanoseconds.
    furthest_back: i64,
}

impl PacketClock {
    /// Returns a clock; a packet more than `jump_ms` milliseconds ahead is suspect.
    pub(crate) const fn new(jump_ms: i64) -> Self {
        Self {
            run: 0,
            earliest: Timestamp::ZERO,
            newest: Timestamp::ZERO,
            suspect: None,
            window: 0,
            jump: jump_ms.saturating_mul(1_000_000),
            back: 0,
            ahead: 0,
            furthest_back: 0,
        }
    }

    /// Advances the clock by a packet. Returns the time of the clock once it has reached `due`, the
    /// next deadline; with `None`, any time is due.
    #[inline]
    pub(crate) fn advance(
        &mut self,
        packet: Timestamp,
        due: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let step = packet.as_ns().wrapping_sub(self.newest.as_ns());
        if step.cast_unsigned() < self.window {
            self.newest = packet;
        } else {
            self.judge(packet);
        }
        if due.is_some_and(|due| packet < due) {
            self.run = 0;
            return None;
        }
        self.reach(packet)
    }

    /// Adds the counters of the clock to those of a table.
    pub(crate) fn count(&self, stats: &mut FlowTableStats) {
        stats.time_back += self.back;
        stats.time_ahead += self.ahead;
        let furthest = (self.furthest_back / 1_000_000).cast_unsigned();
        stats.furthest_back_ms = stats.furthest_back_ms.max(furthest);
    }

    /// Counts a packet at or after the deadline.
    fn reach(&mut self, packet: Timestamp) -> Option<Timestamp> {
        self.earliest = match self.run {
            0 => packet,
            _ => self.earliest.min(packet),
        };
        self.run += 1;
        (self.run >= RUN).then(|| {
            self.run = 0;
            self.earliest
        })
    }

    /// Counts a packet that is older than earlier packets or far ahead of them, or that follows a
    /// packet far ahead.
    #[cold]
    fn judge(&mut self, packet: Timestamp) {
        let is_first = self.window == 0 && self.suspect.is_none();
        if let Some(suspect) = self.suspect.take() {
            if packet.as_ns() < suspect.as_ns().saturating_sub(self.jump) {
                self.ahead += 1;
            } else {
                self.newest = self.newest.max(suspect);
            }
        }
        let step = packet.as_ns().saturating_sub(self.newest.as_ns());
        self.window = self.jump.cast_unsigned().saturating_add(1);
        if is_first {
            self.newest = packet;
        } else if step > self.jump {
            // No difference is less than this window, so that the next packet is judged too.
            (self.suspect, self.window) = (Some(packet), 0);
        } else if step < 0 {
            self.back += 1;
            self.furthest_back = self.furthest_back.max(step.saturating_neg());
        } else {
            self.newest = packet;
        }
    }
}

/// Number of consecutive packets that move the clock.
const RUN: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the numbers of packets back and ahead, and the maximum step back in milliseconds.
    fn counters(times: &[i64]) -> (u64, u64, u64) {
        let mut clock = PacketClock::new(600_000);
        for time in times {
            clock.advance(Timestamp::from_ms(*time), None);
        }
        let mut stats = FlowTableStats::default();
        clock.count(&mut stats);
        (stats.time_back, stats.time_ahead, stats.furthest_back_ms)
    }

    #[test]
    fn packets_back_and_ahead_are_counted() {
        assert_eq!(counters(&[5, 5, 6, 600_006]), (0, 0, 0));
        assert_eq!(counters(&[5, 9, 6, 7, 9, 10]), (2, 0, 3));
        // One packet is ahead; the following packets continue the earlier times.
        assert_eq!(counters(&[0, 3_600_000, 1, 2]), (0, 1, 0));
        // Two packets ahead are a gap, after which time goes back.
        assert_eq!(counters(&[0, 3_600_000, 3_600_001, 1]), (1, 0, 3_600_000));
    }

    #[test]
    fn sixteen_packets_in_a_row_move_it() {
        let mut clock = PacketClock::new(600_000);
        let due = Timestamp::from_ms(100);
        let mut reached = Vec::new();
        let times = (0..15).chain([50]).map(|n| 100 + n).chain([7]);
        for time in times.chain(200..216) {
            reached.extend(clock.advance(Timestamp::from_ms(time), Some(due)));
        }
        let wanted: Vec<Timestamp> = [100, 200].map(Timestamp::from_ms).into();
        assert_eq!(reached, wanted);
        let mut clock = PacketClock::new(600_000);
        for time in (0..60).map(|n| if n % 16 == 0 { 7 } else { 100 + n }) {
            assert_eq!(clock.advance(Timestamp::from_ms(time), Some(due)), None);
        }
    }
}
