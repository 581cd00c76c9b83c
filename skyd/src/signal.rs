//! Signals of the daemon: SIGTERM and SIGINT end it, SIGHUP reloads files.

use std::io::{IsTerminal, stderr};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that the daemon handles.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    /// Whether standard error was a terminal at the start.
    has_terminal: bool,
}

/// Action that a signal requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Shut down; contains the name of the signal.
    End(&'static str),
    /// Reload certificates and password files.
    Reload,
}

impl Signals {
    /// Installs the handlers. Must be called before the process is visible from outside, because
    /// the default action of an earlier SIGHUP ends the process.
    ///
    /// # Errors
    /// Returns an error if a handler cannot be installed.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            has_terminal: stderr().is_terminal(),
        })
    }

    /// Waits for the next signal that ends the daemon and returns its name.
    pub(crate) async fn end(&mut self) -> &'static str {
        loop {
            if let Request::End(signal) = self.next().await {
                return signal;
            }
        }
    }

    /// Waits for the next signal and returns the action that it requests.
    pub(crate) async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::End("SIGTERM"),
            _ = self.interrupt.recv() => Request::End("SIGINT"),
            // Closing the terminal in which the daemon runs also sends SIGHUP, which then ends the
            // daemon.
            _ = self.hang_up.recv() => match self.has_terminal && !stderr().is_terminal() {
                true => Request::End("SIGHUP"),
                false => Request::Reload,
            },
        }
    }
}
