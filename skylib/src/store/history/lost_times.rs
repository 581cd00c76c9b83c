//! `LostTimes`: times whose records were in damaged files. Pure.

use crate::time::{TimeSlice, Timestamp};

/// Times whose records were in damaged files, since the start. Bounded: of many times, the nearest
/// two are united.
#[derive(Debug, Default)]
pub(super) struct LostTimes {
    /// First and last millisecond of each, in ascending order, without overlaps.
    times: Vec<(i64, i64)>,
}

impl LostTimes {
    /// Adds a time, in Unix milliseconds, both ends included.
    pub(super) fn add(&mut self, start: i64, last: i64) {
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

    /// Returns the times that overlap a time slice.
    pub(super) fn within(&self, time: TimeSlice) -> Vec<TimeSlice> {
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
}
