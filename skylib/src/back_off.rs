//! `BackOff`: times between attempts of an operation that has failed.

use std::time::Duration;

/// Exponential back-off with jitter: daemons that fail at the same time, for example because they
/// lost the same analyzer, do not all try again at the same time.
///
/// ```
/// use std::time::Duration;
/// use skylib::back_off::BackOff;
///
/// let mut back_off = BackOff::new(Duration::from_millis(500), Duration::from_secs(3));
/// let wait = back_off.next(u64::MAX);
/// assert!(wait >= Duration::from_millis(250) && wait <= Duration::from_millis(500));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BackOff {
    first: Duration,
    max: Duration,
    current: Duration,
}

impl BackOff {
    /// Returns a back-off whose waits double from `first` up to `max`.
    #[must_use]
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max,
            current: first,
        }
    }

    /// Returns the time until the next attempt: at least half of the current wait, the rest
    /// determined by a random number.
    pub fn next(&mut self, random: u64) -> Duration {
        let half = self.current / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.current = (self.current * 2).min(self.max);
        half + Duration::from_nanos(random % spread)
    }

    /// Starts again with the shortest wait, after a success.
    pub const fn reset(&mut self) {
        self.current = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_differ() {
        let mut back_off = BackOff::new(Duration::from_millis(100), Duration::from_millis(350));
        let bounds = [(50, 100), (100, 200), (175, 350), (175, 350)];
        for (least, most) in bounds {
            let wait = back_off.next(12_345_678_901).as_millis();
            assert!((least..=most).contains(&wait), "{wait}");
        }
        back_off.reset();
        assert!(back_off.next(0) == Duration::from_millis(50));
        assert_ne!(back_off.next(1), back_off.next(99_999_999));
    }
}
