//! Log on standard error, one line per event.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

/// Starts the log at the level of `logging.level`. The environment variable `SKYD_LOG` overrides it
/// with finer directives, such as `info,skylib::engine=debug`.
pub(crate) fn start(level: &str) {
    let filter =
        EnvFilter::try_from_env("SKYD_LOG").unwrap_or_else(|_| EnvFilter::new(name(level)));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        // By default, a failure (such as a log file on a full disk) is reported on standard error,
        // with a panic if that fails too.
        .log_internal_errors(false)
        .with_writer(|| OneLine(io::stderr()))
        .init();
}

/// Writer that escapes line breaks within an event, so that input from a client, such as a query,
/// cannot imitate another event. Each call of `write` must receive one whole event.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let (line, end) = match event.split_last() {
            Some((b'\n', line)) => (line, &b"\n"[..]),
            _ => (event, &b""[..]),
        };
        let mut escaped = Vec::with_capacity(event.len());
        for byte in line {
            match byte {
                b'\n' => escaped.extend(b"\\n"),
                b'\r' => escaped.extend(b"\\r"),
                byte => escaped.push(*byte),
            }
        }
        escaped.extend(end);
        self.0.write_all(&escaped)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Returns the `tracing` level that corresponds to a Skydive log level.
fn name(level: &str) -> &'static str {
    match level.to_ascii_uppercase().as_str() {
        "ERROR" => "error",
        "WARNING" | "WARN" | "NOTICE" => "warn",
        "DEBUG" => "debug",
        "TRACE" => "trace",
        _ => "info",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_contains() {
        let mut log = OneLine(Vec::new());
        log.write_all(b"WARN bad query: here\r\nINFO all is well\n")
            .unwrap();
        log.write_all(b"next\n").unwrap();
        let wanted = "WARN bad query: here\\r\\nINFO all is well\nnext\n";
        assert_eq!(String::from_utf8(log.0).unwrap(), wanted);
    }
}
