//! Columns of a CSV file: groups of field names, and which of them an option selects.

use crate::decode::Layer;
use crate::flow::extra_layers::ExtraLayers;
use crate::flow::field::{FlowField, IntField, MetricField};
use crate::flow::record::Flow;
use crate::flow::setters::setters;
use crate::value::Value;

/// Columns of a CSV file. The default is the record without messages that options add.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CsvColumns {
    /// Whether to add `Wire`, `Initiator`, `ARP`, `About`, `ICMPErrors`, and `Offload`. Default true.
    pub details: bool,
    /// Whether to add the times of SYN, FIN and RST and the TTL of SYN.
    pub tcp_metric: bool,
    /// Whether to add the counters of TCP streams.
    pub tcp_streams: bool,
    /// Whether to add the counters of IP fragments.
    pub ip_metric: bool,
    /// Whether to add the statistics of round-trip times.
    pub rtt_metric: bool,
    /// Application layers whose messages are added.
    pub extra_layers: ExtraLayers,
}

impl Default for CsvColumns {
    fn default() -> Self {
        Self {
            details: true,
            tcp_metric: false,
            tcp_streams: false,
            ip_metric: false,
            rtt_metric: false,
            extra_layers: ExtraLayers::NONE,
        }
    }
}

setters! {
    CsvColumns {
        with_details details bool;
        with_tcp_metric tcp_metric bool;
        with_tcp_streams tcp_streams bool;
        with_ip_metric ip_metric bool;
        with_rtt_metric rtt_metric bool;
        with_extra_layers extra_layers ExtraLayers;
    }
}

impl CsvColumns {
    /// Returns the selected columns, in their order.
    pub(super) fn columns(self) -> Vec<Column> {
        let has = |layer| self.extra_layers.contains(layer);
        let groups: [(bool, &[&'static str]); 9] = [
            (true, &RECORD),
            (self.details, &DETAILS),
            (self.tcp_metric, &TCP_TIMES),
            (self.tcp_streams, &TCP_STREAMS),
            (
                self.ip_metric,
                &["IPMetric.Fragments", "IPMetric.FragmentErrors"],
            ),
            (self.rtt_metric, &RTT),
            (has(Layer::DNS), &DNS),
            (has(Layer::DHCPV4), &DHCP),
            (has(Layer::VRRP), &VRRP),
        ];
        let selected = groups.into_iter().filter(|(is_selected, _)| *is_selected);
        selected
            .flat_map(|(_, names)| names.iter().copied())
            .map(Column::new)
            .collect()
    }
}

/// Column of a CSV file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    read: Read,
}

/// Where the value of a column is.
#[derive(Clone, Copy, Debug)]
enum Read {
    /// Field of a record.
    Field(FlowField),
    /// Field of the first element of a list.
    First(fn(&Flow) -> Option<&str>),
}

impl Column {
    fn new(name: &'static str) -> Self {
        let first = FIRST.iter().find(|(column, _)| *column == name);
        let read = match (first, FlowField::parse(name)) {
            (None, Some(field)) => Read::Field(field),
            (Some((_, read)), _) => Read::First(*read),
            (None, None) => Read::First(|_| None),
        };
        Self { name, read }
    }

    /// Returns the value of a flow; `None` if it was not measured or is not known.
    pub(super) fn value(&self, flow: &Flow) -> Option<Value> {
        match self.read {
            Read::First(read) => read(flow).filter(|text| !text.is_empty()).map(Value::from),
            Read::Field(field) => match flow.value(&field)? {
                Value::Int(0) if is_unknown_if_zero(field) => None,
                Value::Null => None,
                value => Some(value),
            },
        }
    }
}

/// Returns whether 0 means that nothing was measured: round-trip times, and times and TTLs of TCP.
fn is_unknown_if_zero(field: FlowField) -> bool {
    match field {
        FlowField::Int(IntField::Metric(field)) => field == MetricField::Rtt,
        FlowField::Int(IntField::TcpMetric(field)) => {
            field.name().ends_with("Start") && !field.name().ends_with("SawStart")
                || field.name().ends_with("TTL")
        }
        FlowField::Detail(field) => {
            let mut names = ["RTTMetric.ABRTT", "RTTMetric.BARTT"].iter();
            names.any(|name| *name == field.name())
        }
        _ => false,
    }
}

/// Columns of every file: names for [`FlowField::parse`].
const RECORD: [&str; 30] = [
    "UUID",
    "ParentUUID",
    "LayersPath",
    "Application",
    "Link.A",
    "Link.B",
    "Link.ID",
    "Network.Protocol",
    "Network.A",
    "Network.B",
    "Network.ID",
    "Transport.Protocol",
    "Transport.A",
    "Transport.B",
    "ICMP.Type",
    "ICMP.Code",
    "ICMP.ID",
    "Start",
    "Last",
    "Metric.ABPackets",
    "Metric.ABBytes",
    "Metric.BAPackets",
    "Metric.BABytes",
    "Metric.RTT",
    "FinishType",
    "RawPacketsCaptured",
    "TrackingID",
    "L3TrackingID",
    "NodeTID",
    "CaptureID",
];

/// Columns of [`CsvColumns::details`].
const DETAILS: [&str; 43] = [
    "Initiator.Side",
    "Initiator.By",
    "Wire.Interface",
    "Wire.IfIndex",
    "Wire.VLAN",
    "Wire.MPLS",
    "Wire.BAMPLS",
    "Wire.PPPoE",
    "Wire.EtherType",
    "Wire.IPProtocol",
    "Wire.SPI",
    "Wire.TEID",
    "Wire.BATEID",
    "Wire.GREKey",
    "Wire.Session",
    "Wire.BASession",
    "Wire.ServicePath",
    "Wire.ServiceInstance",
    "Wire.BAParentUUID",
    "ARP.Operation",
    "ARP.SenderMAC",
    "ARP.SenderIP",
    "ARP.TargetMAC",
    "ARP.TargetIP",
    "About.UUID",
    "About.TrackingID",
    "About.Network.A",
    "About.Network.B",
    "About.Transport.Protocol",
    "About.Transport.A",
    "About.Transport.B",
    "About.IPProtocol",
    "ICMPErrors.Count",
    "ICMPErrors.LastType",
    "ICMPErrors.LastCode",
    "ICMPErrors.Last",
    "ICMPErrors.MTU",
    "Offload.ABSegments",
    "Offload.BASegments",
    "Offload.ABWireBytes",
    "Offload.BAWireBytes",
    "Offload.SegmentSize",
    "Offload.Exact",
];

/// Columns of [`CsvColumns::tcp_metric`].
const TCP_TIMES: [&str; 8] = [
    "TCPMetric.ABSynStart",
    "TCPMetric.BASynStart",
    "TCPMetric.ABSynTTL",
    "TCPMetric.BASynTTL",
    "TCPMetric.ABFinStart",
    "TCPMetric.BAFinStart",
    "TCPMetric.ABRstStart",
    "TCPMetric.BARstStart",
];

/// Columns of [`CsvColumns::tcp_streams`].
const TCP_STREAMS: [&str; 18] = [
    "TCPMetric.ABPackets",
    "TCPMetric.ABBytes",
    "TCPMetric.ABSawStart",
    "TCPMetric.ABSawEnd",
    "TCPMetric.ABSegmentOutOfOrder",
    "TCPMetric.ABSegmentSkipped",
    "TCPMetric.ABSegmentSkippedBytes",
    "TCPMetric.ABRetransmittedSegments",
    "TCPMetric.ABRetransmittedBytes",
    "TCPMetric.BAPackets",
    "TCPMetric.BABytes",
    "TCPMetric.BASawStart",
    "TCPMetric.BASawEnd",
    "TCPMetric.BASegmentOutOfOrder",
    "TCPMetric.BASegmentSkipped",
    "TCPMetric.BASegmentSkippedBytes",
    "TCPMetric.BARetransmittedSegments",
    "TCPMetric.BARetransmittedBytes",
];

/// Columns of [`CsvColumns::rtt_metric`].
const RTT: [&str; 10] = [
    "RTTMetric.Samples",
    "RTTMetric.Min",
    "RTTMetric.Max",
    "RTTMetric.Last",
    "RTTMetric.Sum",
    "RTTMetric.Jitter",
    "RTTMetric.Requests",
    "RTTMetric.Unanswered",
    "RTTMetric.ABRTT",
    "RTTMetric.BARTT",
];

/// Columns of DNS: the latest message, its first question and answer, and the counters of all.
const DNS: [&str; 19] = [
    "DNS.ID",
    "DNS.OpCode",
    "DNS.ResponseCode",
    "DNS.QDCount",
    "DNS.ANCount",
    "DNS.NSCount",
    "DNS.ARCount",
    "DNS.Questions.Name",
    "DNS.Questions.Type",
    "DNS.Answers.Type",
    "DNS.Answers.IP",
    "DNSMetric.Queries",
    "DNSMetric.Responses",
    "DNSMetric.Failures",
    "DNSMetric.Unanswered",
    "DNSMetric.LastFailure.ID",
    "DNSMetric.LastFailure.Name",
    "DNSMetric.LastFailure.Type",
    "DNSMetric.LastFailure.ResponseCode",
];

/// Columns of DHCPv4.
const DHCP: [&str; 11] = [
    "DHCPv4.MessageType",
    "DHCPv4.Xid",
    "DHCPv4.ClientMAC",
    "DHCPv4.ClientIP",
    "DHCPv4.YourIP",
    "DHCPv4.ServerIP",
    "DHCPv4.RelayIP",
    "DHCPv4.RequestedIP",
    "DHCPv4.ServerID",
    "DHCPv4.HostName",
    "DHCPv4.LeaseTime",
];

/// Columns of VRRP.
const VRRP: [&str; 4] = [
    "VRRPv2.Version",
    "VRRPv2.VirtualRtrID",
    "VRRPv2.Priority",
    "VRRPv2.AdverInt",
];

/// Columns that show the first element of a list.
const FIRST: [(&str, fn(&Flow) -> Option<&str>); 4] = [
    ("DNS.Questions.Name", |flow| {
        Some(&flow.dns.as_ref()?.questions.first()?.name)
    }),
    ("DNS.Questions.Type", |flow| {
        Some(&flow.dns.as_ref()?.questions.first()?.kind)
    }),
    ("DNS.Answers.Type", |flow| {
        Some(&flow.dns.as_ref()?.answers.first()?.kind)
    }),
    ("DNS.Answers.IP", |flow| {
        Some(&flow.dns.as_ref()?.answers.first()?.ip)
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_a_field() {
        let all = CsvColumns {
            details: true,
            tcp_metric: true,
            tcp_streams: true,
            ip_metric: true,
            rtt_metric: true,
            extra_layers: ExtraLayers::ALL,
        };
        let columns = all.columns();
        for column in &columns {
            let is_first = FIRST.iter().any(|(name, _)| *name == column.name);
            assert!(
                is_first || matches!(column.read, Read::Field(_)),
                "{}",
                column.name
            );
        }
        let mut names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), columns.len());
    }

    #[test]
    fn options_select_columns() {
        let names = |columns: CsvColumns| -> Vec<&str> {
            columns.columns().iter().map(|column| column.name).collect()
        };
        let plain = names(CsvColumns::default().with_details(false));
        assert_eq!(plain, RECORD);
        let streams = names(CsvColumns::default().with_tcp_streams(true));
        assert!(streams.contains(&"TCPMetric.ABSegmentSkipped"));
        assert!(!streams.contains(&"TCPMetric.ABSynStart"));
        let dns = names(CsvColumns::default().with_extra_layers(ExtraLayers::DNS));
        assert!(dns.contains(&"DNSMetric.Failures") && !dns.contains(&"DHCPv4.Xid"));
    }
}
