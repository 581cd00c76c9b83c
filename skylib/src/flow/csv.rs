//! `CsvWriter`: flows as comma-separated values (RFC 4180), for spreadsheets and databases.
//!
//! A cell is empty if the flow does not have the field, or if nothing was measured.

use std::io::{self, Write};

use super::extra_layers::ExtraLayers;
use super::extra_layers::records::DnsQuestion;
use super::field::FlowField;
use super::record::Flow;
use super::setters::setters;
use crate::value::Value;

/// Writer of flows as CSV lines with a header line.
///
/// ```
/// use skylib::flow::{CsvColumns, CsvWriter, Flow};
/// let mut csv = CsvWriter::new(Vec::new(), CsvColumns::default())?;
/// csv.write(&Flow::default().with_uuid("a1").with_layers_path("Ethernet/ARP"))?;
/// let text = String::from_utf8(csv.into_inner())?;
/// assert!(text.starts_with("UUID,ParentUUID,LayersPath,Application,Link.A,"));
/// assert_eq!(text.lines().nth(1).map(|line| line.starts_with("a1,,Ethernet/ARP,")), Some(true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CsvWriter<W> {
    out: W,
    columns: Vec<Column>,
}

/// Columns of a CSV file: a fixed set, and optional groups for the values that options of the flow
/// table enable.
///
/// ```
/// use skylib::flow::{CsvColumns, CsvWriter, ExtraLayers};
/// let columns = CsvColumns::default().with_stream_metric(true).with_extra_layers(ExtraLayers::DNS);
/// let header = String::from_utf8(CsvWriter::new(Vec::new(), columns)?.into_inner())?;
/// assert!(header.contains(",TCPMetric.ABRetransmittedSegments,"));
/// assert!(header.contains(",DNS.Questions.Name,"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CsvColumns {
    /// Whether to add columns for the times of SYN, FIN, and RST, and the TTL of SYN.
    pub tcp_metric: bool,
    /// Whether to add columns for the counters of TCP streams.
    pub stream_metric: bool,
    /// Whether to add columns for the statistics of round-trip times.
    pub rtt_metric: bool,
    /// Whether to add columns for the counters of fragments.
    pub ip_metric: bool,
    /// Application layers whose fields become columns.
    pub extra_layers: ExtraLayers,
}

setters! {
    CsvColumns {
        with_tcp_metric tcp_metric bool;
        with_stream_metric stream_metric bool;
        with_rtt_metric rtt_metric bool;
        with_ip_metric ip_metric bool;
        with_extra_layers extra_layers ExtraLayers;
    }
}

impl CsvColumns {
    /// Returns the names of the columns, in their order.
    fn names(self) -> impl Iterator<Item = &'static str> {
        let has = |layer| self.extra_layers.with(layer) == self.extra_layers;
        let groups = [
            (true, COLUMNS),
            (self.tcp_metric, TCP_COLUMNS),
            (self.stream_metric, STREAM_COLUMNS),
            (self.rtt_metric, RTT_COLUMNS),
            (self.ip_metric, IP_COLUMNS),
            (has(ExtraLayers::DNS), DNS_COLUMNS),
            (has(ExtraLayers::DHCPV4), DHCPV4_COLUMNS),
            (has(ExtraLayers::VRRP), VRRP_COLUMNS),
        ];
        let selected = groups.into_iter().filter(|(is_selected, _)| *is_selected);
        selected.flat_map(|(_, names)| names.iter().copied())
    }
}

/// Column of a CSV file: the source of its cells.
#[derive(Clone, Copy, Debug)]
enum Column {
    Field {
        field: FlowField,
        /// Whether 0 means that nothing was measured, so that the cell is empty.
        is_empty_at_zero: bool,
    },
    /// String field of the questions of the last DNS message; the strings are separated by spaces.
    Questions(fn(&DnsQuestion) -> &str),
    /// Addresses in the answers of the last DNS message, separated by spaces.
    AnswerAddresses,
}

impl Column {
    /// Returns the column with a name; `None` if there is no such field.
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "DNS.Questions.Name" => Self::Questions(|question| &question.name),
            "DNS.Questions.Type" => Self::Questions(|question| &question.kind),
            "DNS.Answers.IP" => Self::AnswerAddresses,
            _ => Self::Field {
                field: FlowField::parse(name)?,
                is_empty_at_zero: is_empty_at_zero(name),
            },
        })
    }

    /// Writes the cell of a flow.
    fn write(&self, flow: &Flow, out: &mut impl Write) -> io::Result<()> {
        let dns = || flow.dns.iter();
        match self {
            Self::Field {
                field,
                is_empty_at_zero,
            } => match flow.value(field) {
                Some(Value::Int(0)) if *is_empty_at_zero => Ok(()),
                Some(value) => write_value(out, &value),
                None => Ok(()),
            },
            Self::Questions(text) => {
                let questions = dns().flat_map(|dns| &dns.questions);
                write_list(out, questions.map(text))
            }
            Self::AnswerAddresses => {
                let addresses = dns().flat_map(|dns| &dns.answers);
                write_list(out, addresses.map(|answer| &*answer.ip))
            }
        }
    }
}

/// Returns whether 0 in a column means that nothing was measured or seen.
fn is_empty_at_zero(name: &str) -> bool {
    let is_time_or_ttl = || TCP_COLUMNS.contains(&name);
    let is_round_trip = || RTT_COLUMNS.contains(&name) && !RTT_COUNTERS.contains(&name);
    name == "Metric.RTT" || is_time_or_ttl() || is_round_trip()
}

impl<W: Write> CsvWriter<W> {
    /// Writes the header line and returns the writer.
    ///
    /// # Errors
    /// Returns any error from writing to `out`.
    pub fn new(mut out: W, columns: CsvColumns) -> io::Result<Self> {
        let names: Vec<&str> = columns.names().collect();
        writeln!(out, "{}", names.join(","))?;
        let columns = names.into_iter().filter_map(Column::parse).collect();
        Ok(Self { out, columns })
    }

    /// Writes the line of a flow; cells of fields that the flow does not have are empty.
    ///
    /// # Errors
    /// Returns any error from writing to the output.
    pub fn write(&mut self, flow: &Flow) -> io::Result<()> {
        for (number, column) in self.columns.iter().enumerate() {
            if number > 0 {
                self.out.write_all(b",")?;
            }
            column.write(flow, &mut self.out)?;
        }
        self.out.write_all(b"\n")
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// Returns any error from flushing the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Returns the output.
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// Writes a number, a string, or the numbers of a list, separated by spaces.
fn write_value(out: &mut impl Write, value: &Value) -> io::Result<()> {
    match value {
        Value::Int(number) => write!(out, "{number}"),
        Value::Text(text) => write_text(out, text),
        Value::List(list) => {
            for (number, element) in list.iter().enumerate() {
                if number > 0 {
                    out.write_all(b" ")?;
                }
                write_value(out, element)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Writes the non-empty strings, separated by spaces.
fn write_list<'a>(out: &mut impl Write, texts: impl Iterator<Item = &'a str>) -> io::Result<()> {
    let texts: Vec<&str> = texts.filter(|text| !text.is_empty()).collect();
    write_text(out, &texts.join(" "))
}

/// Writes a string, quoted if it contains a separator, a quote, or a line break.
fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    if text.contains([',', '"', '\n', '\r']) {
        write!(out, "\"{}\"", text.replace('"', "\"\""))
    } else {
        out.write_all(text.as_bytes())
    }
}

/// Columns of every file, as names for [`FlowField::parse`].
const COLUMNS: &[&str] = &[
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

/// Additional columns of [`CsvColumns::tcp_metric`].
const TCP_COLUMNS: &[&str] = &[
    "TCPMetric.ABSynStart",
    "TCPMetric.BASynStart",
    "TCPMetric.ABSynTTL",
    "TCPMetric.BASynTTL",
    "TCPMetric.ABFinStart",
    "TCPMetric.BAFinStart",
    "TCPMetric.ABRstStart",
    "TCPMetric.BARstStart",
];

/// Additional columns of [`CsvColumns::rtt_metric`].
const RTT_COLUMNS: &[&str] = &[
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

/// Columns of [`RTT_COLUMNS`] that are counters: 0 is a value, not a missing measurement.
const RTT_COUNTERS: &[&str] = &[
    "RTTMetric.Samples",
    "RTTMetric.Requests",
    "RTTMetric.Unanswered",
];

/// Additional columns of [`CsvColumns::stream_metric`].
const STREAM_COLUMNS: &[&str] = &[
    "TCPMetric.ABPackets",
    "TCPMetric.ABBytes",
    "TCPMetric.ABSegmentOutOfOrder",
    "TCPMetric.ABSegmentSkipped",
    "TCPMetric.ABSegmentSkippedBytes",
    "TCPMetric.ABRetransmittedSegments",
    "TCPMetric.ABRetransmittedBytes",
    "TCPMetric.ABSawStart",
    "TCPMetric.ABSawEnd",
    "TCPMetric.BAPackets",
    "TCPMetric.BABytes",
    "TCPMetric.BASegmentOutOfOrder",
    "TCPMetric.BASegmentSkipped",
    "TCPMetric.BASegmentSkippedBytes",
    "TCPMetric.BARetransmittedSegments",
    "TCPMetric.BARetransmittedBytes",
    "TCPMetric.BASawStart",
    "TCPMetric.BASawEnd",
];

/// Additional columns of [`CsvColumns::ip_metric`].
const IP_COLUMNS: &[&str] = &["IPMetric.Fragments", "IPMetric.FragmentErrors"];

/// Additional columns of [`ExtraLayers::DNS`].
const DNS_COLUMNS: &[&str] = &[
    "DNS.ID",
    "DNS.OpCode",
    "DNS.ResponseCode",
    "DNS.Questions.Name",
    "DNS.Questions.Type",
    "DNS.Answers.IP",
    "DNS.QDCount",
    "DNS.ANCount",
    "DNS.NSCount",
    "DNS.ARCount",
    "DNSMetric.Queries",
    "DNSMetric.Responses",
    "DNSMetric.Failures",
    "DNSMetric.Unanswered",
    "DNSMetric.LastFailure.ID",
    "DNSMetric.LastFailure.Name",
    "DNSMetric.LastFailure.Type",
    "DNSMetric.LastFailure.ResponseCode",
];

/// Additional columns of [`ExtraLayers::DHCPV4`].
const DHCPV4_COLUMNS: &[&str] = &[
    "DHCPv4.Xid",
    "DHCPv4.MessageType",
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

/// Additional columns of [`ExtraLayers::VRRP`].
const VRRP_COLUMNS: &[&str] = &[
    "VRRPv2.Version",
    "VRRPv2.VirtualRtrID",
    "VRRPv2.Priority",
    "VRRPv2.CountIPAddr",
    "VRRPv2.AdverInt",
    "VRRPv2.Checksum",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::extra_layers::records::DnsLayer;
    use crate::flow::{FlowLayer, FlowMetric, TcpMetric, Wire};

    fn everything() -> CsvColumns {
        CsvColumns::default()
            .with_tcp_metric(true)
            .with_stream_metric(true)
            .with_rtt_metric(true)
            .with_ip_metric(true)
            .with_extra_layers(ExtraLayers::parse("all").expect("a name"))
    }

    /// Returns the cells of a flow by column.
    fn cells(columns: CsvColumns, flow: &Flow) -> Vec<(String, String)> {
        let mut csv = CsvWriter::new(Vec::new(), columns).expect("in memory");
        csv.write(flow).expect("in memory");
        let text = String::from_utf8(csv.into_inner()).expect("text");
        let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned));
        let (names, values) = (
            lines.next().expect("a header"),
            lines.next().expect("a line"),
        );
        let (names, values): (Vec<_>, Vec<_>) = (names.collect(), values.collect());
        assert_eq!(names.len(), values.len());
        names.into_iter().zip(values).collect()
    }

    fn cell<'a>(cells: &'a [(String, String)], name: &str) -> &'a str {
        let cell = cells.iter().find(|(column, _)| column == name);
        &cell.unwrap_or_else(|| panic!("no column {name}")).1
    }

    #[test]
    fn every_column_is_a_field_and_occurs_once() {
        let mut names: Vec<_> = everything().names().collect();
        for name in &names {
            assert!(Column::parse(name).is_some(), "{name}");
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_flow_without_measurements_has_no_numbers_in_the_columns_of_metrics() {
        let base = CsvColumns::default().names().count();
        let cells = cells(everything(), &Flow::default());
        assert!(cells[base..].iter().all(|(_, value)| value.is_empty()));
    }

    #[test]
    fn values_are_in_their_columns_and_missing_ones_are_empty() {
        let flow = Flow {
            link: Some(FlowLayer {
                a: "02:00:00:00:00:01".into(),
                id: 5,
                ..FlowLayer::default()
            }),
            metric: Some(FlowMetric {
                ab_packets: 7,
                ..FlowMetric::default()
            }),
            tcp_metric: Some(TcpMetric {
                ab_syn_ttl: 64,
                ab_segment_skipped_bytes: 1000,
                ..TcpMetric::default()
            }),
            wire: Some(Box::new(Wire {
                vlan: vec![10, 20],
                ..Wire::default()
            })),
            start: 1000,
            ..Flow::default()
        };
        let cells = cells(everything(), &flow);
        let value = |name| cell(&cells, name);
        assert_eq!(value("Link.A"), "02:00:00:00:00:01");
        assert_eq!(value("Link.ID"), "5");
        assert_eq!(value("Metric.ABPackets"), "7");
        assert_eq!(value("TCPMetric.ABSynTTL"), "64");
        assert_eq!(value("TCPMetric.ABSegmentSkippedBytes"), "1000");
        assert_eq!(value("TCPMetric.ABRetransmittedSegments"), "0");
        assert_eq!(value("TCPMetric.BAFinStart"), "");
        assert_eq!(value("Wire.VLAN"), "10 20");
        assert_eq!(value("Start"), "1000");
        assert_eq!((value("Network.A"), value("ICMP.Code")), ("", ""));
        assert_eq!(value("Metric.RTT"), "");
    }

    #[test]
    fn contents_of_dns_are_texts() {
        let mut dns = DnsLayer::default();
        for (name, kind) in [("a.io", "A"), ("b.io", "AAAA")] {
            dns.questions.push(DnsQuestion {
                name: name.into(),
                kind: kind.into(),
                ..DnsQuestion::default()
            });
        }
        let flow = Flow {
            dns: Some(Box::new(dns)),
            ..Flow::default()
        };
        let columns = CsvColumns::default().with_extra_layers(ExtraLayers::DNS);
        let cells = cells(columns, &flow);
        assert_eq!(cell(&cells, "DNS.Questions.Name"), "a.io b.io");
        assert_eq!(cell(&cells, "DNS.Questions.Type"), "A AAAA");
        assert_eq!(cell(&cells, "DNS.Answers.IP"), "");
    }

    #[test]
    fn text_with_commas_or_quotes_is_quoted() {
        let mut out = Vec::new();
        write_text(&mut out, r#"a,"b""#).expect("in memory");
        assert_eq!(out, br#""a,""b""""#);
    }
}
