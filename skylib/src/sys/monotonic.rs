//! The monotonic clock of the kernel, for deadlines of threads that wait for several descriptors.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Returns the time since an arbitrary start, for deadlines only. The clock does not advance while
/// the machine is suspended, and is never set.
pub(crate) fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_advances() {
        let before = now();
        std::thread::sleep(Duration::from_millis(2));
        let passed = now() - before;
        assert!(passed >= Duration::from_millis(2), "{passed:?}");
    }
}
