//! Subcommands in addition to the daemon.

pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod export;
pub(crate) mod flows;
pub(crate) mod history;
mod history_import;
