//! Columns of flows: how a record becomes a row of `flow.parquet`, and a row a record again.
//!
//! A column is null if the record does not have the field. Sub-messages that few records have are
//! stored as their JSON.

use std::sync::Arc;

use arrow_array::builder::{Int32Builder, Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::parquet_file::{Column, ColumnIndex, ColumnKind, schema};
use crate::decode::IcmpType;
use crate::flow::{FinishType, Flow, FlowMetric, FlowProtocol};
use crate::value::Text;

/// A row of `flow.parquet`: the newest record of a flow in a segment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FlowRow {
    /// The record, without raw packets.
    pub(super) flow: Flow,
    /// Arrival of the record, in Unix milliseconds of the recorder's clock.
    pub(super) updated: i64,
    /// Number of the record in the store; increases with each record.
    pub(super) number: i64,
    /// Number of records of the flow in the segment.
    pub(super) updates: i32,
    /// Packets and bytes that these records counted.
    pub(super) sum: FlowMetric,
}

/// Getter and setter of a column of a row, by the type of the column.
#[derive(Clone, Copy)]
enum Access {
    Text(fn(&FlowRow) -> Option<&str>, fn(&mut FlowRow, &str)),
    Int(fn(&FlowRow) -> Option<i64>, fn(&mut FlowRow, i64)),
    Json(fn(&FlowRow) -> Option<String>, fn(&mut FlowRow, &str)),
}

/// Returns a string; `None` if it is empty.
fn some(text: &Text) -> Option<&str> {
    (!text.is_empty()).then_some(text.as_str())
}

fn to_json<T: Serialize>(value: Option<&T>) -> Option<String> {
    serde_json::to_string(value?).ok()
}

/// Parses a column of JSON; invalid JSON counts as an absent field.
fn from_json<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

fn small<T: TryFrom<i64> + Default>(number: i64) -> T {
    T::try_from(number).unwrap_or_default()
}

/// Text field of the record itself.
macro_rules! text {
    ($name:literal, $kind:ident, $index:ident, $field:ident) => {
        (
            Column::new($name, ColumnKind::$kind).indexed(ColumnIndex::$index),
            Access::Text(
                |row| some(&row.flow.$field),
                |row, text| row.flow.$field = text.into(),
            ),
        )
    };
}

/// Integer field of the row or of the record.
macro_rules! int {
    ($name:literal, $kind:ident, $index:ident, $($field:ident).+) => {
        (
            Column::new($name, ColumnKind::$kind).indexed(ColumnIndex::$index),
            Access::Int(
                |row| Some(i64::from(row.$($field).+)),
                |row, number| row.$($field).+ = small(number),
            ),
        )
    };
}

/// Protocol of a layer; the column is null if the flow does not have the layer.
macro_rules! protocol {
    ($name:literal, $layer:ident) => {
        (
            Column::new($name, ColumnKind::Text),
            Access::Text(
                |row| Some(row.flow.$layer.as_ref()?.protocol.name()),
                |row, text| {
                    let layer = row.flow.$layer.get_or_insert_default();
                    layer.protocol = FlowProtocol::from_name(text).unwrap_or_default();
                },
            ),
        )
    };
}

/// Address of a layer.
macro_rules! address {
    ($name:literal, $index:ident, $layer:ident, $end:ident) => {
        (
            Column::new($name, ColumnKind::Text).indexed(ColumnIndex::$index),
            Access::Text(
                |row| some(&row.flow.$layer.as_ref()?.$end),
                |row, text| row.flow.$layer.get_or_insert_default().$end = text.into(),
            ),
        )
    };
}

/// Integer field of an optional part of the record.
macro_rules! part {
    ($name:literal, $kind:ident, $part:ident, $field:ident) => {
        (
            Column::new($name, ColumnKind::$kind),
            Access::Int(
                |row| Some(i64::from(row.flow.$part.as_ref()?.$field)),
                |row, number| row.flow.$part.get_or_insert_default().$field = small(number),
            ),
        )
    };
}

/// Optional part of the record as JSON.
macro_rules! json {
    ($name:literal, $part:ident) => {
        (
            Column::new($name, ColumnKind::Text),
            Access::Json(
                |row| to_json(row.flow.$part.as_ref()),
                |row, text| row.flow.$part = from_json(text),
            ),
        )
    };
}

/// Columns of `flow.parquet` with their access.
const COLUMNS: &[(Column, Access)] = &[
    text!("UUID", Unique, Bloom, uuid),
    int!("Updated", Number, Chunk, updated),
    int!("Updates", Small, Chunk, updates),
    int!("Number", Number, Chunk, number),
    text!("LayersPath", Text, Chunk, layers_path),
    text!("Application", Text, Chunk, application),
    text!("NodeTID", Text, Chunk, node_tid),
    text!("CaptureID", Text, Chunk, capture_id),
    text!("ParentUUID", Text, Chunk, parent_uuid),
    protocol!("Link.Protocol", link),
    address!("Link.A", Chunk, link, a),
    address!("Link.B", Chunk, link, b),
    part!("Link.ID", Number, link, id),
    protocol!("Network.Protocol", network),
    address!("Network.A", Bloom, network, a),
    address!("Network.B", Bloom, network, b),
    part!("Network.ID", Number, network, id),
    protocol!("Transport.Protocol", transport),
    part!("Transport.A", Number, transport, a),
    part!("Transport.B", Number, transport, b),
    part!("Transport.ID", Number, transport, id),
    (
        Column::new("ICMP.Type", ColumnKind::Text),
        Access::Text(
            |row| Some(row.flow.icmp?.kind.name()),
            |row, text| {
                let kind = IcmpType::from_name(text).unwrap_or_default();
                row.flow.icmp.get_or_insert_default().kind = kind;
            },
        ),
    ),
    part!("ICMP.Code", Number, icmp, code),
    part!("ICMP.ID", Number, icmp, id),
    text!("TrackingID", Unique, Bloom, tracking_id),
    text!("L3TrackingID", Unique, Bloom, l3_tracking_id),
    int!("Start", Number, Page, flow.start),
    int!("Last", Number, Page, flow.last),
    part!("Metric.ABPackets", Counter, metric, ab_packets),
    part!("Metric.ABBytes", Counter, metric, ab_bytes),
    part!("Metric.BAPackets", Counter, metric, ba_packets),
    part!("Metric.BABytes", Counter, metric, ba_bytes),
    part!("Metric.Start", Number, metric, start),
    part!("Metric.Last", Number, metric, last),
    part!("Metric.RTT", Counter, metric, rtt),
    part!(
        "LastUpdateMetric.ABPackets",
        Counter,
        last_update_metric,
        ab_packets
    ),
    part!(
        "LastUpdateMetric.ABBytes",
        Counter,
        last_update_metric,
        ab_bytes
    ),
    part!(
        "LastUpdateMetric.BAPackets",
        Counter,
        last_update_metric,
        ba_packets
    ),
    part!(
        "LastUpdateMetric.BABytes",
        Counter,
        last_update_metric,
        ba_bytes
    ),
    part!("LastUpdateMetric.Start", Number, last_update_metric, start),
    part!("LastUpdateMetric.Last", Number, last_update_metric, last),
    part!("LastUpdateMetric.RTT", Counter, last_update_metric, rtt),
    part!("TCPMetric.ABSynStart", Number, tcp_metric, ab_syn_start),
    part!("TCPMetric.BASynStart", Number, tcp_metric, ba_syn_start),
    part!("TCPMetric.ABSynTTL", Number, tcp_metric, ab_syn_ttl),
    part!("TCPMetric.BASynTTL", Number, tcp_metric, ba_syn_ttl),
    part!("TCPMetric.ABFinStart", Number, tcp_metric, ab_fin_start),
    part!("TCPMetric.BAFinStart", Number, tcp_metric, ba_fin_start),
    part!("TCPMetric.ABRstStart", Number, tcp_metric, ab_rst_start),
    part!("TCPMetric.BARstStart", Number, tcp_metric, ba_rst_start),
    part!(
        "TCPMetric.ABSegmentOutOfOrder",
        Counter,
        tcp_metric,
        ab_segment_out_of_order
    ),
    part!(
        "TCPMetric.ABSegmentSkipped",
        Counter,
        tcp_metric,
        ab_segment_skipped
    ),
    part!(
        "TCPMetric.ABSegmentSkippedBytes",
        Counter,
        tcp_metric,
        ab_segment_skipped_bytes
    ),
    part!("TCPMetric.ABPackets", Counter, tcp_metric, ab_packets),
    part!("TCPMetric.ABBytes", Counter, tcp_metric, ab_bytes),
    part!("TCPMetric.ABSawStart", Counter, tcp_metric, ab_saw_start),
    part!("TCPMetric.ABSawEnd", Counter, tcp_metric, ab_saw_end),
    part!(
        "TCPMetric.BASegmentOutOfOrder",
        Counter,
        tcp_metric,
        ba_segment_out_of_order
    ),
    part!(
        "TCPMetric.BASegmentSkipped",
        Counter,
        tcp_metric,
        ba_segment_skipped
    ),
    part!(
        "TCPMetric.BASegmentSkippedBytes",
        Counter,
        tcp_metric,
        ba_segment_skipped_bytes
    ),
    part!("TCPMetric.BAPackets", Counter, tcp_metric, ba_packets),
    part!("TCPMetric.BABytes", Counter, tcp_metric, ba_bytes),
    part!("TCPMetric.BASawStart", Counter, tcp_metric, ba_saw_start),
    part!("TCPMetric.BASawEnd", Counter, tcp_metric, ba_saw_end),
    part!(
        "TCPMetric.ABRetransmittedSegments",
        Counter,
        tcp_metric,
        ab_retransmitted_segments
    ),
    part!(
        "TCPMetric.BARetransmittedSegments",
        Counter,
        tcp_metric,
        ba_retransmitted_segments
    ),
    part!(
        "TCPMetric.ABRetransmittedBytes",
        Counter,
        tcp_metric,
        ab_retransmitted_bytes
    ),
    part!(
        "TCPMetric.BARetransmittedBytes",
        Counter,
        tcp_metric,
        ba_retransmitted_bytes
    ),
    part!("IPMetric.Fragments", Counter, ip_metric, fragments),
    part!(
        "IPMetric.FragmentErrors",
        Counter,
        ip_metric,
        fragment_errors
    ),
    json!("DHCPv4", dhcpv4),
    json!("DNS", dns),
    json!("VRRPv2", vrrpv2),
    json!("Wire", wire),
    json!("Initiator", initiator),
    json!("RTTMetric", rtt_metric),
    json!("ARP", arp),
    json!("About", about),
    json!("ICMPErrors", icmp_errors),
    json!("Offload", offload),
    json!("DNSMetric", dns_metric),
    int!(
        "RawPacketsCaptured",
        Number,
        Chunk,
        flow.raw_packets_captured
    ),
    (
        Column::new("FinishType", ColumnKind::Small),
        Access::Int(
            |row| Some(row.flow.finish_type as i64),
            |row, number| {
                let kind = FinishType::from_number(small(number));
                row.flow.finish_type = kind.unwrap_or_default();
            },
        ),
    ),
    int!("Sum.ABPackets", Counter, Chunk, sum.ab_packets),
    int!("Sum.ABBytes", Counter, Chunk, sum.ab_bytes),
    int!("Sum.BAPackets", Counter, Chunk, sum.ba_packets),
    int!("Sum.BABytes", Counter, Chunk, sum.ba_bytes),
];

/// Returns the columns of `flow.parquet`.
pub(super) fn columns() -> Vec<Column> {
    COLUMNS.iter().map(|(column, _)| *column).collect()
}

/// Returns the names of the columns that a field of queries needs.
pub(super) fn columns_of(field: &str) -> impl Iterator<Item = &'static str> {
    let names = COLUMNS.iter().map(|(column, _)| column.name);
    names.filter(move |name| {
        let is_part = |whole: &str, part: &str| {
            whole
                .strip_prefix(part)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        *name == field || is_part(name, field) || is_part(field, name)
    })
}

/// Returns whether a field is the same in all records of a flow, so that a test of any record
/// decides for the flow.
pub(super) fn is_constant(field: &str) -> bool {
    const CONSTANT: &[&str] = &[
        "UUID",
        "TrackingID",
        "L3TrackingID",
        "NodeTID",
        "CaptureID",
        "Link.A",
        "Link.B",
        "Network.A",
        "Network.B",
        "Transport.A",
        "Transport.B",
    ];
    CONSTANT.contains(&field)
}

/// Converts rows to arrays.
pub(super) fn to_batch(rows: &[FlowRow]) -> RecordBatch {
    let arrays = COLUMNS.iter().map(|(column, access)| -> ArrayRef {
        match *access {
            Access::Text(read, _) => {
                let mut builder = StringBuilder::with_capacity(rows.len(), rows.len() * 16);
                rows.iter().for_each(|row| builder.append_option(read(row)));
                Arc::new(builder.finish())
            }
            Access::Json(read, _) => {
                let mut builder = StringBuilder::new();
                rows.iter().for_each(|row| builder.append_option(read(row)));
                Arc::new(builder.finish())
            }
            Access::Int(read, _) if column.kind == ColumnKind::Small => {
                let mut builder = Int32Builder::with_capacity(rows.len());
                rows.iter()
                    .for_each(|row| builder.append_option(read(row).map(small)));
                Arc::new(builder.finish())
            }
            Access::Int(read, _) => {
                let mut builder = Int64Builder::with_capacity(rows.len());
                rows.iter().for_each(|row| builder.append_option(read(row)));
                Arc::new(builder.finish())
            }
        }
    });
    RecordBatch::try_new(schema(&columns()), arrays.collect())
        .expect("the arrays have the types and the length of the columns")
}

/// Returns whether a column has a part of a record; the others are those of the store itself.
pub(super) fn is_of_record(column: &str) -> bool {
    !matches!(column, "Updated" | "Updates" | "Number") && !column.starts_with("Sum.")
}

/// Converts records to arrays, without the columns of the store itself.
pub(crate) fn flow_batch(flows: &[Flow]) -> RecordBatch {
    let rows: Vec<FlowRow> = flows
        .iter()
        .map(|flow| FlowRow {
            flow: flow.clone(),
            ..FlowRow::default()
        })
        .collect();
    let batch = to_batch(&rows);
    let fields = COLUMNS.iter().enumerate();
    let fields = fields.filter(|(_, (column, _))| is_of_record(column.name));
    let positions: Vec<usize> = fields.map(|(position, _)| position).collect();
    batch
        .project(&positions)
        .expect("the positions are those of columns")
}

/// Converts arrays to rows; columns that a batch lacks keep their default.
pub(super) struct RowReader<'a> {
    columns: Vec<(Cells<'a>, Access)>,
    rows: usize,
}

enum Cells<'a> {
    Text(&'a arrow_array::StringArray),
    Long(&'a arrow_array::Int64Array),
    Small(&'a arrow_array::Int32Array),
}

impl<'a> RowReader<'a> {
    /// Returns a reader of a batch. A column of an unexpected type is ignored.
    pub(super) fn new(batch: &'a RecordBatch) -> Self {
        let mut columns = Vec::new();
        for (column, access) in COLUMNS {
            let Some(array) = batch.column_by_name(column.name) else {
                continue;
            };
            let cells = match access {
                Access::Text(..) | Access::Json(..) => array.as_string_opt().map(Cells::Text),
                Access::Int(..) => {
                    let long = array.as_primitive_opt::<Int64Type>().map(Cells::Long);
                    long.or_else(|| array.as_primitive_opt::<Int32Type>().map(Cells::Small))
                }
            };
            columns.extend(cells.map(|cells| (cells, *access)));
        }
        Self {
            columns,
            rows: batch.num_rows(),
        }
    }

    /// Returns the number of rows.
    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    /// Returns a row, which must be less than [`RowReader::rows`].
    pub(super) fn row(&self, number: usize) -> FlowRow {
        let mut row = FlowRow::default();
        for (cells, access) in &self.columns {
            match (cells, access) {
                (Cells::Text(array), Access::Text(_, write) | Access::Json(_, write))
                    if array.is_valid(number) =>
                {
                    write(&mut row, array.value(number));
                }
                (Cells::Long(array), Access::Int(_, write)) if array.is_valid(number) => {
                    write(&mut row, array.value(number));
                }
                (Cells::Small(array), Access::Int(_, write)) if array.is_valid(number) => {
                    write(&mut row, array.value(number).into());
                }
                _ => {}
            }
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_columns_are_unique() {
        let mut names: Vec<&str> = columns().iter().map(|column| column.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), COLUMNS.len());
    }

    #[test]
    fn every_field_of_queries_is_in_a_column() {
        let names = crate::flow::FlowField::names().iter();
        // Raw packets are in a file of their own.
        for name in names.filter(|name| !name.starts_with("LastRawPackets.")) {
            assert!(columns_of(name).next().is_some(), "{name}");
        }
        let parts: Vec<_> = columns_of("IPMetric").collect();
        assert_eq!(parts, ["IPMetric.Fragments", "IPMetric.FragmentErrors"]);
        assert_eq!(columns_of("DNS.OpCode").collect::<Vec<_>>(), ["DNS"]);
        assert_eq!(columns_of("Start").collect::<Vec<_>>(), ["Start"]);
    }

    #[test]
    fn an_empty_record_and_a_full_one_survive() {
        let json = include_str!("tests/flow.json");
        let flow: Flow = serde_json::from_str(json).unwrap();
        let row = FlowRow {
            flow,
            updated: 5,
            number: 6,
            updates: 7,
            sum: FlowMetric {
                ab_packets: 1,
                ab_bytes: 2,
                ba_packets: 3,
                ba_bytes: 4,
                ..FlowMetric::default()
            },
        };
        let rows = [FlowRow::default(), row];
        let batch = to_batch(&rows);
        for (array, column) in batch.columns().iter().zip(columns()) {
            assert!(array.is_valid(1), "the record lacks {}", column.name);
        }
        let reader = RowReader::new(&batch);
        assert_eq!(reader.rows(), 2);
        assert_eq!(reader.row(0), rows[0]);
        assert_eq!(reader.row(1), rows[1]);
    }
}
