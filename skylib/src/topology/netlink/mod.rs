//! Links, addresses, routes, and neighbors of every network namespace, from the kernel.
//!
//! Each namespace has a watch that receives events from its netlink socket, requests further details,
//! and passes both to the table of links of the host. A few threads run the watches of all namespaces:
//! they enter a namespace only to open its sockets. The table compares the new state of a link to the
//! metadata that it has set before, and writes only the differences to the graph. It resolves the two
//! ends of a veth pair exactly, also across namespaces, by the namespace ids (nsid) of the kernel.
//!
//! ```text
//!  netlink ─ events ──┐                        ┌── graph transaction: nodes, metadata, edges
//!  netlink ─ replies ─┼─ watch of a namespace ─┤
//!  ethtool ─ facts ───┘        ▲               └── follow-up requests ──┐
//!                              └────────────── of any namespace ────────┘
//! ```

mod address;
mod buffer_pool;
mod kernel_tables;
mod l2_edges;
mod link;
mod link_details;
mod link_node;
mod link_state;
mod link_table;
mod link_watch;
mod namespace;
mod neighbor;
mod poller;
mod poller_pool;
mod queue;
mod route;
mod rule;
mod socket;
mod stats;
mod virtual_functions;
mod watch;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use super::known_tids::KnownTids;
use super::{Probe, ProbeContext, ProbeError};

pub(super) use link_watch::LinkSummary;
pub use namespace::Namespaces;
#[cfg(feature = "engine")]
pub(crate) use socket::set_link_up;
pub(super) use stats::Counters;

/// Options for watching namespaces.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NetlinkOptions {
    /// Interval between reads of the link counters; zero disables them. The default is 30 s.
    pub metrics_update: Duration,
    /// TIDs of the links and namespaces, by default without a store.
    pub(crate) tids: Arc<KnownTids>,
}

impl Default for NetlinkOptions {
    fn default() -> Self {
        Self {
            metrics_update: Duration::from_secs(30),
            tids: Arc::default(),
        }
    }
}

impl NetlinkOptions {
    /// Sets the interval between reads of the link counters; zero disables them.
    #[must_use]
    pub const fn with_metrics_update(mut self, period: Duration) -> Self {
        self.metrics_update = period;
        self
    }

    /// Sets the TIDs that are known from an earlier run.
    #[must_use]
    #[cfg_attr(
        not(feature = "engine"),
        allow(dead_code, reason = "only the engine uses it")
    )]
    pub(crate) fn with_tids(mut self, tids: Arc<KnownTids>) -> Self {
        self.tids = tids;
        self
    }
}

/// A probe of the network namespace of the host, which is the namespace of the thread of the probe.
#[derive(Debug)]
pub struct NetlinkProbe {
    namespaces: Arc<Namespaces>,
}

impl NetlinkProbe {
    /// Returns a probe that updates the graph of these namespaces.
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

    fn run(&mut self, context: &ProbeContext) -> Result<(), ProbeError> {
        let action = "cannot watch the network namespace of the host";
        let shared = &self.namespaces.shared;
        shared
            .watch_own(self.namespaces.own, context)
            .map_err(|error| ProbeError::system(action, error))
    }
}
