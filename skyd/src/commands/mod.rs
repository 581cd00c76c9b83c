//! Subcommands in addition to the daemon.

pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod export;
pub(crate) mod flows;
pub(crate) mod history;
mod history_import;
pub(crate) mod inject_packet;

use std::io;

/// Returns whether an error means that the reader closed the output, as `head` does.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
