//! What of the daemon can be used without it: the reading of its configuration.
//!
//! The daemon itself is the program of the same name.

pub mod config;
