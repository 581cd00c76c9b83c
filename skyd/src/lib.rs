//! Part of the daemon that other programs can use: reading and checking its configuration.
//!
//! The daemon itself is the binary `skyd` of this package.

pub mod config;
