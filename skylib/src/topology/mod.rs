//! Topology: probes that watch a host and update the graph.
//!
//! A [`Probe`] runs on its own thread, receives state from the kernel or a daemon, and updates the
//! graph of its [`ProbeTarget`] in short transactions. A [`ProbeSet`] starts and stops probes and
//! returns their status. A probe that cannot work reports this in its [`ProbeStatus`], with a remedy
//! if one is known; other probes continue.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use skylib::graph::Graph;
//! use skylib::topology::netlink::{Namespaces, NetlinkOptions, NetlinkProbe};
//! use skylib::topology::{ProbeSet, ProbeTarget};
//!
//! let graph = Arc::new(Mutex::new(Graph::new()));
//! let target = ProbeTarget::for_host(graph.clone(), "edge-01")?;
//! let namespaces = Namespaces::new(target, NetlinkOptions::default());
//! let mut probes = ProbeSet::new();
//! probes.start(NetlinkProbe::new(&namespaces))?;
//! while graph.lock().expect("no thread panics").node_count() < 2 {
//!     std::thread::yield_now();
//! }
//! probes.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "netlink")]
pub mod blockdev;
#[cfg(feature = "netlink")]
mod connect;
#[cfg(feature = "netlink")]
mod container_set;
#[cfg(feature = "netlink")]
pub mod docker;
mod fabric;
#[cfg(feature = "netlink")]
pub mod host;
#[cfg(feature = "netlink")]
mod http;
#[cfg(feature = "netlink")]
pub mod json_frames;
#[cfg(feature = "engine")]
pub mod k8s;
#[cfg(feature = "netlink")]
pub(crate) mod known_tids;
#[cfg(feature = "netlink")]
pub mod libvirt;
#[cfg(feature = "netlink")]
pub mod lldp;
#[cfg(feature = "netlink")]
pub mod lxd;
#[cfg(feature = "netlink")]
pub mod metadata_files;
#[cfg(feature = "netlink")]
pub mod netlink;
#[cfg(feature = "netlink")]
pub mod netns;
#[cfg(feature = "netlink")]
pub mod openflow;
#[cfg(feature = "netlink")]
pub mod ovsdb;
mod peering;
#[cfg(feature = "netlink")]
mod probe;
#[cfg(feature = "netlink")]
pub mod process_netns;
#[cfg(feature = "netlink")]
pub mod runc;
#[cfg(feature = "netlink")]
pub mod socketinfo;
#[cfg(feature = "netlink")]
mod stream;
#[cfg(feature = "netlink")]
mod subgraph;
pub mod tid;
#[cfg(feature = "netlink")]
mod tls;
#[cfg(feature = "netlink")]
mod tool;
#[cfg(feature = "netlink")]
mod websocket;

#[cfg(feature = "netlink")]
pub use crate::sys::eventfd::EventFd;
#[cfg(feature = "engine")]
pub(crate) use fabric::FabricProcessor;
pub use fabric::{Fabric, FabricError};
pub use peering::PeeringProcessor;
#[cfg(feature = "netlink")]
pub use probe::{Probe, ProbeContext, ProbeError, ProbeSet, ProbeState, ProbeStatus, ProbeTarget};
#[cfg(feature = "netlink")]
pub use stream::{ServerAddress, ServerAddressError};
#[cfg(feature = "netlink")]
pub use subgraph::{Subgraph, SubgraphWriter};
#[cfg(feature = "netlink")]
pub use tls::TlsFiles;
