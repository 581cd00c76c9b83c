//! Live network topology, flows and Gremlin queries over both, as a library.

pub mod api;
pub mod decode;
pub mod filter;
pub mod graph;
pub mod id;
pub mod packet;
pub mod proto;
pub mod store;
pub mod time;
pub mod value;
