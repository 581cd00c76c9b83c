//! Rows of metrics and raw packets that are not yet written to their files.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, Int32Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};

use super::parquet_file::{Column, ColumnIndex, ColumnKind, PAGE_ROWS, schema};
use crate::flow::{FlowMetric, RawPacket};

/// Columns of `metric.parquet`.
pub(super) const METRIC_COLUMNS: &[Column] = &[
    Column::new("UUID", ColumnKind::Text),
    Column::new("Flow", ColumnKind::Ordinal).indexed(ColumnIndex::Page),
    Column::new("ABPackets", ColumnKind::Counter),
    Column::new("ABBytes", ColumnKind::Counter),
    Column::new("BAPackets", ColumnKind::Counter),
    Column::new("BABytes", ColumnKind::Counter),
    Column::new("Start", ColumnKind::Number).indexed(ColumnIndex::Page),
    Column::new("Last", ColumnKind::Number).indexed(ColumnIndex::Page),
    Column::new("RTT", ColumnKind::Counter),
];

/// Columns of `packet.parquet`.
pub(super) const PACKET_COLUMNS: &[Column] = &[
    Column::new("UUID", ColumnKind::Text),
    Column::new("Flow", ColumnKind::Ordinal).indexed(ColumnIndex::Page),
    Column::new("Timestamp", ColumnKind::Number),
    Column::new("Index", ColumnKind::Number),
    Column::new("LinkType", ColumnKind::Small),
    Column::new("Nanos", ColumnKind::Small),
    Column::new("WireLength", ColumnKind::Small),
    Column::new("Data", ColumnKind::Binary),
];

/// Rows of `metric.parquet` that are not yet written.
#[derive(Default)]
pub(super) struct MetricBatch {
    uuid: StringBuilder,
    flow: Int32Builder,
    counters: [Int64Builder; 7],
    pub(super) rows: usize,
}

impl MetricBatch {
    pub(super) fn push(&mut self, uuid: &str, ordinal: usize, metric: &FlowMetric) {
        self.uuid.append_value(uuid);
        self.flow
            .append_value(i32::try_from(ordinal).unwrap_or(i32::MAX));
        let values = [
            metric.ab_packets,
            metric.ab_bytes,
            metric.ba_packets,
            metric.ba_bytes,
            metric.start,
            metric.last,
            metric.rtt,
        ];
        for (builder, value) in self.counters.iter_mut().zip(values) {
            builder.append_value(value);
        }
        self.rows += 1;
    }

    pub(super) fn finish(&mut self) -> RecordBatch {
        self.rows = 0;
        let mut arrays: Vec<ArrayRef> =
            vec![Arc::new(self.uuid.finish()), Arc::new(self.flow.finish())];
        arrays.extend(
            self.counters
                .iter_mut()
                .map(|c| Arc::new(c.finish()) as ArrayRef),
        );
        RecordBatch::try_new(schema(METRIC_COLUMNS), arrays)
            .expect("the arrays have the types and the length of the columns")
    }
}

/// Rows of `packet.parquet` that are not yet written.
#[derive(Default)]
pub(super) struct PacketBatch {
    uuid: StringBuilder,
    flow: Int32Builder,
    timestamp: Int64Builder,
    index: Int64Builder,
    link_type: Int32Builder,
    nanos: Int32Builder,
    wire_len: Int32Builder,
    data: BinaryBuilder,
    rows: usize,
    bytes: usize,
}

impl PacketBatch {
    pub(super) fn push(&mut self, uuid: &str, ordinal: usize, packet: &RawPacket) {
        self.uuid.append_value(uuid);
        self.flow
            .append_value(i32::try_from(ordinal).unwrap_or(i32::MAX));
        self.timestamp.append_value(packet.timestamp);
        self.index.append_value(packet.index);
        self.link_type.append_value(packet.link_type.cast_signed());
        self.nanos.append_value(packet.nanos.cast_signed());
        self.wire_len.append_value(packet.wire_len.cast_signed());
        self.data.append_value(&packet.data);
        self.rows += 1;
        self.bytes += packet.data.len();
    }

    /// Returns whether the rows should be written.
    pub(super) const fn is_full(&self) -> bool {
        self.rows >= PAGE_ROWS || self.bytes >= PACKET_BATCH_BYTES
    }

    pub(super) fn finish(&mut self) -> RecordBatch {
        (self.rows, self.bytes) = (0, 0);
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(self.uuid.finish()),
            Arc::new(self.flow.finish()),
            Arc::new(self.timestamp.finish()),
            Arc::new(self.index.finish()),
            Arc::new(self.link_type.finish()),
            Arc::new(self.nanos.finish()),
            Arc::new(self.wire_len.finish()),
            Arc::new(self.data.finish()),
        ];
        RecordBatch::try_new(schema(PACKET_COLUMNS), arrays)
            .expect("the arrays have the types and the length of the columns")
    }
}

/// Size of raw packets that are written together, in bytes.
const PACKET_BATCH_BYTES: usize = 1 << 20;
