//! Probes on namespaces and interfaces of the kernel.

mod lab;
mod links;
mod lldp;
mod namespaces;
mod next_hop;
mod ovs;
mod running;
mod scale;
mod sockets;
mod storm;
