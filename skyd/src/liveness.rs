//! `Liveness`: detects a server that has stopped sending.

use std::time::Duration;

use tokio::time::Instant;

/// Estimator of the time without any frame after which a server counts as lost. The interval of a
/// server's pings is set in the server's configuration; it is estimated from its first pings.
#[derive(Debug)]
pub(crate) struct Liveness {
    /// Minimum time, from the configuration of this process.
    configured: Duration,
    /// Time of the last ping.
    last: Option<Instant>,
    /// Maximum interval between the first pings.
    interval: Duration,
    /// Number of intervals in `interval`; at most [`INTERVALS`].
    count: u32,
}

impl Liveness {
    /// Returns the state of a new connection.
    pub(crate) const fn new(configured: Duration) -> Self {
        Self {
            configured,
            last: None,
            interval: Duration::ZERO,
            count: 0,
        }
    }

    /// Records a ping.
    pub(crate) fn ping(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now)
            && self.count < INTERVALS
        {
            self.interval = self.interval.max(now.duration_since(last));
            self.count += 1;
        }
    }

    /// Returns the time without any frame after which the server counts as lost.
    pub(crate) fn limit(&self) -> Duration {
        match self.count {
            INTERVALS => self.configured.max(self.interval * MISSED),
            _ => self.configured.max(UNKNOWN),
        }
    }
}

/// Number of intervals that are measured.
const INTERVALS: u32 = 2;
/// Number of pings that may be missing before the server counts as lost.
const MISSED: u32 = 3;
/// Limit while the interval of the pings is unknown.
const UNKNOWN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_pings_rarely_is_not_lost() {
        let start = Instant::now();
        let after = |pings: &[u64]| {
            let mut liveness = Liveness::new(Duration::from_secs(9));
            for seconds in pings {
                liveness.ping(start + Duration::from_secs(*seconds));
            }
            liveness.limit().as_secs()
        };
        assert_eq!((after(&[]), after(&[0, 2])), (60, 60));
        assert_eq!(after(&[0, 2, 4]), 9);
        assert_eq!(after(&[0, 30, 60]), 90);
        assert_eq!(after(&[0, 2, 4, 100]), 9, "an outage is no interval");
    }
}
