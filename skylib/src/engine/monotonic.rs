//! The clock by which the engine waits: one that nobody sets.

use std::time::Instant;

/// Now, for waiting and nothing else: what is kept or shown has its time from a
/// [`Clock`](crate::time::Clock).
#[expect(
    clippy::disallowed_methods,
    reason = "how long somebody waits must not depend on a clock that may be set"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
