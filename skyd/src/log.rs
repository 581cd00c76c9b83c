//! The log: to the standard error, one line an event.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Begins logging at a level of the configuration; `SKYD_LOG` overrides it with finer directives
/// (`info,skylib::engine=debug`).
pub(crate) fn start(level: &str) {
    let filter =
        EnvFilter::try_from_env("SKYD_LOG").unwrap_or_else(|_| EnvFilter::new(name(level)));
    let stderr = std::io::stderr;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        .init();
}

/// Our name of one of the original's levels.
fn name(level: &str) -> &'static str {
    match level.to_ascii_uppercase().as_str() {
        "ERROR" => "error",
        "WARNING" | "WARN" | "NOTICE" => "warn",
        "DEBUG" => "debug",
        "TRACE" => "trace",
        _ => "info",
    }
}
