//! Flows: who talks to whom, how much, since when.
//!
//! A [`Flow`] is the record clients see; a [`FlowSet`] answers a [`FlowQuery`].

mod field;
mod layers;
mod metric;
mod query;
mod record;
mod set;
mod tcp;
mod wire;

pub use field::{FlowField, IntField, MetricField, ObjectField, PlainInt, TextField};
pub use layers::{
    Dhcpv4Layer, DnsLayer, DnsMx, DnsOpt, DnsQuestion, DnsRecord, DnsSoa, DnsSrv, DnsTimestamp,
    Vrrpv2Layer,
};
pub use metric::{FlowMetric, IpMetric};
pub use query::{FlowQuery, FlowQueryError, FlowSink, FlowSource};
pub use record::{
    FinishType, Flow, FlowLayer, FlowProtocol, IcmpLayer, IcmpType, RawPacket, TransportLayer,
};
pub use set::{FlowSet, MergeOptions, SortOrder};
pub use tcp::{TcpMetric, TcpMetricKey};
