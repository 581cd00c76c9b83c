//! Monotonic clock for timeouts of the engine's threads.

use std::time::Instant;

/// Returns the time of the monotonic clock, for timeouts only. Times that are stored or shown come
/// from a [`Clock`](crate::time::Clock).
#[expect(
    clippy::disallowed_methods,
    reason = "timeouts must not depend on a clock that may be set"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
