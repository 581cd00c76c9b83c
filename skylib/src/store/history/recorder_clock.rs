//! `RecorderClock`: times of arrival that do not decrease when the system clock is set back.
//! Performs no I/O.

use std::time::Duration;

use crate::time::Timestamp;

/// Clock of a recorder, which follows the system clock. If the system clock is set back by at most
/// [`STANDS_FOR`], the recorder's clock stops until the system clock has caught up, so that the
/// times of rows are in order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RecorderClock {
    latest: Timestamp,
}

impl RecorderClock {
    /// Returns the time of arrival of a record at `now`, and whether the clock was set back by so
    /// much that a new log must begin.
    pub(super) fn tick(&mut self, now: Timestamp) -> (Timestamp, bool) {
        let jumped = now.saturating_add(STANDS_FOR) < self.latest;
        if jumped || now > self.latest {
            self.latest = now;
        }
        (self.latest, jumped)
    }
}

/// Maximum time for which the clock stops after the system clock was set back.
const STANDS_FOR: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_steps_back_are_ignored_and_large_ones_followed() {
        let at = |seconds: i64| Timestamp::from_ms(seconds * 1000);
        let mut clock = RecorderClock::default();
        assert_eq!(clock.tick(at(1000)), (at(1000), false));
        assert_eq!(clock.tick(at(970)), (at(1000), false), "stands still");
        assert_eq!(clock.tick(at(1001)), (at(1001), false));
        assert_eq!(clock.tick(at(900)), (at(900), true), "a new log");
        assert_eq!(clock.tick(at(5000)), (at(5000), false), "forwards at once");
    }
}
