//! Subcommands other than the daemon itself.

pub(crate) mod flows;
