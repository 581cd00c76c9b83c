//! The kernel's view of the network: links, addresses, routes, neighbours of every namespace.
//!
//! Each namespace has a thread that sleeps until its netlink socket has news, asks what the news
//! leave open, and hands all of it to one table of links. The table knows what the graph shows and
//! changes only the difference. It resolves the two ends of a veth pair exactly, also across
//! namespaces, from the numbers that the kernel gives.
//!
//! ```text
//!  kernel ── events ──┐                        ┌── graph transaction: nodes, metadata, edges
//!  netlink ─ answers ─┼─ thread of a namespace ┤
//!  ethtool ─ facts ───┘        ▲               └── what is still open ──┐
//!                              └────── asked again, also by others ─────┘
//! ```

mod address;
mod l2_edges;
mod link;
mod link_state;
mod link_table;
mod namespace;
mod neighbor;
mod route;
mod socket;
mod stats;
mod wire;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use super::{Probe, ProbeContext, ProbeError};

pub use namespace::Namespaces;

/// How namespaces are watched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NetlinkOptions {
    /// How often the counters of links are read; never if zero. Default 30 s.
    pub metrics_update: Duration,
}

impl Default for NetlinkOptions {
    fn default() -> Self {
        Self {
            metrics_update: Duration::from_secs(30),
        }
    }
}

impl NetlinkOptions {
    /// Sets how often the counters of links are read; never if zero.
    #[must_use]
    pub const fn with_metrics_update(mut self, period: Duration) -> Self {
        self.metrics_update = period;
        self
    }
}

/// Watches the host's own namespace: that of the thread that starts the probe.
#[derive(Debug)]
pub struct NetlinkProbe {
    namespaces: Arc<Namespaces>,
}

impl NetlinkProbe {
    /// A probe that puts what it finds where the namespaces belong.
    #[must_use]
    pub fn new(namespaces: &Arc<Namespaces>) -> Self {
        Self {
            namespaces: Arc::clone(namespaces),
        }
    }
}

impl Probe for NetlinkProbe {
    fn name(&self) -> &'static str {
        "netlink"
    }

    fn run(self: Box<Self>, context: &ProbeContext) -> Result<(), ProbeError> {
        let what = "watching the host's own namespace";
        let shared = &self.namespaces.shared;
        shared
            .watch_own(self.namespaces.own, context)
            .map_err(|source| ProbeError::System { what, source })
    }
}
