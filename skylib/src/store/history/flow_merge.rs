//! Merging of flow segments: one pass over sorted inputs (k-way merge), `O(n log k)`.
//!
//! A flow that occurs in several segments becomes one row: its newest record, with the sums of all
//! its records. Memory use is one batch of rows for each input, and about 20 bytes for each row of
//! a flow.
//!
//! The order of flows is that of their addresses, which do not change. Records with the same UUID and
//! different addresses, which only a faulty agent sends, stay different rows, and the segment says so
//! ([`REPEATS`]).

use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;

use super::disk::Disk;
use super::flow_batches::{METRIC_COLUMNS, MetricBatch, PACKET_COLUMNS, PacketBatch};
use super::flow_columns::{self, FlowRow, RowReader};
use super::flow_segment::{
    FLOW_FILE, FlowSegment, FlowSpan, METRIC_FILE, PACKET_FILE, REPEATS, SortKey, long, ordinal,
    small, small_or_zero, text,
};
use super::names::Name;
use super::parquet_file::{PAGE_ROWS, ParquetFile, ParquetWriter};
use super::sorted_merge::{Rows, merge, rows, rows_of};
use super::summed_file::invalid;
use super::sums::Sum;
use super::uuid_set::UuidSet;
use crate::flow::{FlowMetric, RawPacket};
use crate::value::Text;

/// Returns the name of the segment that replaces consecutive segments, oldest first.
pub(super) fn merged_name(segments: &[Arc<FlowSegment>]) -> Option<Name> {
    let first = match segments.first()?.name {
        Name::Segment(first, _) => first,
        Name::Log(_) | Name::Snapshot(_) => return None,
    };
    Some(Name::Segment(first, segments.last()?.name.last()))
}

/// Merges segments, oldest first, and writes the files of the result into an empty folder. Returns
/// their checksums.
pub(super) fn write(
    disk: &dyn Disk,
    folder: &Path,
    segments: &[Arc<FlowSegment>],
    host: &str,
) -> io::Result<Vec<Sum>> {
    let Some(Name::Segment(first, last)) = merged_name(segments) else {
        return Err(invalid("there are no segments to merge".to_owned()));
    };
    let spans = segments.iter().map(|segment| segment.span);
    let span = spans.fold(FlowSpan::EMPTY, FlowSpan::join);
    let properties = span.properties(host, (first, last));
    let columns = flow_columns::columns();
    let mut file = ParquetWriter::create(disk, folder, FLOW_FILE, &columns, &properties)?;
    let ordinals = write_flows(&mut file, segments)?;
    let mut sums = vec![file.finish()?];

    let mut file = ParquetWriter::create(disk, folder, METRIC_FILE, METRIC_COLUMNS, &[])?;
    write_metrics(&mut file, segments, &ordinals)?;
    sums.push(file.finish()?);

    if segments.iter().any(|segment| segment.packet.is_some()) {
        let mut file = ParquetWriter::create(disk, folder, PACKET_FILE, PACKET_COLUMNS, &[])?;
        write_packets(&mut file, segments, &ordinals)?;
        sums.push(file.finish()?);
    }
    Ok(sums)
}

/// New row number of each row of each input.
type Ordinals = Vec<Vec<u32>>;

fn write_flows(file: &mut ParquetWriter, segments: &[Arc<FlowSegment>]) -> io::Result<Ordinals> {
    let mut inputs = Vec::new();
    for segment in segments {
        inputs.push(flow_rows(&segment.flow)?);
    }
    let mut ordinals: Ordinals = vec![Vec::new(); segments.len()];
    let mut chunk: Vec<FlowRow> = Vec::with_capacity(PAGE_ROWS);
    let mut current: Option<(SortKey, FlowRow)> = None;
    let mut rows = 0_u32;
    let mut uuids = UuidSet::default();
    let mut has_repeats = false;
    merge(inputs, |key: SortKey, input, row: FlowRow| {
        match &mut current {
            Some((same, merged)) if *same == key => add(merged, row),
            _ => {
                has_repeats |= !uuids.insert(&key.uuid);
                if let Some((_, merged)) = current.replace((key, row)) {
                    rows += 1;
                    chunk.push(merged);
                }
            }
        }
        ordinals[input].push(rows);
        if chunk.len() == PAGE_ROWS {
            file.write(&flow_columns::to_batch(&chunk))?;
            chunk.clear();
        }
        Ok(())
    })?;
    chunk.extend(current.map(|(_, merged)| merged));
    file.write(&flow_columns::to_batch(&chunk))?;
    if has_repeats {
        file.set_property(REPEATS, "1".to_owned());
    }
    Ok(ordinals)
}

/// Adds a newer row of the same flow.
fn add(merged: &mut FlowRow, newer: FlowRow) {
    let updates = merged.updates.saturating_add(newer.updates);
    let sum = merged.sum.plus(&newer.sum);
    *merged = FlowRow {
        updates,
        sum,
        ..newer
    };
}

fn flow_rows(file: &ParquetFile) -> io::Result<Rows<SortKey, FlowRow>> {
    let batches = file.batches(|column| file.has_values(column), None)?;
    let rows = rows_of(batches, |batch| {
        let reader = RowReader::new(batch);
        let rows = (0..reader.rows()).map(|index| reader.row(index));
        let keyed = rows.map(|row| {
            let ends = row.flow.network.as_ref();
            let key = SortKey {
                a: ends.map(|ends| ends.a.clone()).unwrap_or_default(),
                b: ends.map(|ends| ends.b.clone()).unwrap_or_default(),
                port: row.flow.transport.map_or(0, |ends| ends.b),
                uuid: row.flow.uuid.clone(),
            };
            (key, row)
        });
        Ok(keyed.collect())
    });
    Ok(rows)
}

fn write_metrics(
    file: &mut ParquetWriter,
    segments: &[Arc<FlowSegment>],
    ordinals: &Ordinals,
) -> io::Result<()> {
    let mut inputs = Vec::new();
    for (segment, ordinals) in segments.iter().zip(ordinals) {
        inputs.push(metric_rows(&segment.metric, ordinals.clone())?);
    }
    let mut batch = MetricBatch::default();
    // The newest metric of the current flow. A flow may repeat its last metric when it ends.
    let mut newest: Option<(u32, i64)> = None;
    merge(inputs, |flow, _, (uuid, metric): (Text, FlowMetric)| {
        if newest.is_some_and(|(same, last)| same == flow && metric.last <= last) {
            return Ok(());
        }
        newest = Some((flow, metric.last));
        batch.push(&uuid, flow as usize, &metric);
        if batch.rows == PAGE_ROWS {
            file.write(&batch.finish())?;
        }
        Ok(())
    })?;
    file.write(&batch.finish())
}

fn metric_rows(
    file: &ParquetFile,
    ordinals: Vec<u32>,
) -> io::Result<Rows<u32, (Text, FlowMetric)>> {
    rows(file, move |batch| {
        let columns = METRIC_COLUMNS[2..]
            .iter()
            .map(|column| long(batch, column.name));
        let columns: Option<Vec<_>> = columns.collect();
        let (Some(uuid), Some(flow), Some(columns)) =
            (text(batch, "UUID"), ordinal(batch), columns)
        else {
            return Err(invalid("metric.parquet lacks a required column".to_owned()));
        };
        let row = |index: usize| {
            let value = |column: usize| columns[column].value(index);
            let metric = FlowMetric {
                ab_packets: value(0),
                ab_bytes: value(1),
                ba_packets: value(2),
                ba_bytes: value(3),
                start: value(4),
                last: value(5),
                rtt: value(6),
            };
            let flow = new_ordinal(&ordinals, flow.value(index))?;
            Ok((flow, (uuid.value(index).into(), metric)))
        };
        (0..batch.num_rows()).map(row).collect()
    })
}

fn write_packets(
    file: &mut ParquetWriter,
    segments: &[Arc<FlowSegment>],
    ordinals: &Ordinals,
) -> io::Result<()> {
    let mut inputs = Vec::new();
    for (segment, ordinals) in segments.iter().zip(ordinals) {
        inputs.push(match &segment.packet {
            Some(packets) => packet_rows(packets, ordinals.clone())?,
            None => Box::new(std::iter::empty()),
        });
    }
    let mut batch = PacketBatch::default();
    let mut newest: Option<(u32, i64)> = None;
    merge(inputs, |flow, _, (uuid, packet): (Text, RawPacket)| {
        if newest.is_some_and(|(same, index)| same == flow && packet.index <= index) {
            return Ok(());
        }
        newest = Some((flow, packet.index));
        batch.push(&uuid, flow as usize, &packet);
        if batch.is_full() {
            file.write(&batch.finish())?;
        }
        Ok(())
    })?;
    file.write(&batch.finish())
}

fn packet_rows(file: &ParquetFile, ordinals: Vec<u32>) -> io::Result<Rows<u32, (Text, RawPacket)>> {
    rows(file, move |batch| {
        let link_type = small(batch, "LinkType");
        let (nanos, wire_len) = (small(batch, "Nanos"), small(batch, "WireLength"));
        let data = batch.column_by_name("Data");
        let data = data.and_then(|array| array.as_binary_opt::<i32>());
        let (Some(uuid), Some(flow), Some(timestamp), Some(number), Some(link_type), Some(data)) = (
            text(batch, "UUID"),
            ordinal(batch),
            long(batch, "Timestamp"),
            long(batch, "Index"),
            link_type,
            data,
        ) else {
            return Err(invalid("packet.parquet lacks a required column".to_owned()));
        };
        let row = |index: usize| {
            let packet = RawPacket {
                timestamp: timestamp.value(index),
                index: number.value(index),
                data: data.value(index).to_vec().into(),
                link_type: link_type.value(index).cast_unsigned(),
                nanos: small_or_zero(nanos, index),
                wire_len: small_or_zero(wire_len, index),
            };
            let flow = new_ordinal(&ordinals, flow.value(index))?;
            Ok((flow, (uuid.value(index).into(), packet)))
        };
        (0..batch.num_rows()).map(row).collect()
    })
}

fn new_ordinal(ordinals: &[u32], old: i32) -> io::Result<u32> {
    let new = usize::try_from(old)
        .ok()
        .and_then(|old| ordinals.get(old).copied());
    new.ok_or_else(|| invalid(format!("there is no flow with the number {old}")))
}
