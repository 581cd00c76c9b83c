//! `CsvWriter`: flows as comma-separated values (RFC 4180), for spreadsheets and databases.

use std::io::{self, Write};

use super::field::{FlowField, IntField, MetricField};
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
    /// Field of each column.
    fields: Vec<Option<FlowField>>,
}

/// Columns of a CSV file. The default is the record without the TCP metric.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CsvColumns {
    /// Whether to add the times of SYN, FIN and RST and the TTL of SYN.
    pub tcp_metric: bool,
    /// Whether to add the statistics of round-trip times.
    pub rtt_metric: bool,
}

setters! {
    CsvColumns {
        with_tcp_metric tcp_metric bool;
        with_rtt_metric rtt_metric bool;
    }
}

impl<W: Write> CsvWriter<W> {
    /// Writes the header line and returns the writer.
    ///
    /// # Errors
    /// Any error of `out`.
    pub fn new(mut out: W, columns: CsvColumns) -> io::Result<Self> {
        let tcp: &[&str] = if columns.tcp_metric {
            &TCP_COLUMNS
        } else {
            &[]
        };
        let rtt: &[&str] = if columns.rtt_metric {
            &RTT_COLUMNS
        } else {
            &[]
        };
        let names = [&COLUMNS, tcp, rtt].concat();
        writeln!(out, "{}", names.join(","))?;
        let fields = names.iter().map(|name| FlowField::parse(name)).collect();
        Ok(Self { out, fields })
    }

    /// Writes a line; fields that the flow does not have are empty.
    ///
    /// # Errors
    /// Any error of the output.
    pub fn write(&mut self, flow: &Flow) -> io::Result<()> {
        for (column, field) in self.fields.iter().enumerate() {
            if column > 0 {
                self.out.write_all(b",")?;
            }
            match field.as_ref().and_then(|field| flow.value(field)) {
                // 0 means that no round-trip time was measured.
                Some(Value::Int(0)) if *field == Some(RTT) => {}
                Some(Value::Int(number)) => write!(self.out, "{number}")?,
                Some(Value::Text(text)) => write_text(&mut self.out, &text)?,
                _ => {}
            }
        }
        self.out.write_all(b"\n")
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// Any error of the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Returns the output.
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// Writes a text, quoted if it contains a separator or a quote.
fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    if text.contains([',', '"', '\n', '\r']) {
        write!(out, "\"{}\"", text.replace('"', "\"\""))
    } else {
        out.write_all(text.as_bytes())
    }
}

/// Columns of every file: names for [`FlowField::parse`].
const COLUMNS: [&str; 30] = [
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

/// Additional columns of [`CsvColumns::tcp_metric`].
const TCP_COLUMNS: [&str; 8] = [
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
const RTT_COLUMNS: [&str; 10] = [
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

/// Field that is empty if it is 0.
const RTT: FlowField = FlowField::Int(IntField::Metric(MetricField::Rtt));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{FlowLayer, FlowMetric, TcpMetric};

    fn lines(tcp_metric: bool, flow: &Flow) -> Vec<Vec<String>> {
        let mut csv = CsvWriter::new(
            Vec::new(),
            CsvColumns::default().with_tcp_metric(tcp_metric),
        )
        .expect("in memory");
        csv.write(flow).expect("in memory");
        let text = String::from_utf8(csv.into_inner()).expect("text");
        text.lines()
            .map(|line| line.split(',').map(str::to_owned).collect())
            .collect()
    }

    #[test]
    fn every_column_is_a_field() {
        for name in COLUMNS.iter().chain(&TCP_COLUMNS).chain(&RTT_COLUMNS) {
            assert!(FlowField::parse(name).is_some(), "{name}");
        }
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
                ..TcpMetric::default()
            }),
            start: 1000,
            ..Flow::default()
        };
        let lines = lines(true, &flow);
        let value = |name: &str| {
            let column = lines[0]
                .iter()
                .position(|column| column == name)
                .expect("a column");
            lines[1][column].as_str()
        };
        assert_eq!(lines[0].len(), lines[1].len());
        assert_eq!(value("Link.A"), "02:00:00:00:00:01");
        assert_eq!(value("Link.ID"), "5");
        assert_eq!(value("Metric.ABPackets"), "7");
        assert_eq!(value("TCPMetric.ABSynTTL"), "64");
        assert_eq!(value("Start"), "1000");
        assert_eq!((value("Network.A"), value("ICMP.Code")), ("", ""));
        assert_eq!(value("Metric.RTT"), "");
    }

    #[test]
    fn text_with_commas_or_quotes_is_quoted() {
        let mut out = Vec::new();
        write_text(&mut out, r#"a,"b""#).expect("in memory");
        assert_eq!(out, br#""a,""b""""#);
    }
}
