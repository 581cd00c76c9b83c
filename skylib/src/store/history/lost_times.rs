//! `LostTimes`: times whose records were in damaged files. Performs no I/O.

use super::names::Name;
use crate::time::{TimeSlice, Timestamp};

/// Times whose records were in damaged files.
#[derive(Debug, Default)]
pub(super) struct LostTimes {
    /// Times whose records are lost.
    lost: Times,
    /// Times from the first lost record until the present state was recorded again.
    repaired: Times,
}

/// Segment or snapshot that was damaged when the folder was opened: its time cannot be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct DamagedSegment {
    pub(super) name: Name,
    /// Time at which its folder was written, in Unix milliseconds.
    pub(super) written_at: i64,
}

/// Bounded set of time ranges. When it is full, the two ranges that are nearest to each other are
/// merged.
#[derive(Debug, Default)]
struct Times {
    /// First and last millisecond of each, in ascending order, without overlaps.
    times: Vec<(i64, i64)>,
}

impl LostTimes {
    /// Adds a time, in Unix milliseconds, both ends included.
    pub(super) fn add(&mut self, start: i64, last: i64) {
        self.lost.add(start, last);
    }

    /// Adds the time of a segment that cannot be read: from the end of the segments before it to the
    /// beginning of the segments after it, or until it was written. `others` are the name and the
    /// recorder's first and last time of each other segment and log.
    pub(super) fn add_unreadable(
        &mut self,
        damaged: DamagedSegment,
        others: &[(Name, (i64, i64))],
    ) {
        let (start, last) = time_of(damaged, others);
        self.add(start, last);
    }

    /// Adds the time of a segment that was found damaged before the start, as
    /// [`LostTimes::add_unreadable`] does: the state after it was recorded again.
    pub(super) fn add_set_aside(&mut self, damaged: DamagedSegment, others: &[(Name, (i64, i64))]) {
        let (start, last) = time_of(damaged, others);
        self.repaired.add(start, last);
    }

    /// Records that the state after all lost records was recorded again.
    pub(super) fn repair(&mut self, now: Timestamp) {
        for (start, last) in std::mem::take(&mut self.lost.times) {
            self.repaired.add(start, last.max(now.as_ms()));
        }
    }

    /// Returns whether no record is lost.
    pub(super) fn is_empty(&self) -> bool {
        self.lost.times.is_empty() && self.repaired.times.is_empty()
    }

    /// Returns the times that overlap a time slice.
    pub(super) fn within(&self, time: TimeSlice) -> Vec<TimeSlice> {
        let mut found = self.lost.within(time);
        found.extend(self.repaired.within(time));
        found
    }

    /// Returns the times on which the state in a time slice depends: those before it, unless the
    /// state was recorded again.
    pub(super) fn affecting(&self, time: TimeSlice) -> Vec<TimeSlice> {
        let start = Timestamp::from_ms(i64::MIN);
        let mut found = self.lost.within(TimeSlice { start, ..time });
        found.extend(self.repaired.within(time));
        found
    }
}

/// Returns the first and last time of a segment that cannot be read. If its neighbors have been
/// merged, these are the times of the merged segment.
fn time_of(damaged: DamagedSegment, others: &[(Name, (i64, i64))]) -> (i64, i64) {
    let merged = others
        .iter()
        .find(|(other, _)| damaged.name.is_replaced_by(*other));
    if let Some((_, span)) = merged {
        return *span;
    }
    let generation = damaged.name.last();
    let before = others.iter().filter(|(other, _)| other.last() < generation);
    let start = before.map(|(_, (_, last))| *last).max();
    let after = others.iter().filter(|(other, _)| other.last() > generation);
    let last = after.map(|(_, (first, _))| *first).min();
    let start = start.unwrap_or_default();
    (start, last.unwrap_or(damaged.written_at).max(start))
}

impl Times {
    fn add(&mut self, start: i64, last: i64) {
        self.times.push((start, last));
        self.times.sort_unstable();
        let mut united: Vec<(i64, i64)> = Vec::new();
        for (start, last) in self.times.drain(..) {
            match united.last_mut() {
                Some(before) if start <= before.1 => before.1 = before.1.max(last),
                _ => united.push((start, last)),
            }
        }
        while united.len() > MAX_TIMES {
            let gap = |after: &usize| united[*after].0.saturating_sub(united[after - 1].1);
            let Some(nearest) = (1..united.len()).min_by_key(gap) else {
                break;
            };
            let (_, last) = united.remove(nearest);
            united[nearest - 1].1 = last;
        }
        self.times = united;
    }

    fn within(&self, time: TimeSlice) -> Vec<TimeSlice> {
        let (from, to) = (time.start.as_ms(), time.last.as_ms());
        let found = self.times.iter();
        let found = found.filter(|(start, last)| *start <= to && *last >= from);
        let slice = |(start, last): &(i64, i64)| TimeSlice {
            start: Timestamp::from_ms(*start),
            last: Timestamp::from_ms(*last),
        };
        found.map(slice).collect()
    }
}

/// Maximum number of times.
const MAX_TIMES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(start: i64, last: i64) -> TimeSlice {
        TimeSlice {
            start: Timestamp::from_ms(start),
            last: Timestamp::from_ms(last),
        }
    }

    #[test]
    fn overlapping_times_are_united() {
        let mut lost = LostTimes::default();
        lost.add(100, 200);
        lost.add(500, 600);
        lost.add(150, 300);
        assert_eq!(
            lost.within(slice(0, 1000)),
            [slice(100, 300), slice(500, 600)]
        );
        assert_eq!(lost.within(slice(300, 499)), [slice(100, 300)]);
        assert!(lost.within(slice(301, 499)).is_empty());
    }

    #[test]
    fn many_times_are_united_with_their_nearest() {
        let mut lost = LostTimes::default();
        for number in 0..1000 {
            lost.add(number * 100, number * 100 + 10);
        }
        let found = lost.within(slice(0, i64::MAX));
        assert!(found.len() <= MAX_TIMES);
        for number in 0..1000 {
            let is_lost = found.iter().any(|time| {
                time.start.as_ms() <= number * 100 && number * 100 <= time.last.as_ms()
            });
            assert!(is_lost, "{number}");
        }
    }

    #[test]
    fn the_time_of_an_unreadable_segment_follows_from_its_neighbors() {
        let others = [
            (Name::Segment(1, 1), (100, 200)),
            (Name::Segment(4, 4), (500, 600)),
            (Name::Log(5), (590, 700)),
            (Name::Segment(7, 9), (800, 850)),
        ];
        let found = |first, last| {
            let mut lost = LostTimes::default();
            let name = Name::Segment(first, last);
            let written_at = 900;
            lost.add_unreadable(DamagedSegment { name, written_at }, &others);
            lost.within(slice(i64::MIN, i64::MAX))
        };
        assert_eq!(found(2, 3), [slice(200, 500)]);
        assert_eq!(found(6, 6), [slice(700, 800)]);
        assert_eq!(found(8, 8), [slice(800, 850)], "its neighbors were merged");
        assert_eq!(found(10, 10), [slice(850, 900)], "until it was written");
        assert_eq!(found(0, 0), [slice(0, 100)]);
    }

    #[test]
    fn lost_changes_affect_all_later_states_until_the_state_is_recorded_again() {
        let mut lost = LostTimes::default();
        lost.add(100, 200);
        assert_eq!(lost.affecting(slice(900, 900)), [slice(100, 200)]);
        assert!(lost.affecting(slice(50, 99)).is_empty());
        lost.repair(Timestamp::from_ms(500));
        assert!(lost.affecting(slice(501, 900)).is_empty());
        assert_eq!(lost.affecting(slice(300, 900)), [slice(100, 500)]);
        lost.add(700, 800);
        let both = [slice(700, 800), slice(100, 500)];
        assert_eq!(lost.affecting(slice(400, 900)), both);
    }
}
