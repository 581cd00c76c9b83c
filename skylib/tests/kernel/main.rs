//! Tests against the kernel: captures, recordings, and probes on interfaces of new network
//! namespaces.
//!
//! They need root, so they are ignored by default. `make test` runs them if it runs as root; by
//! hand: `cargo test -p skylib --all-features --test kernel -- --ignored`.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where its preconditions do not hold"
)]

mod capture;
#[cfg(feature = "engine")]
mod capture_options;
#[cfg(feature = "engine")]
mod capture_types;
#[cfg(feature = "engine")]
mod engine_lab;
#[cfg(feature = "engine")]
mod injection;
#[cfg(feature = "engine")]
mod node_changes;
#[cfg(feature = "spp")]
mod spp;
mod support;
mod switch;
#[cfg(feature = "engine")]
mod switch_captures;
mod topology;
