//! `Secondary`: a process of SPP that has connected.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::net::sockopt;

use super::SppError;
use super::reply::Reply;

/// A process of SPP that has connected. It gets one command at a time.
#[derive(Debug)]
pub(super) struct Secondary {
    pub(super) id: u8,
    /// None once it is given up.
    stream: Mutex<Option<TcpStream>>,
}

/// Why a command was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// The process has closed the connection.
    #[error("it is gone")]
    Gone,
    /// It is there and does not do its part.
    #[error("{0}")]
    Broken(String),
}

impl Secondary {
    /// Asks a process that has just connected who it is.
    pub(super) fn greet(mut stream: TcpStream) -> Result<Self, LinkError> {
        // Nobody tells when the machine at the other end is gone.
        let kept = stream
            .set_nodelay(true)
            .and_then(|()| Ok(sockopt::set_socket_keepalive(&stream, true)?))
            .and_then(|()| Ok(sockopt::set_tcp_keepidle(&stream, KEEP_ALIVE)?));
        kept.map_err(|error| LinkError::Broken(error.to_string()))?;
        let reply = exchange(&mut stream, "_get_client_id", PATIENCE)?;
        let kind = reply.process_type.as_deref().unwrap_or_default();
        if kind != "pcap" {
            let kind = super::shortened(kind);
            return Err(LinkError::Broken(format!(
                "processes of type {kind:?} are not supported"
            )));
        }
        let id = reply.client_id.and_then(|id| u8::try_from(id).ok());
        let id = id.filter(|id| (1..=127).contains(id));
        let id = id.ok_or_else(|| LinkError::Broken("no client id from 1 to 127".to_owned()))?;
        Ok(Self {
            id,
            stream: Mutex::new(Some(stream)),
        })
    }

    /// Sends a command and waits for the reply. What does not come in time would be taken for the
    /// reply to the next command: the connection is closed then, and the process connects again.
    pub(super) fn command(&self, command: &str) -> Result<Reply, LinkError> {
        let began = now();
        let busy = || LinkError::Broken("it is busy with another command".to_owned());
        let mut stream = self.stream.try_lock_for(PATIENCE).ok_or_else(busy)?;
        let left = PATIENCE.saturating_sub(began.elapsed());
        let open = stream.as_mut().ok_or(LinkError::Gone)?;
        let outcome = exchange(open, command, left);
        if outcome.is_err() {
            *stream = None;
        }
        outcome
    }

    /// Whether the connection still stands, as far as can be told without asking the process.
    pub(super) fn is_alive(&self) -> bool {
        // One that is busy will be found dead by whoever waits for it.
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
        // Nothing is to come while nothing was asked.
        let alive = waiting.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        if !alive {
            *stream = None;
        }
        alive
    }

    pub(super) fn error(&self, error: LinkError) -> SppError {
        match error {
            LinkError::Gone => SppError::NoProcess(self.id.to_string()),
            LinkError::Broken(reason) => SppError::NoAnswer {
                id: self.id,
                reason,
            },
        }
    }
}

/// One command and its reply, which has no length and no end but its own.
fn exchange(stream: &mut TcpStream, command: &str, patience: Duration) -> Result<Reply, LinkError> {
    let end = now() + patience;
    set_timeouts(stream, patience)?;
    stream
        .write_all(command.as_bytes())
        .map_err(|error| of_io(&error))?;
    let mut reply = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let left = end.saturating_duration_since(now());
        if left.is_zero() {
            return Err(of_io(&ErrorKind::TimedOut.into()));
        }
        set_timeouts(stream, left)?;
        let length = match stream.read(&mut piece) {
            Ok(0) => return Err(LinkError::Gone),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(of_io(&error)),
        };
        // Some processes send the zero at the end of their text.
        reply.extend(piece[..length].iter().filter(|byte| **byte != 0));
        if reply.len() > LONGEST_REPLY {
            return Err(LinkError::Broken("the reply is too long".to_owned()));
        }
        // Trying would cost much if it were done for each of many small pieces.
        let may_be_whole = reply.trim_ascii_end().last() == Some(&b'}');
        if reply.first() == Some(&b'{') && !may_be_whole {
            continue;
        }
        match Reply::parse(&reply) {
            Ok(reply) => return Ok(reply),
            Err(error) if error.is_eof() => {}
            Err(error) => {
                return Err(LinkError::Broken(format!(
                    "the reply makes no sense: {error}"
                )));
            }
        }
    }
}

fn set_timeouts(stream: &TcpStream, timeout: Duration) -> Result<(), LinkError> {
    let timeout = Some(timeout.max(Duration::from_millis(1)));
    stream
        .set_read_timeout(timeout)
        .and_then(|()| stream.set_write_timeout(timeout))
        .map_err(|error| of_io(&error))
}

fn of_io(error: &io::Error) -> LinkError {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            LinkError::Broken(format!("nothing came within {} s", PATIENCE.as_secs()))
        }
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => {
            LinkError::Gone
        }
        _ => LinkError::Broken(error.to_string()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a reply may take must not depend on a clock that may be set"
)]
fn now() -> Instant {
    Instant::now()
}

/// How long a command may take, its turn included.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

const LONGEST_REPLY: usize = 64 << 10;

const KEEP_ALIVE: Duration = Duration::from_secs(30);
