//! Errors of `skyd client`: messages, advice, and exit codes.

use std::io::{self, Write};
use std::process::ExitCode;

use hyper::StatusCode;
use tokio_rustls::rustls;

use crate::printable::printable_lines;

/// Response of the server with a status other than the expected one.
///
/// COMPAT: displayed as the status line and the body, as by Skydive's client.
#[derive(Debug, thiserror::Error)]
#[error("{status}{}{body}", if body.is_empty() { "" } else { ": " })]
pub(super) struct Refusal {
    /// Status of the response.
    pub(super) status: StatusCode,
    /// Body of the response, without whitespace at its end.
    pub(super) body: String,
}

/// Request about a resource that the server rejected.
#[derive(Debug, thiserror::Error)]
#[error("Failed to {verb} {kind}, {refusal}")]
pub(super) struct Failed {
    /// Requested operation: `list`, `get`, `create`, `update`, or `delete`.
    pub(super) verb: &'static str,
    /// Kind of the resource.
    pub(super) kind: &'static str,
    /// Response of the server.
    pub(super) refusal: Refusal,
}

/// Error that ends a command whose failures have been printed.
#[derive(Debug, thiserror::Error)]
#[error("{failed} of {all} failed")]
pub(super) struct SomeFailed {
    /// Number of failures.
    pub(super) failed: usize,
    /// Number of attempts.
    pub(super) all: usize,
}

/// The output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the output")]
pub(super) struct OutputFailed(#[source] pub(super) io::Error);

/// Request to print the help of a group or the usage of a command, because a word is missing.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct HelpNeeded {
    /// Description of the missing word; empty if the help itself was requested.
    pub(super) message: &'static str,
    /// Words of the command after `client`.
    pub(super) command: &'static [&'static str],
}

impl HelpNeeded {
    /// Returns the request to print the help of a group.
    pub(super) fn group(command: &'static [&'static str]) -> anyhow::Error {
        let message = "";
        Self { message, command }.into()
    }

    fn print(&self, client: &clap::Command) -> ExitCode {
        let words = self.command.iter();
        let found = words.fold(client, |command, word| {
            command.find_subcommand(word).unwrap_or(command)
        });
        let mut current = found.clone();
        if self.message.is_empty() {
            write!(io::stdout(), "{}", current.render_help()).ok();
            return ExitCode::SUCCESS;
        }
        let mut stderr = io::stderr().lock();
        writeln!(
            stderr,
            "Error: {}\n\n{}",
            self.message,
            current.render_usage()
        )
        .ok();
        ExitCode::from(USAGE)
    }
}

/// Prints the error of a command with advice, and returns the exit code.
pub(super) fn report(error: &anyhow::Error, client: &clap::Command) -> ExitCode {
    if let Some(help) = error.downcast_ref::<HelpNeeded>() {
        return help.print(client);
    }
    if is_broken_pipe(error) {
        // The reader of the output has closed it, as `head` does.
        return ExitCode::SUCCESS;
    }
    print(error);
    ExitCode::FAILURE
}

/// Prints an error with its causes and advice.
pub(super) fn print(error: &anyhow::Error) {
    let text = format!("{error:#}");
    let mut stderr = io::stderr().lock();
    writeln!(stderr, "Error: {}", printable_lines(text.trim_end())).ok();
    if let Some(advice) = advice(error) {
        writeln!(stderr, "{advice}").ok();
    }
}

/// Returns advice for the user about an error; `None` if there is none.
fn advice(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        if let Some(failed) = cause.downcast_ref::<Failed>() {
            return advice_on(&failed.refusal);
        }
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return advice_on(refusal);
        }
        // The cause of an I/O error from TLS is inside it and not in its chain of sources.
        let inner = cause
            .downcast_ref::<io::Error>()
            .and_then(|error| error.get_ref())
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match cause.downcast_ref::<rustls::Error>().or(inner) {
            Some(rustls::Error::InvalidCertificate(_)) => return Some(UNTRUSTED),
            Some(rustls::Error::InvalidMessage(_)) => return Some(NOT_TLS),
            _ => {}
        }
        let error = cause.downcast_ref::<io::Error>()?;
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::TimedOut => Some(NOBODY_LISTENS),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Some(NO_ROUTE),
            // The resolver's errors have no kind.
            _ if error.to_string().contains("lookup address") => Some(UNKNOWN_NAME),
            _ => None,
        }
    })
}

fn advice_on(refusal: &Refusal) -> Option<&'static str> {
    match refusal.status {
        StatusCode::UNAUTHORIZED => Some(
            "Set --username and --password, or SKYDIVE_USERNAME and SKYDIVE_PASSWORD in the environment.",
        ),
        StatusCode::BAD_REQUEST if refusal.body.contains(" requires https") => Some(NEEDS_TLS),
        StatusCode::BAD_REQUEST if refusal.body.contains("to an HTTPS server") => Some(NEEDS_TLS),
        StatusCode::METHOD_NOT_ALLOWED => {
            Some("The role of this user does not allow this request.")
        }
        _ => None,
    }
}

/// Returns whether an error means that the reader of the output has closed it.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let failed = error.downcast_ref::<OutputFailed>();
    failed.is_some_and(|OutputFailed(cause)| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Exit code for a wrong command line, as for the errors that clap finds.
const USAGE: u8 = 2;

const NOBODY_LISTENS: &str = "Start `skyd analyzer` or `skyd allinone` there, or set its address with \
    --analyzer HOST:PORT or SKYDIVE_ANALYZER.";
const NO_ROUTE: &str = "Check the address and the network, or set another address with --analyzer \
    HOST:PORT or SKYDIVE_ANALYZER.";
const UNKNOWN_NAME: &str = "Check the name of the host, or set its IP address with --analyzer \
    ADDRESS:PORT or SKYDIVE_ANALYZER.";
const UNTRUSTED: &str = "Set the file of the certificate authority with --cacert FILE; --insecure skips \
    the check.";
const NEEDS_TLS: &str =
    "The server requires TLS: set the file of its certificate authority with --cacert FILE.";
const NOT_TLS: &str = "The server does not use TLS: omit --cert, --key, and --cacert.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_the_original() {
        let refusal = |body: &str| Refusal {
            status: StatusCode::NOT_FOUND,
            body: body.to_owned(),
        };
        let failed = Failed {
            verb: "get",
            kind: "capture",
            refusal: refusal("Capture 'x' not found"),
        };
        assert_eq!(
            failed.to_string(),
            "Failed to get capture, 404 Not Found: Capture 'x' not found"
        );
        assert_eq!(refusal("").to_string(), "404 Not Found");
    }

    #[test]
    fn errors_that_users_can_solve_have_advice() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = anyhow::Error::from(refused).context("cannot connect to h:1");
        assert_eq!(advice(&error), Some(NOBODY_LISTENS));
        let unknown = io::Error::other("failed to lookup address information: no such name");
        let error = anyhow::Error::from(unknown).context("cannot connect to h:1");
        assert_eq!(advice(&error), Some(UNKNOWN_NAME));
        let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = anyhow::Error::from(io::Error::new(io::ErrorKind::InvalidData, untrusted));
        assert_eq!(advice(&error), Some(UNTRUSTED));
        let unauthorized = Refusal {
            status: StatusCode::UNAUTHORIZED,
            body: "Wrong credentials".to_owned(),
        };
        assert!(advice(&unauthorized.into()).is_some_and(|text| text.contains("--password")));
        assert_eq!(advice(&anyhow::anyhow!("other")), None);
    }

    #[test]
    fn a_closed_output_is_no_error() {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&OutputFailed(closed()).into()));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(!is_broken_pipe(&OutputFailed(full).into()));
        // A connection that the server closes while a file is sent.
        assert!(!is_broken_pipe(
            &anyhow::Error::from(closed()).context("no response")
        ));
    }
}
