//! `CsvWriter`: flows as comma-separated values (RFC 4180), for spreadsheets and databases.

mod columns;

use std::io::{self, Write};

pub use self::columns::CsvColumns;
use self::columns::Column;
use super::record::Flow;
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

impl<W: Write> CsvWriter<W> {
    /// Writes the header line and returns the writer.
    ///
    /// # Errors
    /// Any error of `out`.
    pub fn new(mut out: W, columns: CsvColumns) -> io::Result<Self> {
        let columns = columns.columns();
        let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        writeln!(out, "{}", names.join(","))?;
        Ok(Self { out, columns })
    }

    /// Writes a line; what the flow does not have, and what was not measured, is an empty cell. The
    /// elements of a list are separated by blanks.
    ///
    /// # Errors
    /// Any error of the output.
    pub fn write(&mut self, flow: &Flow) -> io::Result<()> {
        for (number, column) in self.columns.iter().enumerate() {
            if number > 0 {
                self.out.write_all(b",")?;
            }
            if let Some(value) = column.value(flow) {
                write_value(&mut self.out, &value)?;
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

/// Writes a value; nothing if it is no number, text, or list of them.
fn write_value(out: &mut impl Write, value: &Value) -> io::Result<()> {
    match value {
        Value::Int(number) => write!(out, "{number}"),
        Value::Text(text) => write_text(out, text),
        Value::List(elements) => {
            for (number, element) in elements.iter().enumerate() {
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

/// Writes a text, quoted if it contains a separator or a quote.
fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    if text.contains([',', '"', '\n', '\r']) {
        write!(out, "\"{}\"", text.replace('"', "\"\""))
    } else {
        out.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{FlowLayer, FlowMetric, TcpMetric, Wire};

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
            wire: Some(Box::new(Wire {
                mpls: vec![100, 7],
                ..Wire::default()
            })),
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
        assert_eq!(value("TCPMetric.ABSynStart"), "");
        assert_eq!(value("Wire.MPLS"), "100 7");
        assert_eq!(value("ICMPErrors.Count"), "");
    }

    #[test]
    fn text_with_commas_or_quotes_is_quoted() {
        let mut out = Vec::new();
        write_text(&mut out, r#"a,"b""#).expect("in memory");
        assert_eq!(out, br#""a,""b""""#);
    }
}
