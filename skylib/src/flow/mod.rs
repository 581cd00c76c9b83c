//! Flows: who talks to whom, how much, since when.
//!
//! A [`Flow`] is the record clients see; a [`FlowSet`] answers a [`FlowQuery`].

mod application;
mod csv;
mod field;
mod ident;
mod index;
mod key;
mod layers;
mod memory_hint;
mod metric;
mod options;
mod query;
mod record;
mod set;
mod stats;
mod table;
mod tcp;
mod wire;

pub use application::ApplicationPorts;

pub use csv::CsvWriter;
pub use field::{FlowField, IntField, MetricField, ObjectField, PlainInt, TextField};
pub use layers::{
    Dhcpv4Layer, DnsLayer, DnsMx, DnsOpt, DnsQuestion, DnsRecord, DnsSoa, DnsSrv, DnsTimestamp,
    Vrrpv2Layer,
};
pub use metric::{FlowMetric, IpMetric};
pub use options::{FlowTableOptions, LayerKeyMode};
pub use query::{FlowQuery, FlowQueryError, FlowSink, FlowSource};
pub use record::{
    FinishType, Flow, FlowLayer, FlowProtocol, IcmpLayer, IcmpType, RawPacket, TransportLayer,
};
pub use set::{FlowSet, MergeOptions, SortOrder};
pub use stats::{FlowMessage, FlowStats, FlowTableStats, StopCounts};
pub use table::{FlowTable, PacketFilter};
pub use tcp::{TcpMetric, TcpMetricKey};
