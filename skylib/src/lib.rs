#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod api;
pub mod back_off;
pub mod capture;
pub mod decode;
#[cfg(feature = "engine")]
pub mod engine;
mod error;
mod error_chain;
pub mod export;
pub mod file_use;
pub mod filter;
pub mod flow;
pub mod go_duration;
pub mod graph;
pub mod gremlin;
pub mod id;
pub mod inject;
pub mod memory;
pub mod nearest;
pub mod packet;
pub mod pcap_file;
pub mod proto;
#[cfg(feature = "spp")]
pub mod spp;
pub mod store;
mod sys;
pub mod time;
pub mod topology;
pub mod value;

pub use capture::Capture;
pub use error::{Error, Result};
pub use flow::FlowTable;
pub use graph::Graph;
pub use gremlin::Traversal;

/// Compiles the examples of the repository's README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct RepositoryReadme;
