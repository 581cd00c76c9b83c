//! Probes against the real kernel, each test in network namespaces of its own.

mod lab;
mod links;
mod namespaces;
mod running;
mod storm;
