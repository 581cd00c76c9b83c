//! Live network topology, flows and Gremlin queries over both, as a library.

pub mod decode;
pub mod filter;
pub mod graph;
pub mod gremlin;
pub mod flow;
pub mod id;
pub mod packet;
#[cfg(feature = "netlink")]
pub mod sys;
pub mod store;
pub mod time;
pub mod topology;
pub mod value;
