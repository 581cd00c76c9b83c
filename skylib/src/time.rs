//! Timestamps, intervals of time, and the clock.
//!
//! No module below the engine reads a clock: the current time is an argument. Tests use a
//! [`ManualClock`].

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Point in time: nanoseconds since the Unix epoch, UTC.
///
/// ```
/// use skylib::time::Timestamp;
/// let t = Timestamp::from_ms(1_600_000_000_123);
/// assert_eq!(t.as_ms(), 1_600_000_000_123);
/// assert_eq!(t.as_ns() % 1_000_000, 0);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(
    /// Nanoseconds with the sign bit inverted, which preserves the order and leaves zero, the
    /// earliest time, as a niche: an `Option<Timestamp>` takes no more memory than a `Timestamp`.
    NonZeroU64,
);

const _: () = assert!(size_of::<Option<Timestamp>>() == 8);

const SIGN: u64 = 1 << 63;

impl Timestamp {
    /// The Unix epoch; also the default, which means that the time is unknown.
    pub const ZERO: Self = Self::from_ns(0);

    /// Returns the time from a number of nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn from_ns(ns: i64) -> Self {
        match NonZeroU64::new(ns.cast_unsigned() ^ SIGN) {
            Some(ns) => Self(ns),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// Returns the time from a number of milliseconds since the Unix epoch; saturates at the ends
    /// of the range (years 1677 to 2262).
    #[must_use]
    pub const fn from_ms(ms: i64) -> Self {
        Self::from_ns(ms.saturating_mul(1_000_000))
    }

    /// Returns the number of nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_ns(self) -> i64 {
        (self.0.get() ^ SIGN).cast_signed()
    }

    /// Returns the number of milliseconds since the Unix epoch, truncated.
    #[must_use]
    pub const fn as_ms(self) -> i64 {
        self.as_ns() / 1_000_000
    }

    /// Returns the time as an RFC 3339 string in UTC, with up to nine fractional digits and no
    /// trailing zeros.
    ///
    /// ```
    /// use skylib::time::Timestamp;
    /// let t = Timestamp::from_ms(1_738_573_811_500);
    /// assert_eq!(t.to_rfc3339(), "2025-02-03T09:10:11.5Z");
    /// ```
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        // Every `i64` of nanoseconds is within the range of `jiff`: years −9999 to 9999.
        jiff::Timestamp::from_nanosecond(i128::from(self.as_ns()))
            .unwrap_or_default()
            .to_string()
    }

    /// Returns the time after a duration; saturates at the end of the range.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let ns = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self::from_ns(self.as_ns().saturating_add(ns))
    }

    /// Returns the time before a duration; saturates at the start of the range.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let ns = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self::from_ns(self.as_ns().saturating_sub(ns))
    }

    /// Returns the duration since an earlier time; zero if `earlier` is later than `self`.
    #[must_use]
    pub fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(
            u64::try_from(self.as_ns().saturating_sub(earlier.as_ns())).unwrap_or(0),
        )
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    /// Parses an RFC 3339 string with any offset, such as `2025-02-03T10:10:11.5+01:00`.
    ///
    /// # Errors
    /// Returns [`ParseTimestampError`] if the string is not in this format, or if the time is
    /// outside the years 1677 to 2262.
    ///
    /// ```
    /// use skylib::time::{ParseTimestampError, Timestamp};
    /// let t: Timestamp = "2025-02-03T10:10:11.5+01:00".parse()?;
    /// assert_eq!(t, Timestamp::from_ms(1_738_573_811_500));
    /// assert!("2025-02-30T00:00:00Z".parse::<Timestamp>().is_err());
    /// # Ok::<(), ParseTimestampError>(())
    /// ```
    fn from_str(text: &str) -> Result<Self, ParseTimestampError> {
        let time: jiff::Timestamp = text.parse().map_err(|_| ParseTimestampError)?;
        let ns = i64::try_from(time.as_nanosecond()).map_err(|_| ParseTimestampError)?;
        Ok(Self::from_ns(ns))
    }
}

/// Error returned if a string is not a [`Timestamp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a date in RFC 3339 format between the years 1677 and 2262")]
pub struct ParseTimestampError;

impl Default for Timestamp {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:09}",
            self.as_ns().div_euclid(1_000_000_000),
            self.as_ns().rem_euclid(1_000_000_000)
        )
    }
}

/// Interval of time with both ends included; equal ends are one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSlice {
    /// First instant of the interval.
    pub start: Timestamp,
    /// Last instant of the interval.
    pub last: Timestamp,
}

/// Time of a query about the past.
///
/// The variants differ even if an interval is one instant long: a query at an instant returns one
/// revision of each element, the latest one, and a query over an interval returns every revision
/// that overlaps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// State at an instant.
    At(Timestamp),
    /// All states in an interval.
    During(TimeSlice),
}

impl When {
    /// Returns the interval; an instant has equal ends.
    ///
    /// ```
    /// use skylib::time::{Timestamp, When};
    /// let noon = Timestamp::from_ms(43_200_000);
    /// assert_eq!(When::At(noon).slice().start, noon);
    /// ```
    #[must_use]
    pub const fn slice(self) -> TimeSlice {
        match self {
            Self::At(instant) => TimeSlice {
                start: instant,
                last: instant,
            },
            Self::During(slice) => slice,
        }
    }
}

/// Source of the current time.
pub trait Clock: Send + Sync {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// Returns the current time and a monotonic time that is read at the same moment: the number of
    /// nanoseconds since a fixed point, unaffected by steps of the clock. The default
    /// implementation is correct only for a clock that is never stepped.
    fn now_and_monotonic_ns(&self) -> (Timestamp, i64) {
        let now = self.now();
        (now, now.as_ns())
    }
}

/// Clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the only reader of the system clock"
    )]
    fn now(&self) -> Timestamp {
        let ns = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        Timestamp::from_ns(i64::try_from(ns).unwrap_or(i64::MAX))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the only reader of the system clock"
    )]
    fn now_and_monotonic_ns(&self) -> (Timestamp, i64) {
        static START: OnceLock<Instant> = OnceLock::new();
        let start = START.get_or_init(Instant::now);
        let monotonic = || i64::try_from(start.elapsed().as_nanos()).unwrap_or(i64::MAX);
        let mut before = monotonic();
        loop {
            let (now, after) = (self.now(), monotonic());
            // A larger difference means that the thread was interrupted between the readings.
            if after - before < 1_000_000 {
                return (now, after);
            }
            before = after;
        }
    }
}

/// Clock that is set by a test.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: AtomicI64,
    /// Sum of the steps, in nanoseconds.
    stepped: AtomicI64,
}

impl ManualClock {
    /// Returns a clock that is set to a time.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self {
            now: AtomicI64::new(now.as_ns()),
            stepped: AtomicI64::new(0),
        }
    }

    /// Advances the clock by a duration.
    pub fn advance(&self, by: Duration) {
        self.now
            .store(self.now().saturating_add(by).as_ns(), Ordering::Relaxed);
    }

    /// Steps the clock by a number of milliseconds, negative for a step back, as an administrator
    /// would; the monotonic time is not affected.
    pub fn step(&self, by_ms: i64) {
        let ns = by_ms.saturating_mul(1_000_000);
        self.now.fetch_add(ns, Ordering::Relaxed);
        self.stepped.fetch_add(ns, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ns(self.now.load(Ordering::Relaxed))
    }

    fn now_and_monotonic_ns(&self) -> (Timestamp, i64) {
        let now = self.now();
        (now, now.as_ns() - self.stepped.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_round_trip_in_their_order() {
        let times = [i64::MIN + 1, -1, 0, 1, i64::MAX];
        assert!(times.is_sorted_by_key(|ns| Timestamp::from_ns(*ns)));
        for ns in times {
            assert_eq!(Timestamp::from_ns(ns).as_ns(), ns);
        }
        assert_eq!(
            Timestamp::from_ns(i64::MIN).as_ns(),
            i64::MIN + 1,
            "the earliest value is the niche"
        );
        assert_eq!(Timestamp::default(), Timestamp::from_ns(0));
    }

    #[test]
    fn arithmetic_saturates() {
        let end = Timestamp::from_ms(i64::MAX);
        assert_eq!(end.saturating_add(Duration::from_secs(1)), end);
        assert_eq!(Timestamp::ZERO.duration_since(end), Duration::ZERO);
    }

    #[test]
    fn rfc3339_follows_the_calendar() {
        let shown = |seconds: i64| Timestamp::from_ms(seconds * 1000).to_rfc3339();
        assert_eq!(shown(0), "1970-01-01T00:00:00Z");
        assert_eq!(shown(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(shown(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(shown(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(shown(-1), "1969-12-31T23:59:59Z");
        assert_eq!(shown(1_600_000_020), "2020-09-13T12:27:00Z");
        assert_eq!(
            Timestamp::from_ns(10).to_rfc3339(),
            "1970-01-01T00:00:00.00000001Z"
        );
        assert_eq!(
            Timestamp::from_ns(i64::MIN).to_rfc3339(),
            "1677-09-21T00:12:43.145224193Z"
        );
        assert_eq!(
            Timestamp::from_ns(i64::MAX).to_rfc3339(),
            "2262-04-11T23:47:16.854775807Z"
        );
    }

    #[test]
    fn a_manual_clock_moves_only_when_advanced() {
        let clock = ManualClock::new(Timestamp::from_ms(5));
        clock.advance(Duration::from_millis(2));
        assert_eq!(clock.now().as_ms(), 7);
    }
}
