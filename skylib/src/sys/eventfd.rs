//! `EventFd`: a flag that wakes threads blocked in `poll`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

/// Flag with a file descriptor, which is readable from [`EventFd::raise`] until [`EventFd::clear`].
///
/// A thread that waits for several events polls this descriptor together with others.
///
/// ```
/// # #[cfg(feature = "netlink")] {
/// use skylib::topology::EventFd;
/// let stop = EventFd::new()?;
/// assert!(!stop.is_raised());
/// stop.raise();
/// assert!(stop.is_raised());
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// Creates a flag that is not raised.
    ///
    /// # Errors
    /// Returns an error if no file descriptor is available.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?))
    }

    /// Raises the flag. Raising it repeatedly has the same effect as raising it once.
    #[expect(clippy::host_endian_bytes, reason = "an eventfd counts in host order")]
    pub fn raise(&self) {
        // The only failure is a full counter, in which case the flag is raised already.
        let _raised = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Clears the flag; returns whether it was raised.
    pub fn clear(&self) -> bool {
        let mut counter = [0; 8];
        rustix::io::read(&self.0, &mut counter).is_ok()
    }

    /// Returns whether the flag is raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until at least one descriptor is readable or has an error; returns whether each of them
/// is.
///
/// # Errors
/// Returns the error of `poll`; interruptions by signals are ignored.
pub(crate) fn wait_readable<const N: usize>(fds: [BorrowedFd<'_>; N]) -> io::Result<[bool; N]> {
    let mut polled = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    loop {
        match poll(&mut polled, None) {
            Ok(_) => return Ok(polled.map(|fd| !fd.revents().is_empty())),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_flag_wakes_a_waiting_thread() {
        let (a, b) = (EventFd::new().unwrap(), EventFd::new().unwrap());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| wait_readable([a.as_fd(), b.as_fd()]).unwrap());
            b.raise();
            assert_eq!(waiter.join().unwrap(), [false, true]);
        });
        b.raise();
        assert!(b.clear());
        assert!(!b.clear());
        assert!(!b.is_raised());
    }
}
