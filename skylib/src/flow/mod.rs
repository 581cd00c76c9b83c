//! Flows: who talks to whom, how much, since when.
//!
//! A [`FlowTable`] makes flows of packets. What clients see of one is a [`Flow`]; a [`FlowSet`]
//! answers a [`FlowQuery`], from tables and from whatever else is a [`FlowSource`].
//!
//! The life of a flow:
//!
//! ```text
//!   packet ── decode ──▶ part ── key ──▶ known? ── no ──▶ begins: entry, queue, "touched"
//!                                          │ yes                │
//!                                          ▼                    ▼
//!                                       counted ◀───────────────┘
//!                                          │
//!           update, 60 s ◀── "touched" ────┤  sent whole; its last interval is kept for queries
//!                                          │
//!     ended by TCP, 15 s silent ───────────┤  sent by an update before, leaves
//!     silent longer than its application ──┤  sent, leaves
//!     silent from one expiry to the next ──┤  sent, leaves
//!     table full, longest unused ──────────┤  sent, leaves, counted as evicted
//!     flush ───────────────────────────────┘  sent, leaves
//! ```
//!
//! No timer looks at flows in use: an update goes along the list of touched ones, an expiry along
//! queues that begin with the oldest.

mod application;
mod csv;
mod extra_layers;
mod field;
mod flow_ids;
mod heap_size;
mod key;
mod memory_hint;
mod metric;
mod options;
mod packet_filter;
mod protobuf;
mod query;
mod record;
mod set;
mod stats;
mod table;
mod tcp_metric;
mod tcp_stream;

pub use application::ApplicationPorts;

pub use csv::CsvWriter;
pub use extra_layers::ExtraLayers;
pub use extra_layers::records::{
    Dhcpv4Layer, DnsLayer, DnsMx, DnsOpt, DnsQuestion, DnsRecord, DnsSoa, DnsSrv, DnsTimestamp,
    Vrrpv2Layer,
};
pub use field::{FlowField, IntField, MetricField, ObjectField, PlainInt, TextField};
pub use metric::{FlowMetric, IpMetric};
pub use options::{FlowTableOptions, LayerKeyMode};
pub use packet_filter::{PacketFilter, PacketFilterCompiler};
pub use query::{FlowQuery, FlowQueryError, FlowSink, FlowSource};
pub use record::{
    FinishType, Flow, FlowLayer, FlowProtocol, IcmpLayer, IcmpType, RawPacket, TransportLayer,
};
pub use set::{FlowSet, MergeOptions, SortOrder};
pub use stats::{FlowMessage, FlowStats, FlowTableStats, FragmentCounts, StopCounts};
pub use table::{FlowScan, FlowTable};
pub use tcp_metric::{TcpMetric, TcpMetricKey};
