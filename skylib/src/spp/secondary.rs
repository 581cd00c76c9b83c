//! `Secondary`: the connection to an SPP process.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::net::sockopt;

use super::SppError;
use super::reply::{Reply, ReplyBuffer};

/// Connected SPP process, to which commands are sent one after the other.
#[derive(Debug)]
pub(super) struct Secondary {
    /// Id of the process, 1 to 127.
    pub(super) id: u8,
    /// Connection; `None` once it is closed.
    stream: Mutex<Option<TcpStream>>,
}

/// Error returned for a failed command.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecondaryError {
    /// The process has closed the connection.
    #[error("the connection was closed")]
    Closed,
    /// The process did not reply, or its reply was invalid.
    #[error("{0}")]
    Broken(String),
}

impl Secondary {
    /// Queries the id and type of a process that has just connected.
    pub(super) fn greet(mut stream: TcpStream) -> Result<Self, SecondaryError> {
        // Without keep-alive, a failure of the remote machine would not be detected.
        let configured = stream
            .set_nodelay(true)
            .and_then(|()| Ok(sockopt::set_socket_keepalive(&stream, true)?))
            .and_then(|()| Ok(sockopt::set_tcp_keepidle(&stream, KEEP_ALIVE)?));
        configured.map_err(|error| SecondaryError::Broken(error.to_string()))?;
        let reply = exchange(&mut stream, "_get_client_id", TIMEOUT)?;
        let kind = reply.process_type.as_deref().unwrap_or_default();
        if kind != "pcap" {
            let kind = super::shortened(kind);
            return Err(SecondaryError::Broken(format!(
                "processes of type {kind:?} are not supported"
            )));
        }
        let id = reply.client_id.and_then(|id| u8::try_from(id).ok());
        let id = id.filter(|id| (1..=127).contains(id));
        let id = id.ok_or_else(|| {
            SecondaryError::Broken("the process reported no client id from 1 to 127".to_owned())
        })?;
        Ok(Self {
            id,
            stream: Mutex::new(Some(stream)),
        })
    }

    /// Sends a command and returns the reply. After a timeout, the connection is closed, because a
    /// late reply would be mistaken for the reply to the next command; the process then connects
    /// again.
    pub(super) fn command(&self, command: &str) -> Result<Reply, SecondaryError> {
        let began = now();
        let busy = || SecondaryError::Broken("busy with another command".to_owned());
        let mut stream = self.stream.try_lock_for(TIMEOUT).ok_or_else(busy)?;
        let left = TIMEOUT.saturating_sub(began.elapsed());
        let open = stream.as_mut().ok_or(SecondaryError::Closed)?;
        let outcome = exchange(open, command, left);
        if outcome.is_err() {
            *stream = None;
        }
        outcome
    }

    /// Returns whether the connection is open, without sending a command.
    pub(super) fn is_alive(&self) -> bool {
        // If a command is in progress, its caller detects a closed connection.
        let Some(mut stream) = self.stream.try_lock() else {
            return true;
        };
        let Some(open) = stream.as_ref() else {
            return false;
        };
        let waiting = open.set_nonblocking(true).and_then(|()| {
            let outcome = open.peek(&mut [0]);
            open.set_nonblocking(false)?;
            outcome
        });
        // Without a command in progress, nothing is received on an open connection.
        let alive = waiting.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        if !alive {
            *stream = None;
        }
        alive
    }

    /// Converts the error of a failed command.
    pub(super) fn error(&self, error: SecondaryError) -> SppError {
        match error {
            SecondaryError::Closed => SppError::NoProcess(self.id.to_string()),
            SecondaryError::Broken(reason) => SppError::NoAnswer {
                id: self.id,
                reason,
            },
        }
    }
}

/// Sends a command and reads the reply, whose only delimiter is the end of its JSON object.
fn exchange(
    stream: &mut TcpStream,
    command: &str,
    timeout: Duration,
) -> Result<Reply, SecondaryError> {
    let end = now() + timeout;
    set_timeouts(stream, timeout)?;
    stream
        .write_all(command.as_bytes())
        .map_err(|error| of_io(&error))?;
    let mut reply = ReplyBuffer::default();
    let mut piece = [0; 4096];
    loop {
        let left = end.saturating_duration_since(now());
        if left.is_zero() {
            return Err(of_io(&ErrorKind::TimedOut.into()));
        }
        set_timeouts(stream, left)?;
        let length = match stream.read(&mut piece) {
            Ok(0) => return Err(SecondaryError::Closed),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(of_io(&error)),
        };
        let received = reply.push(&piece[..length]);
        if let Some(reply) = received.map_err(SecondaryError::Broken)? {
            return Ok(reply);
        }
    }
}

/// Sets the timeouts for reading and writing.
fn set_timeouts(stream: &TcpStream, timeout: Duration) -> Result<(), SecondaryError> {
    let timeout = Some(timeout.max(Duration::from_millis(1)));
    stream
        .set_read_timeout(timeout)
        .and_then(|()| stream.set_write_timeout(timeout))
        .map_err(|error| of_io(&error))
}

/// Converts an error from the socket.
fn of_io(error: &io::Error) -> SecondaryError {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            SecondaryError::Broken(format!("no reply within {} s", TIMEOUT.as_secs()))
        }
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => {
            SecondaryError::Closed
        }
        _ => SecondaryError::Broken(error.to_string()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "timeouts must not depend on a clock that can be set"
)]
fn now() -> Instant {
    Instant::now()
}

/// Timeout of a command, including the wait for earlier commands.
pub(super) const TIMEOUT: Duration = Duration::from_secs(4);

/// Idle time before TCP keep-alive probes.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
