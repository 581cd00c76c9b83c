//! HTTP handlers, one file per resource: parse, one call into the library, respond.

mod agent_status;
pub(crate) mod api;
mod collector_metrics;
pub(crate) mod config;
pub(crate) mod history;
mod history_metrics;
mod interface_metrics;
pub(crate) mod login;
pub(crate) mod me;
pub(crate) mod metrics;
pub(crate) mod page;
pub(crate) mod pcap;
pub(crate) mod resource;
pub(crate) mod spp;
pub(crate) mod status;
pub(crate) mod swagger;
pub(crate) mod topology;
pub(crate) mod ui_folder;
pub(crate) mod workflow;
