//! Human-readable table of flows: aligned columns, and numbers with units.

use std::fmt::Write as _;
use std::io::{self, Write};

use skylib::flow::{Flow, FlowMeasure};

use crate::printable::printable;

/// Writes flows as a table, one line each.
pub(super) fn write(out: &mut dyn Write, flows: &[Flow], has_streams: bool) -> io::Result<()> {
    let columns: Vec<&Column> = COLUMNS
        .iter()
        .filter(|column| has_streams || !column.needs_streams)
        .collect();
    let header = columns
        .iter()
        .map(|column| column.name.to_owned())
        .collect();
    let line = |flow| columns.iter().map(|column| (column.cell)(flow)).collect();
    let lines: Vec<Vec<String>> = std::iter::once(header)
        .chain(flows.iter().map(line))
        .collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|number| {
            let cells = lines.iter().filter_map(|line| line.get(number));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for line in &lines {
        let mut text = String::new();
        for ((cell, column), width) in line.iter().zip(&columns).zip(&widths) {
            let width = *width;
            // Writing to a string does not fail.
            match column.is_number {
                true => write!(text, "{cell:>width$}  ").ok(),
                false => write!(text, "{cell:<width$}  ").ok(),
            };
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

/// Column of the table.
struct Column {
    name: &'static str,
    /// Whether cells are aligned to the right.
    is_number: bool,
    /// Whether the column is shown only if TCP streams are tracked.
    needs_streams: bool,
    cell: fn(&Flow) -> String,
}

impl Column {
    const fn text(name: &'static str, cell: fn(&Flow) -> String) -> Self {
        Self {
            name,
            is_number: false,
            needs_streams: false,
            cell,
        }
    }

    const fn number(name: &'static str, cell: fn(&Flow) -> String) -> Self {
        Self {
            is_number: true,
            ..Self::text(name, cell)
        }
    }
}

/// All columns, in their order.
const COLUMNS: [Column; 9] = [
    Column::text("A", |flow| end(flow, true)),
    Column::text("B", |flow| end(flow, false)),
    Column::text("APPLICATION", |flow| {
        printable(&flow.application).into_owned()
    }),
    Column::number("PACKETS", |flow| {
        let packets = FlowMeasure::Packets.of(flow);
        packets.unwrap_or(0).to_string()
    }),
    Column::number("A TO B", |flow| {
        bytes(flow.metric.as_ref().map_or(0, |metric| metric.ab_bytes))
    }),
    Column::number("B TO A", |flow| {
        bytes(flow.metric.as_ref().map_or(0, |metric| metric.ba_bytes))
    }),
    Column::number("RTT", |flow| match FlowMeasure::Rtt.of(flow) {
        Some(ns) => duration(ns as f64 / 1e9),
        None => "-".to_owned(),
    }),
    Column {
        needs_streams: true,
        ..Column::number("RETRANSMITTED", |flow| match &flow.tcp_metric {
            Some(_) => FlowMeasure::Retransmissions
                .of(flow)
                .unwrap_or(0)
                .to_string(),
            None => "-".to_owned(),
        })
    },
    Column::number("DURATION", |flow| {
        duration((flow.last - flow.start) as f64 / 1e3)
    }),
];

/// Returns one end of a flow: the innermost address and the port.
fn end(flow: &Flow, is_a: bool) -> String {
    let address = [&flow.network, &flow.link]
        .into_iter()
        .flatten()
        .map(|layer| if is_a { &layer.a } else { &layer.b })
        .next();
    let Some(address) = address else {
        return "-".to_owned();
    };
    let port = flow
        .transport
        .map(|ports| if is_a { ports.a } else { ports.b });
    match port {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address.to_string(),
    }
}

/// Formats a number of bytes in its largest decimal unit.
fn bytes(count: i64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut unit = 0;
    // 999.95 would be shown as 1000.0.
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

/// Formats a duration, given in seconds, in its largest unit.
fn duration(seconds: f64) -> String {
    let units = [
        (86_400.0, "d"),
        (3_600.0, "h"),
        (60.0, "min"),
        (1.0, "s"),
        (1e-3, "ms"),
        (1e-6, "us"),
    ];
    if seconds <= 0.0 {
        return "0 s".to_owned();
    }
    let unit = units.iter().find(|(size, _)| seconds >= *size);
    let (size, name) = unit.unwrap_or(&(1e-9, "ns"));
    format!("{:.1} {name}", seconds / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_largest_unit() {
        let sizes = [0, 999, 1000, 999_949, 999_950, 1_500_000_000, i64::MAX];
        assert_eq!(
            sizes.map(bytes),
            [
                "0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "1.5 GB", "9.2 EB"
            ]
        );
        let times = [0.0, 3e-9, 12.3e-6, 0.01, 59.0, 90.0, 5400.0, 172_800.0];
        assert_eq!(
            times.map(duration),
            [
                "0 s", "3.0 ns", "12.3 us", "10.0 ms", "59.0 s", "1.5 min", "1.5 h", "2.0 d"
            ]
        );
    }

    #[test]
    fn columns_are_aligned_and_control_characters_are_shown() {
        let flow: Flow = serde_json::from_value(serde_json::json!({
            "Application": "a\u{1b}[2J",
            "Network": {"Protocol": "IPV6", "A": "2001:db8::1", "B": "2001:db8::2"},
            "Transport": {"Protocol": "TCP", "A": 40000, "B": 443},
            "Metric": {"ABPackets": 2, "ABBytes": 1200, "BAPackets": 1, "BABytes": 60, "RTT": 1500000},
            "Start": 1000, "Last": 3500,
        }))
        .unwrap();
        let mut out = Vec::new();
        write(&mut out, &[flow, Flow::default()], false).unwrap();
        let text = String::from_utf8(out).unwrap();
        let wanted = "\
A                    B                  APPLICATION  PACKETS  A TO B  B TO A     RTT  DURATION
[2001:db8::1]:40000  [2001:db8::2]:443  a\\u{1b}[2J         3  1.2 kB    60 B  1.5 ms     2.5 s
-                    -                                     0     0 B     0 B       -       0 s
";
        assert_eq!(text, wanted);
    }
}
