//! `PacketClock`: the clock of a capture file, which a single packet with a wrong timestamp does
//! not move (rules E3 and E4 of `docs/flows.md`).

use crate::flow::stats::FlowTableStats;
use crate::packet::PacketHeader;
use crate::time::Timestamp;

/// Clock driven by packets: the latest time such that [`RUN`] consecutive packets were at or after
/// it.
///
/// The clock is read only where a timer is due, so that it costs two comparisons per packet.
#[derive(Clone, Debug)]
pub(crate) struct PacketClock {
    /// Number of consecutive packets at or after `due`, at most [`RUN`].
    run: usize,
    /// Deadline that `run` refers to.
    due: Option<Timestamp>,
    /// Times of the latest packets at or after a deadline; the next one replaces `times[oldest]`.
    times: [Timestamp; RUN],
    oldest: usize,
    /// Latest time of a packet that is not itself far ahead.
    newest: Timestamp,
    /// Time of the previous packet, if it is far ahead and the next packet must confirm it.
    suspect: Option<Timestamp>,
    /// Difference from `newest` at which [`judge`](Self::judge) examines a packet, in nanoseconds.
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
            due: None,
            times: [Timestamp::ZERO; RUN],
            oldest: 0,
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
    /// next deadline, which never decreases; with `None`, any time is due.
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
        self.reach(packet, due)
    }

    /// Advances the clock by the first packets that are in order and before the deadline `due`, the
    /// same as [`advance`](Self::advance) for each of them, but faster. Returns their number.
    #[inline]
    pub(crate) fn skip_early(&mut self, packets: &[PacketHeader], due: Option<Timestamp>) -> usize {
        let Some(due) = due else {
            return 0;
        };
        let mut newest = self.newest;
        let mut early = 0;
        for PacketHeader { timestamp, .. } in packets {
            let step = timestamp.as_ns().wrapping_sub(newest.as_ns());
            if step.cast_unsigned() >= self.window || *timestamp >= due {
                break;
            }
            newest = *timestamp;
            early += 1;
        }
        if early > 0 {
            (self.newest, self.run) = (newest, 0);
        }
        early
    }

    /// Adds the counters to those of a table.
    pub(crate) fn count(&self, stats: &mut FlowTableStats) {
        stats.time_back += self.back;
        stats.time_ahead += self.ahead;
        let furthest = (self.furthest_back / 1_000_000).cast_unsigned();
        stats.furthest_back_ms = stats.furthest_back_ms.max(furthest);
    }

    /// Counts a packet at or after the deadline.
    fn reach(&mut self, packet: Timestamp, due: Option<Timestamp>) -> Option<Timestamp> {
        if self.due != due {
            // The packets that reached the previous deadline may have reached this deadline, too.
            let latest = (1..=self.run).map(|back| self.times[(self.oldest + RUN - back) % RUN]);
            self.run = latest.take_while(|time| Some(*time) >= due).count();
            self.due = due;
        } else if self.run == RUN {
            // The deadline was reached but cannot advance, because it is the maximum time: it must
            // not be reached again immediately.
            self.run = 0;
        }
        self.times[self.oldest] = packet;
        self.oldest = (self.oldest + 1) % RUN;
        self.run = (self.run + 1).min(RUN);
        let is_reached = self.run == RUN;
        is_reached.then(|| self.times.iter().copied().fold(packet, Timestamp::min))
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

/// Number of consecutive packets that must be at or after a time before the clock advances to it.
const RUN: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

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

    proptest! {
        /// E3, by definition: the largest minimum of 16 packets in a row.
        #[test]
        fn the_clock_is_exact(
            steps in prop::collection::vec((-20_i64..60, 1_usize..20), 0..40),
            period in 1_i64..400,
            skips in any::<bool>(),
        ) {
            let mut now = 1_000;
            let mut times = Vec::new();
            for (step, count) in steps {
                now += step;
                times.extend((0..count).map(|n| Timestamp::from_ms(now + n as i64)));
            }
            let header = |time: &Timestamp| PacketHeader {
                timestamp: *time,
                offset: 0,
                captured_len: 0,
                wire_len: 0,
                point: crate::packet::CapturePoint::ONLY,
            };
            let mut clock = PacketClock::new(600_000);
            let mut due: Option<Timestamp> = None;
            let mut early = 0;
            for (at, time) in times.iter().enumerate() {
                if skips && at >= early {
                    let rest: Vec<_> = times[at..].iter().map(header).collect();
                    early = at + clock.skip_early(&rest, due);
                }
                let windows = times[..=at].windows(RUN).filter_map(|window| window.iter().min());
                let reached = windows.max().copied().filter(|now| Some(*now) >= due);
                let got = if at < early { None } else { clock.advance(*time, due) };
                prop_assert_eq!(got, reached);
                if let Some(now) = reached {
                    due = Some(now.saturating_add(Duration::from_millis(period as u64)));
                }
            }
        }
    }
}
