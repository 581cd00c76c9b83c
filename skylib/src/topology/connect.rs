//! Connection attempts of probes: each ends with the probe, and within a time limit for the lookup
//! of the name, the connection, and the handshake together.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::sys::eventfd::EventFd;
use crate::sys::name_lookup;
use crate::sys::timerfd::TimerFd;

/// An attempt to connect to a service.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    stop: BorrowedFd<'a>,
    /// Expires at the end of the attempt.
    deadline: TimerFd,
}

/// Result of waiting for a part of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    Ready,
    TimedOut,
}

impl<'a> Attempt<'a> {
    /// Starts an attempt. `stop` becomes readable when the probe has to end.
    ///
    /// # Errors
    /// Returns an error if no timer is available.
    pub(super) fn start(stop: BorrowedFd<'a>) -> io::Result<Self> {
        Self::within(stop, TIMEOUT)
    }

    fn within(stop: BorrowedFd<'a>, timeout: Duration) -> io::Result<Self> {
        let deadline = TimerFd::new()?;
        deadline.once(timeout)?;
        Ok(Self { stop, deadline })
    }

    /// Connects to a Unix socket; the connection is non-blocking.
    ///
    /// # Errors
    /// Returns the system error, or `TimedOut` if the service accepts no connections.
    pub(super) fn unix(&self, path: &Path) -> io::Result<UnixStream> {
        let address = SocketAddrUnix::new(path)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        loop {
            match connect(&socket, &address) {
                Ok(()) => return Ok(UnixStream::from(socket)),
                // The queue of the service is full; the socket does not report when this changes.
                Err(Errno::AGAIN) => {
                    self.wait_for(None, Some(FULL_QUEUE_PAUSE))?;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Connects to the first address of a service that accepts the connection; the connection is
    /// non-blocking. `service` is a host and a port.
    ///
    /// # Errors
    /// Returns the error of the last address, or `NotFound` if the host has none.
    pub(super) fn tcp(&self, service: &str) -> io::Result<TcpStream> {
        let mut result = Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the host name has no address",
        ));
        let mut addresses = self.addresses(service)?.into_iter();
        while let Some(address) = addresses.next() {
            // The last one may take the rest of the attempt.
            let timeout = (addresses.len() > 0).then_some(ADDRESS_TIMEOUT);
            result = self.tcp_at(address, timeout);
            match &result {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => break,
                Err(_) => {}
            }
        }
        result
    }

    fn tcp_at(&self, address: SocketAddr, timeout: Option<Duration>) -> io::Result<TcpStream> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = socket_with(family, SocketType::STREAM, FLAGS, None)?;
        match connect(&socket, &address) {
            Ok(()) => {}
            Err(Errno::INPROGRESS | Errno::INTR) => {
                let wanted = (socket.as_fd(), PollFlags::OUT);
                if self.wait_for(Some(wanted), timeout)? == Waited::TimedOut {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                rustix::net::sockopt::socket_error(&socket)??;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(TcpStream::from(socket))
    }

    /// Returns the addresses of a service.
    fn addresses(&self, service: &str) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = service.parse() {
            return Ok(vec![address]);
        }
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "expected host:port");
        let (host, port) = service.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().map_err(|_| invalid())?;
        let found = Arc::new(EventFd::new()?);
        let (send, receive) = mpsc::channel();
        let raised = Arc::clone(&found);
        let done = move |result| {
            // Fails if the attempt has ended.
            let _sent = send.send(result);
            raised.raise();
        };
        name_lookup::start(host.trim_matches(['[', ']']), port, Box::new(done))?;
        self.wait(found.as_fd(), PollFlags::IN)?;
        receive.try_recv().map_err(io::Error::other)?
    }

    /// Waits until a descriptor is ready.
    ///
    /// # Errors
    /// Returns `TimedOut` at the end of the attempt, and `ConnectionAborted` if the probe has to end.
    pub(super) fn wait(&self, fd: BorrowedFd<'_>, flags: PollFlags) -> io::Result<()> {
        self.wait_for(Some((fd, flags)), None).map(drop)
    }

    fn wait_for(
        &self,
        wanted: Option<(BorrowedFd<'_>, PollFlags)>,
        timeout: Option<Duration>,
    ) -> io::Result<Waited> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.stop, PollFlags::IN),
            PollFd::from_borrowed_fd(self.deadline.as_fd(), PollFlags::IN),
        ];
        fds.extend(wanted.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        loop {
            let ready = match poll(&mut fds, timeout.as_ref()) {
                Ok(ready) => ready,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if !fds[0].revents().is_empty() {
                return Err(stopped());
            }
            if !fds[1].revents().is_empty() {
                let text = format!("no connection within {TIMEOUT:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            return Ok(match ready {
                0 => Waited::TimedOut,
                _ => Waited::Ready,
            });
        }
    }
}

/// Returns the error of an operation that was interrupted because the probe has to end.
pub(super) fn stopped() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the probe has to stop")
}

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Maximum time of an attempt.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum time of the connection to an address of a service that has further addresses.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(1);

/// Time between two attempts while the queue of a Unix socket is full.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
        result.err().unwrap().kind()
    }

    #[test]
    fn addresses_and_names_are_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = EventFd::new().unwrap();
        let attempt = Attempt::start(stop.as_fd()).unwrap();
        for host in ["127.0.0.1", "localhost"] {
            let stream = attempt.tcp(&format!("{host}:{port}")).unwrap();
            assert_eq!(stream.peer_addr().unwrap().port(), port);
        }
        drop(listener);
        let refused = attempt.tcp(&format!("127.0.0.1:{port}"));
        assert_eq!(kind(refused), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_full_queue_ends_the_attempt_at_its_deadline_or_with_the_probe() {
        let path = std::env::temp_dir().join(format!("skylib-connect-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        let _listener = UnixListener::bind(&path).unwrap();
        let stop = EventFd::new().unwrap();
        let mut waiting = Vec::new();
        let ended = loop {
            let attempt = Attempt::within(stop.as_fd(), SHORT).unwrap();
            match attempt.unix(&path) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        stop.raise();
        let attempt = Attempt::start(stop.as_fd()).unwrap();
        assert_eq!(kind(attempt.unix(&path)), io::ErrorKind::ConnectionAborted);
        let looked_up = attempt.tcp("localhost:1");
        assert_eq!(kind(looked_up), io::ErrorKind::ConnectionAborted);
        std::fs::remove_file(&path).unwrap();
    }
}
