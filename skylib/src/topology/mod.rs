//! What is there: probes that watch a host and keep the graph true to it.
//!
//! A [`Probe`] runs on a thread of its own, learns from the kernel (or a daemon) and changes the
//! graph of its [`ProbeTarget`] in short transactions. A [`ProbeSet`] starts and stops them and
//! tells how they are. A probe that cannot do its work says so in its [`ProbeStatus`], with the
//! remedy where there is one, and the others go on.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use skylib::graph::{Graph, GraphWriter, Metadata, Origin, Node, NodeId};
//! use skylib::time::Timestamp;
//! use skylib::topology::netlink::{Namespaces, NetlinkOptions, NetlinkProbe};
//! use skylib::topology::{ProbeSet, ProbeTarget};
//!
//! /// The owner of a graph: hands it out to one writer at a time.
//! #[derive(Default)]
//! struct Shared(Mutex<Graph>);
//!
//! impl GraphWriter for Shared {
//!     fn update(&self, work: &mut dyn FnMut(&mut Graph, Timestamp)) {
//!         work(&mut self.0.lock().expect("no writer panics"), Timestamp::from_ms(1000));
//!     }
//! }
//!
//! let shared = Arc::new(Shared::default());
//! let root = NodeId::random();
//! let metadata = Metadata::from_iter([("Name", "edge-01"), ("Type", "host")]);
//! shared.update(&mut |graph, now| {
//!     let node = Node::new(root.clone(), metadata.clone(), now).with_origin(Origin::new("agent", "edge-01"));
//!     graph.add_node(node).expect("the graph is empty");
//! });
//!
//! let target = ProbeTarget::new(shared.clone(), Origin::new("agent", "edge-01"), root);
//! let namespaces = Namespaces::new(target, NetlinkOptions::default());
//! let mut probes = ProbeSet::new();
//! probes.start(NetlinkProbe::new(&namespaces))?;
//! while shared.0.lock().expect("no writer panics").node_count() < 2 {
//!     std::thread::yield_now();
//! }
//! probes.stop();
//! # Ok::<(), std::io::Error>(())
//! ```

#[cfg(feature = "netlink")]
pub mod host;
#[cfg(feature = "netlink")]
pub mod netlink;
#[cfg(feature = "netlink")]
pub mod netns;
#[cfg(feature = "netlink")]
mod probe;
pub mod tid;

#[cfg(feature = "netlink")]
pub use crate::sys::eventfd::EventFd;
#[cfg(feature = "netlink")]
pub use probe::{Probe, ProbeContext, ProbeError, ProbeSet, ProbeState, ProbeStatus, ProbeTarget};
