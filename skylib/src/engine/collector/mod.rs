//! Collectors of flow exports: UDP sockets that receive NetFlow, IPFIX, and sFlow from switches and
//! routers.
//!
//! ```text
//! socket ─ allow list ─ Intake ─┬ flow records, samples ─ ExportTable ─ flows → FlowHub
//!                               └ names, counters, figures ─ ExporterNodes ─ nodes → SharedGraph
//! ```
//!
//! Each socket has one thread, so that the datagrams of one exporting process are read in order. The
//! exporters are nodes of the graph (type `exporter`), and their interfaces are nodes below them
//! (type `exporterport`), unless the address of an exporter is that of a host in the graph.

mod listener;
mod nodes;
mod options;
mod sflow_metric;

pub use listener::CollectorStatus;
pub use options::{AllowedNetwork, CollectorOptions};

pub(super) use listener::Collector;
pub(super) use sflow_metric::SflowMetric;
