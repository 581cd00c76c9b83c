//! Flows: the traffic between two ends, with its packets, bytes, start, and end.
//!
//! A [`FlowTable`] aggregates packets into flows. A [`Flow`] is the record of a flow that clients
//! receive. A [`FlowSet`] is the result of a [`FlowQuery`] on a [`FlowSource`]: a table, a store,
//! or a remote agent. A [`FlowSink`] receives the records that a table sends.
//!
//! Life of a flow:
//!
//! ```text
//!   packet ─ decode ─▶ encapsulation ─ key ─▶ known? ─ no ─▶ created: entry, age queue, touched list
//!                                               │ yes              │
//!                                               ▼                  ▼
//!                                            counted ◀─────────────┘
//!                                               │
//!           update, 60 s, in touched list ──────┤  sent; last interval stored for queries
//!                                               │
//!           ended by TCP, 15 s idle ────────────┤  removed (sent by an earlier update)
//!           idle beyond application timeout ────┤  sent, removed
//!           idle from one expiry to the next ───┤  sent, removed
//!           table full, least recently used ────┤  sent, removed, counted as evicted
//!           flush ──────────────────────────────┘  sent, removed
//! ```
//!
//! No timer scans the table: an update visits the touched list, an expiry visits age queues from
//! the oldest flow on. The module documentation of `flow/table/mod.rs` lists the file of each step.

mod application;
mod csv;
mod export_table;
mod extra_layers;
mod field;
mod flow_ids;
mod heap_size;
mod key;
mod key_extras;
mod key_ignore;
mod memory_hint;
mod message;
mod metric;
mod options;
mod packet_filter;
mod protobuf;
mod query;
mod record;
mod recorded_streams;
mod set;
mod setters;
mod stats;
mod stream_counters;
mod table;
mod tcp_metric;
mod top;

pub use application::ApplicationPorts;

pub use csv::{CsvColumns, CsvWriter};
pub use export_table::{ExportTable, ExportTableOptions, ExportTableStats};
pub use extra_layers::ExtraLayers;
pub use extra_layers::records::{
    Dhcpv4Layer, DnsFailure, DnsLayer, DnsMetric, DnsMx, DnsOpt, DnsQuestion, DnsRecord, DnsSoa,
    DnsSrv, DnsTimestamp, Vrrpv2Layer,
};
pub use field::{
    DetailField, FlowField, IntField, LayerField, MetricField, ObjectField, PlainInt, TextField,
    UnknownNameError,
};
pub use key_ignore::KeyIgnore;
pub use metric::{FlowMetric, IpMetric};
pub use options::{FlowTableOptions, LayerKeyMode};
pub use packet_filter::{PacketFilter, PacketFilterCompiler};
pub use query::{FlowQuery, FlowQueryError, FlowSink, FlowSource, PacketsByFlow};
pub use record::{
    About, Arp, ExportInfo, FinishType, Flow, FlowLayer, FlowProtocol, IcmpErrors, IcmpLayer,
    Initiator, Offload, RawPacket, RttMetric, TransportLayer, Wire,
};
#[cfg(feature = "history")]
pub(crate) use set::ArrangeKeys;
pub use set::{FlowSet, MergeOptions, SortOrder};
pub use stats::{
    FlowMessage, FlowStats, FlowTableStats, FragmentCounts, LayerCounts, LinkTypeCounts, StopCounts,
};
pub(crate) use table::PacketClock;
pub use table::{FlowScan, FlowTable};
pub use tcp_metric::{TcpMetric, TcpMetricField};
pub use top::{FlowMeasure, TopFlows};
