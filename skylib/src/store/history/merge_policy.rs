//! When segments are merged.

use crate::time::Timestamp;

/// Returns the hour, since the Unix epoch, of a segment whose newest record is from `last` (Unix
/// milliseconds). Only segments of one hour are merged.
pub(super) const fn hour(last: i64) -> i64 {
    last.div_euclid(HOUR_MS)
}

/// Returns whether `count` segments of an hour are merged at `now`: the hour has ended, or there are so
/// many segments, as after many restarts, that each query would spend its time opening them.
pub(super) const fn is_due(hour: i64, count: usize, now: Timestamp) -> bool {
    count > 1 && (hour < now.as_ms().div_euclid(HOUR_MS) || count >= MAX_SEGMENTS)
}

/// Number of segments of the current hour at which they are merged. With the default settings, a
/// segment is written every five minutes, and an hour has twelve.
pub(super) const MAX_SEGMENTS: usize = 64;

/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;
