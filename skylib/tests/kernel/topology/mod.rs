//! Probes on namespaces and interfaces of the kernel.

mod lab;
mod links;
mod namespaces;
mod next_hop;
mod running;
mod storm;
