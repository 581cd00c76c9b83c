//! When to end and when to read files again: SIGTERM, SIGINT, SIGHUP.

use std::io::{IsTerminal, stderr};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the process listens to.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    /// Whether the log goes to a terminal.
    has_terminal: bool,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// To end; with the signal's name.
    End(&'static str),
    /// To read certificates and password files again.
    Reload,
}

impl Signals {
    /// Begins to listen; call it before anybody can know that the process is there, a signal that
    /// comes earlier is lost.
    ///
    /// # Errors
    /// When signals cannot be received.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            has_terminal: stderr().is_terminal(),
        })
    }

    /// Waits for the next one and tells what it asks for.
    pub(crate) async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::End("SIGTERM"),
            _ = self.interrupt.recv() => Request::End("SIGINT"),
            // Who closes the terminal in which the daemon runs wants it to end.
            _ = self.hang_up.recv() => match self.has_terminal && !stderr().is_terminal() {
                true => Request::End("SIGHUP"),
                false => Request::Reload,
            },
        }
    }
}
