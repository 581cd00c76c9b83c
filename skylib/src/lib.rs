//! Live network topology, flows and Gremlin queries over both, as a library.

pub mod capture;
pub mod decode;
pub mod filter;
pub mod graph;
pub mod id;
pub mod packet;
#[cfg(feature = "afpacket")]
pub mod sys;
pub mod store;
pub mod time;
pub mod value;
