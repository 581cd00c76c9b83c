//! `TimerFd`: a timer that wakes threads blocked in `poll`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// Timer with a file descriptor, which is readable from the expiration of the timer until
/// [`TimerFd::clear`].
///
/// The timer does not advance while the machine is suspended, and costs nothing until it expires.
#[derive(Debug)]
pub(crate) struct TimerFd(OwnedFd);

impl TimerFd {
    /// Creates a timer that is not set.
    ///
    /// # Errors
    /// Returns an error if no file descriptor is available.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, flags)?))
    }

    /// Sets the timer to expire once, after a duration; with zero, immediately. Replaces earlier
    /// settings.
    ///
    /// # Errors
    /// Returns an error if the kernel rejects the duration.
    pub(crate) fn once(&self, after: Duration) -> io::Result<()> {
        self.set(after.max(Duration::from_nanos(1)), Duration::ZERO)
    }

    /// Sets the timer to expire periodically; a period of zero disables it. Replaces earlier
    /// settings.
    ///
    /// # Errors
    /// Returns an error if the kernel rejects the period.
    pub(crate) fn every(&self, period: Duration) -> io::Result<()> {
        self.set(period, period)
    }

    /// Acknowledges an expiration; returns whether there was one.
    pub(crate) fn clear(&self) -> bool {
        let mut expirations = [0; 8];
        rustix::io::read(&self.0, &mut expirations).is_ok()
    }

    fn set(&self, value: Duration, interval: Duration) -> io::Result<()> {
        let spec = |duration: Duration| Timespec {
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: duration.subsec_nanos().into(),
        };
        let timer = Itimerspec {
            it_interval: spec(interval),
            it_value: spec(value),
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &timer)?;
        Ok(())
    }
}

impl AsFd for TimerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::eventfd::wait_readable;

    #[test]
    fn a_timer_expires_as_often_as_it_is_set() {
        let timer = TimerFd::new().unwrap();
        assert!(!timer.clear());
        timer.every(Duration::from_millis(1)).unwrap();
        for _ in 0..3 {
            assert_eq!(wait_readable([timer.as_fd()]).unwrap(), [true]);
            assert!(timer.clear());
        }
        timer.every(Duration::ZERO).unwrap();
        assert!(!timer.clear(), "switched off");
        timer.once(Duration::ZERO).unwrap();
        assert_eq!(wait_readable([timer.as_fd()]).unwrap(), [true]);
    }
}
