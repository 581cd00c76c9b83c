//! Segments of flows: three sealed Parquet files.
//!
//! | File | A row is | Order |
//! |---|---|---|
//! | `flow.parquet` | the newest record of a flow in the segment | address of A, address of B, port of B, UUID |
//! | `metric.parquet` | the packets and bytes of one update | as the flows, then arrival |
//! | `packet.parquet` | a raw packet; missing without packets | as the flows, then index |
//!
//! All keys of the order are constant in a flow, so the order is the same in every segment.

use std::io;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Int32Array, RecordBatch};
use hashbrown::HashMap;
use prost::Message as _;

use super::disk::Disk;
use super::flow_batches::{METRIC_COLUMNS, MetricBatch, PACKET_COLUMNS, PacketBatch};
use super::flow_columns::{self, FlowRow, RowReader, is_of_record};
use super::flow_scan::FlowScan;
use super::names::{Generation, Name};
use super::parquet_file::{Batches, PAGE_ROWS, ParquetFile, ParquetWriter, selection};
use super::recent_flows::{RecentFlow, RecentFlows};
use super::segment_folder;
use super::summed_file::invalid;
use super::sums::Sum;
use crate::file_use::FileUse;
use crate::flow::{Flow, FlowMetric, RawPacket};
use crate::value::Text;

/// Property of `flow.parquet` if a flow may have several rows.
pub(super) const REPEATS: &str = "skyd.repeats";

/// Names of the files.
pub(super) const FLOW_FILE: &str = "flow.parquet";
pub(super) const METRIC_FILE: &str = "metric.parquet";
pub(super) const PACKET_FILE: &str = "packet.parquet";

/// Segment of flows that is open for reading.
#[derive(Debug)]
pub(super) struct FlowSegment {
    pub(super) name: Name,
    pub(super) folder: PathBuf,
    pub(super) flow: ParquetFile,
    pub(super) metric: ParquetFile,
    pub(super) packet: Option<ParquetFile>,
    pub(super) span: FlowSpan,
    /// Whether a flow may have several rows, the newest of which has the highest number.
    pub(super) has_repeats: bool,
}

/// Extreme values of a segment, for planning; times in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowSpan {
    /// Earliest `Start` of a flow.
    pub(super) start: i64,
    /// Latest `Last` of a flow.
    pub(super) last: i64,
    /// Earliest and latest arrival of a record, by the recorder's clock.
    pub(super) updated: (i64, i64),
    /// Maximum number of a record.
    pub(super) number: i64,
    /// Earliest start and latest end of a metric.
    pub(super) metric: (i64, i64),
}

impl FlowSpan {
    /// Empty span, the neutral element of [`FlowSpan::join`].
    pub(super) const EMPTY: Self = Self {
        start: i64::MAX,
        last: i64::MIN,
        updated: (i64::MAX, i64::MIN),
        number: 0,
        metric: (i64::MAX, i64::MIN),
    };

    /// Returns the span of two parts together.
    pub(super) fn join(self, other: Self) -> Self {
        let both = |a: (i64, i64), b: (i64, i64)| (a.0.min(b.0), a.1.max(b.1));
        Self {
            start: self.start.min(other.start),
            last: self.last.max(other.last),
            updated: both(self.updated, other.updated),
            number: self.number.max(other.number),
            metric: both(self.metric, other.metric),
        }
    }

    fn of(recent: &RecentFlow) -> Self {
        let stored = &recent.stored;
        let metrics = stored.metrics.iter();
        let updated = stored.updated.as_ms();
        Self {
            start: stored.start,
            last: stored.last,
            updated: (updated, updated),
            number: recent.number,
            metric: metrics.fold((i64::MAX, i64::MIN), |(from, to), metric| {
                (from.min(metric.start), to.max(metric.last))
            }),
        }
    }

    /// Returns the properties that store the span in the footer of `flow.parquet`.
    pub(super) fn properties(
        &self,
        host: &str,
        (first, last): (Generation, Generation),
    ) -> Vec<(&'static str, String)> {
        vec![
            ("skyd.table", "flow".to_owned()),
            ("skyd.host", host.to_owned()),
            ("skyd.generations", format!("{first}-{last}")),
            ("skyd.from", self.start.to_string()),
            ("skyd.to", self.last.to_string()),
            ("skyd.updated_from", self.updated.0.to_string()),
            ("skyd.updated_to", self.updated.1.to_string()),
            ("skyd.number", self.number.to_string()),
            ("skyd.metric_from", self.metric.0.to_string()),
            ("skyd.metric_to", self.metric.1.to_string()),
        ]
    }

    fn read(file: &ParquetFile) -> io::Result<Self> {
        let number = |key: &str| {
            let number = file.number(key);
            number.ok_or_else(|| invalid(format!("the property {key} is missing or invalid")))
        };
        Ok(Self {
            start: number("skyd.from")?,
            last: number("skyd.to")?,
            updated: (number("skyd.updated_from")?, number("skyd.updated_to")?),
            number: number("skyd.number")?,
            metric: (number("skyd.metric_from")?, number("skyd.metric_to")?),
        })
    }
}

/// Writes the files of a segment into an empty folder. Returns their checksums.
pub(super) fn write(
    disk: &dyn Disk,
    folder: &Path,
    flows: &RecentFlows,
    host: &str,
    generation: Generation,
) -> io::Result<Vec<Sum>> {
    let mut rows: Vec<(SortKey, &RecentFlow)> = flows
        .iter()
        .map(|recent| (SortKey::of(recent), recent))
        .collect();
    rows.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let span = rows.iter().fold(FlowSpan::EMPTY, |span, (_, recent)| {
        span.join(FlowSpan::of(recent))
    });
    let properties = span.properties(host, (generation, generation));
    let columns = flow_columns::columns();
    let mut file = ParquetWriter::create(disk, folder, FLOW_FILE, &columns, &properties)?;
    for chunk in rows.chunks(PAGE_ROWS) {
        let chunk: Vec<FlowRow> = chunk.iter().map(|(_, recent)| row_of(recent)).collect();
        file.write(&flow_columns::to_batch(&chunk))?;
    }
    let mut sums = vec![file.finish()?];

    let mut file = ParquetWriter::create(disk, folder, METRIC_FILE, METRIC_COLUMNS, &[])?;
    let mut batch = MetricBatch::default();
    for (ordinal, (_, recent)) in rows.iter().enumerate() {
        for metric in &recent.stored.metrics {
            batch.push(&recent.stored.uuid, ordinal, metric);
        }
        if batch.rows >= PAGE_ROWS {
            file.write(&batch.finish())?;
        }
    }
    file.write(&batch.finish())?;
    sums.push(file.finish()?);

    if rows
        .iter()
        .any(|(_, recent)| !recent.stored.packets.is_empty())
    {
        let mut file = ParquetWriter::create(disk, folder, PACKET_FILE, PACKET_COLUMNS, &[])?;
        let mut batch = PacketBatch::default();
        for (ordinal, (_, recent)) in rows.iter().enumerate() {
            for packet in &recent.stored.packets {
                batch.push(&recent.stored.uuid, ordinal, packet);
                if batch.is_full() {
                    file.write(&batch.finish())?;
                }
            }
        }
        file.write(&batch.finish())?;
        sums.push(file.finish()?);
    }
    Ok(sums)
}

/// Key of the order of flows.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SortKey {
    pub(super) a: Text,
    pub(super) b: Text,
    pub(super) port: i64,
    pub(super) uuid: Text,
}

impl SortKey {
    fn of(recent: &RecentFlow) -> Self {
        // Cannot fail: the record was encoded by this program.
        let flow = Flow::decode(&*recent.stored.record).unwrap_or_default();
        let (a, b) = flow
            .network
            .map_or_else(Default::default, |ends| (ends.a, ends.b));
        Self {
            a,
            b,
            port: flow.transport.map_or(0, |ends| ends.b),
            uuid: flow.uuid,
        }
    }
}

fn row_of(recent: &RecentFlow) -> FlowRow {
    let metrics = recent.stored.metrics.iter();
    FlowRow {
        flow: Flow::decode(&*recent.stored.record).unwrap_or_default(),
        updated: recent.stored.updated.as_ms(),
        number: recent.number,
        updates: recent.updates,
        sum: metrics.fold(FlowMetric::default(), |sum, metric| sum.plus(metric)),
    }
}

impl FlowSegment {
    /// Opens a committed segment and reads the footers of its files.
    ///
    /// # Errors
    /// Returns an error if a file is missing, has another length than when it was written, or has
    /// an invalid footer.
    pub(super) fn open(disk: &dyn Disk, folder: &Path, name: Name) -> io::Result<Self> {
        let sums = segment_folder::read_sums(disk, folder)?;
        let open = |file: &str| segment_folder::open_file(disk, folder, &sums, file);
        let has_packets = sums.iter().any(|sum| sum.name == PACKET_FILE);
        let flow = open(FLOW_FILE)?;
        Ok(Self {
            name,
            folder: folder.to_owned(),
            span: FlowSpan::read(&flow)?,
            has_repeats: flow.property(REPEATS).is_some(),
            flow,
            metric: open(METRIC_FILE)?,
            packet: has_packets.then(|| open(PACKET_FILE)).transpose()?,
        })
    }

    /// Returns the files with their names.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &ParquetFile)> {
        let packet = self.packet.as_ref().map(|packet| (PACKET_FILE, packet));
        let files = [(FLOW_FILE, &self.flow), (METRIC_FILE, &self.metric)];
        files.into_iter().chain(packet)
    }

    /// Returns the size of flows and metrics, in bytes.
    pub(super) fn flow_bytes(&self) -> u64 {
        self.flow.bytes() + self.metric.bytes()
    }

    /// Returns the size of the raw packets, in bytes.
    pub(super) fn packet_bytes(&self) -> u64 {
        self.packet.as_ref().map_or(0, ParquetFile::bytes)
    }

    /// Returns the rows that the indexes do not exclude, as ascending ranges.
    fn candidates(&self, scan: &FlowScan<'_>) -> Vec<std::ops::Range<usize>> {
        let mut ranges = Vec::new();
        for group in self.flow.groups() {
            match scan.candidates(&group) {
                Some(found) => ranges.extend(found),
                None => ranges.push(group.rows.clone()),
            }
        }
        ranges
    }

    /// Returns which rows and pages [`FlowSegment::scan`] reads.
    pub(super) fn file_use(&self, scan: &FlowScan<'_>) -> FileUse {
        let name = format!("flow/{}/{FLOW_FILE}", self.name);
        if !scan.overlaps(self.span.start, self.span.last) {
            let reason = "no flow in the queried time, according to the footer of the file";
            return self.flow.file_use(name, Some(&[]), reason);
        }
        let rows = self.candidates(scan);
        let read: usize = rows.iter().map(std::ops::Range::len).sum();
        let reason = match read {
            0 => "no row can match, according to Bloom filters and page statistics",
            read if read < self.flow.rows() => {
                "rows that may match, according to Bloom filters and page statistics"
            }
            _ => "all rows: no condition excludes a page",
        };
        self.flow.file_use(name, Some(&rows), reason)
    }

    /// Calls `visit` with the row number and the tested columns of each row that the scan does not
    /// exclude, until it returns `false`.
    pub(super) fn scan(
        &self,
        scan: &FlowScan<'_>,
        mut visit: impl FnMut(usize, FlowRow) -> bool,
    ) -> io::Result<()> {
        let ranges = self.candidates(scan);
        if ranges.is_empty() {
            return Ok(());
        }
        let mut numbers = ranges.clone().into_iter().flatten();
        let chosen = selection(ranges, self.flow.rows());
        let is_needed = |column: &str| scan.needs(column) && self.flow.has_values(column);
        for batch in self.flow.batches(is_needed, Some(chosen))? {
            let batch = batch?;
            let rows = RowReader::new(&batch);
            for index in 0..rows.rows() {
                let number = numbers.next().unwrap_or_default();
                let row = rows.row(index);
                if !scan.excludes(&row.flow) && !visit(number, row) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Returns whole records by row number, in ascending order of these numbers, without what only the
    /// store needs.
    pub(super) fn fetch(&self, numbers: &[usize]) -> io::Result<Vec<Flow>> {
        let ranges = numbers.iter().map(|number| *number..number + 1);
        let chosen = selection(ranges, self.flow.rows());
        let mut found = Vec::with_capacity(numbers.len());
        let is_needed = |column: &str| is_of_record(column) && self.flow.has_values(column);
        for batch in self.flow.batches(is_needed, Some(chosen))? {
            let batch = batch?;
            let rows = RowReader::new(&batch);
            found.extend((0..rows.rows()).map(|index| rows.row(index).flow));
        }
        Ok(found)
    }

    /// Returns the row numbers of flows, with the index of their UUID in the list and their start.
    fn rows_of(&self, uuids: &[Text]) -> io::Result<HashMap<i64, (usize, i64)>> {
        let mut ranges = Vec::new();
        let mut sorted: Vec<&str> = uuids.iter().map(Text::as_str).collect();
        sorted.sort_unstable();
        for group in self.flow.groups() {
            let is_possible =
                uuids.len() > MAX_LOOKUPS || !group.rows_with_texts("UUID", &sorted).is_empty();
            if is_possible {
                ranges.push(group.rows);
            }
        }
        let mut found = HashMap::new();
        if ranges.is_empty() {
            return Ok(found);
        }
        let wanted: HashMap<&str, usize> = uuids
            .iter()
            .enumerate()
            .map(|(index, uuid)| (uuid.as_str(), index))
            .collect();
        let mut numbers = ranges.clone().into_iter().flatten();
        let chosen = selection(ranges, self.flow.rows());
        for batch in self
            .flow
            .batches(|name| matches!(name, "UUID" | "Start"), Some(chosen))?
        {
            let batch = batch?;
            let (Some(uuid), Some(start)) = (text(&batch, "UUID"), long(&batch, "Start")) else {
                return Err(invalid(
                    "flow.parquet lacks the column UUID or Start".to_owned(),
                ));
            };
            for index in 0..batch.num_rows() {
                let number = numbers.next().unwrap_or_default();
                if let Some(which) = wanted.get(uuid.value(index)) {
                    found.insert(number as i64, (*which, start.value(index)));
                }
            }
        }
        Ok(found)
    }

    /// Appends the metrics of flows to the list of each flow, in the order of arrival, while
    /// `keep_going` returns `true`. A flag states whether a metric starts with the flow.
    pub(super) fn metrics(
        &self,
        uuids: &[Text],
        lists: &mut [Vec<(FlowMetric, bool)>],
        keep_going: &dyn Fn() -> bool,
    ) -> io::Result<()> {
        let flows = self.rows_of(uuids)?;
        let before: Vec<usize> = lists.iter().map(Vec::len).collect();
        for batch in rows_by_flow(&self.metric, &flows)? {
            if !keep_going() {
                break;
            }
            let batch = batch?;
            let columns = METRIC_COLUMNS[2..]
                .iter()
                .map(|column| long(&batch, column.name));
            let columns: Option<Vec<_>> = columns.collect();
            let (Some(flow), Some(columns)) = (ordinal(&batch), columns) else {
                return Err(invalid("metric.parquet lacks a required column".to_owned()));
            };
            for index in 0..batch.num_rows() {
                let Some((which, start)) = flows.get(&i64::from(flow.value(index))) else {
                    continue;
                };
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
                lists[*which].push((metric, metric.start == *start));
            }
        }
        if self.has_repeats {
            for (list, before) in lists.iter_mut().zip(before) {
                list[before..].sort_by_key(|(metric, _)| metric.last);
            }
        }
        Ok(())
    }

    /// Appends the raw packets of flows to the list of each flow, in the order of arrival.
    pub(super) fn packets(&self, uuids: &[Text], lists: &mut [Vec<RawPacket>]) -> io::Result<()> {
        let Some(file) = &self.packet else {
            return Ok(());
        };
        let flows = self.rows_of(uuids)?;
        let before: Vec<usize> = lists.iter().map(Vec::len).collect();
        for batch in rows_by_flow(file, &flows)? {
            let batch = batch?;
            let link_type = small(&batch, "LinkType");
            let (nanos, wire_len) = (small(&batch, "Nanos"), small(&batch, "WireLength"));
            let data = batch.column_by_name("Data");
            let data = data.and_then(|array| array.as_binary_opt::<i32>());
            let columns = (
                ordinal(&batch),
                long(&batch, "Timestamp"),
                long(&batch, "Index"),
                link_type,
                data,
            );
            let (Some(flow), Some(timestamp), Some(number), Some(link_type), Some(data)) = columns
            else {
                return Err(invalid("packet.parquet lacks a required column".to_owned()));
            };
            for index in 0..batch.num_rows() {
                let Some((which, _)) = flows.get(&i64::from(flow.value(index))) else {
                    continue;
                };
                lists[*which].push(RawPacket {
                    timestamp: timestamp.value(index),
                    index: number.value(index),
                    data: data.value(index).to_vec().into(),
                    link_type: link_type.value(index).cast_unsigned(),
                    nanos: small_or_zero(nanos, index),
                    wire_len: small_or_zero(wire_len, index),
                });
            }
        }
        if self.has_repeats {
            for (list, before) in lists.iter_mut().zip(before) {
                list[before..].sort_by_key(|packet| packet.index);
            }
        }
        Ok(())
    }
}

/// Returns the column `name`, which contains 32-bit numbers; `None` if it is missing or has another
/// type.
pub(super) fn small<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a Int32Array> {
    batch.column_by_name(name)?.as_primitive_opt::<Int32Type>()
}

/// Returns a number from a column that older segments lack; 0 if the column is missing.
pub(super) fn small_or_zero(column: Option<&Int32Array>, index: usize) -> u32 {
    column.map_or(0, |column| column.value(index).cast_unsigned())
}

/// Reads the rows of the pages of metrics or packets that may contain one of the flows.
fn rows_by_flow(file: &ParquetFile, flows: &HashMap<i64, (usize, i64)>) -> io::Result<Batches> {
    let mut ordinals: Vec<i64> = flows.keys().copied().collect();
    ordinals.sort_unstable();
    let mut ranges = Vec::new();
    for group in file.groups() {
        if ordinals.len() > MAX_LOOKUPS {
            ranges.push(group.rows.clone());
            continue;
        }
        let found = ordinals
            .iter()
            .flat_map(|flow| group.rows_with_number("Flow", *flow..=*flow));
        let mut found: Vec<_> = found.collect();
        found.sort_unstable_by_key(|range| range.start);
        ranges.extend(found);
    }
    if ordinals.is_empty() {
        ranges.clear();
    }
    let chosen = selection(ranges, file.rows());
    file.batches(|name| name != "UUID", Some(chosen))
}

pub(super) fn long<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a arrow_array::Int64Array> {
    batch.column_by_name(name)?.as_primitive_opt::<Int64Type>()
}

pub(super) fn text<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a arrow_array::StringArray> {
    batch.column_by_name(name)?.as_string_opt()
}

pub(super) fn ordinal(batch: &RecordBatch) -> Option<&Int32Array> {
    batch
        .column_by_name("Flow")?
        .as_primitive_opt::<Int32Type>()
}

/// Number of flows above which whole columns are read instead of single pages.
const MAX_LOOKUPS: usize = 256;
