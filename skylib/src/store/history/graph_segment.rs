//! Segments and snapshots of the graph: sealed Parquet files.
//!
//! | File | A row is | Order |
//! |---|---|---|
//! | `event.parquet` | a change, with the whole metadata after it | id, number |
//! | `counter.parquet` | an update of nothing but counters; missing without such updates | id, number |
//! | `element.parquet` (in a snapshot) | an element as of one event | id |

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use serde::{Deserialize, Deserializer};

use super::disk::Disk;
use super::event_row::{COUNTER_KEYS, COUNTERS, EventRow, parse_body};
use super::names::Name;
use super::parquet_file::{
    Column, ColumnIndex, ColumnKind, PAGE_ROWS, ParquetFile, ParquetWriter, schema,
};
use super::segment_folder;
use super::summed_file::invalid;
use super::sums::Sum;
use crate::value::{Text, Value};

/// Columns of `event.parquet`.
const EVENT_COLUMNS: &[Column] = &[
    Column::new("ID", ColumnKind::Text).indexed(ColumnIndex::Bloom),
    Column::new("Seq", ColumnKind::Number).indexed(ColumnIndex::Page),
    Column::new("Born", ColumnKind::Number),
    Column::new("Time", ColumnKind::Number).indexed(ColumnIndex::Page),
    Column::new("Recorded", ColumnKind::Number),
    Column::new("Event", ColumnKind::Text),
    Column::new("Host", ColumnKind::Text),
    Column::new("Origin", ColumnKind::Text),
    Column::new("Type", ColumnKind::Text),
    Column::new("Name", ColumnKind::Text),
    Column::new("TID", ColumnKind::Text),
    Column::new("Alias", ColumnKind::Text),
    Column::new("AltNames", ColumnKind::Text),
    Column::new("RelationType", ColumnKind::Text),
    Column::new("Parent", ColumnKind::Text),
    Column::new("Child", ColumnKind::Text),
    Column::new("CreatedAt", ColumnKind::Number),
    Column::new("Revision", ColumnKind::Number),
    Column::new("Body", ColumnKind::Unique),
];

/// Columns of `counter.parquet`.
const COUNTER_COLUMNS: &[Column] = &[
    Column::new("ID", ColumnKind::Text).indexed(ColumnIndex::Bloom),
    Column::new("Seq", ColumnKind::Number).indexed(ColumnIndex::Page),
    Column::new("Time", ColumnKind::Number).indexed(ColumnIndex::Page),
    Column::new("Recorded", ColumnKind::Number),
    Column::new("Host", ColumnKind::Text),
    Column::new("Origin", ColumnKind::Text),
    Column::new("CreatedAt", ColumnKind::Number),
    Column::new("Revision", ColumnKind::Number),
    Column::new("Metric.Collisions", ColumnKind::Counter),
    Column::new("Metric.Last", ColumnKind::Number),
    Column::new("Metric.Multicast", ColumnKind::Counter),
    Column::new("Metric.RxBytes", ColumnKind::Counter),
    Column::new("Metric.RxCompressed", ColumnKind::Counter),
    Column::new("Metric.RxCrcErrors", ColumnKind::Counter),
    Column::new("Metric.RxDropped", ColumnKind::Counter),
    Column::new("Metric.RxErrors", ColumnKind::Counter),
    Column::new("Metric.RxFifoErrors", ColumnKind::Counter),
    Column::new("Metric.RxFrameErrors", ColumnKind::Counter),
    Column::new("Metric.RxLengthErrors", ColumnKind::Counter),
    Column::new("Metric.RxMissedErrors", ColumnKind::Counter),
    Column::new("Metric.RxOverErrors", ColumnKind::Counter),
    Column::new("Metric.RxPackets", ColumnKind::Counter),
    Column::new("Metric.Start", ColumnKind::Number),
    Column::new("Metric.TxAbortedErrors", ColumnKind::Counter),
    Column::new("Metric.TxBytes", ColumnKind::Counter),
    Column::new("Metric.TxCarrierErrors", ColumnKind::Counter),
    Column::new("Metric.TxCompressed", ColumnKind::Counter),
    Column::new("Metric.TxDropped", ColumnKind::Counter),
    Column::new("Metric.TxErrors", ColumnKind::Counter),
    Column::new("Metric.TxFifoErrors", ColumnKind::Counter),
    Column::new("Metric.TxHeartbeatErrors", ColumnKind::Counter),
    Column::new("Metric.TxPackets", ColumnKind::Counter),
    Column::new("Metric.TxWindowErrors", ColumnKind::Counter),
    Column::new("LastUpdateMetric.Collisions", ColumnKind::Counter),
    Column::new("LastUpdateMetric.Last", ColumnKind::Number),
    Column::new("LastUpdateMetric.Multicast", ColumnKind::Counter),
    Column::new("LastUpdateMetric.RxBytes", ColumnKind::Counter),
    Column::new("LastUpdateMetric.RxCompressed", ColumnKind::Counter),
    Column::new("LastUpdateMetric.RxCrcErrors", ColumnKind::Counter),
    Column::new("LastUpdateMetric.RxDropped", ColumnKind::Counter),
    Column::new("LastUpdateMetric.RxErrors", ColumnKind::Counter),
    Column::new("LastUpdateMetric.RxFifoErrors", ColumnKind::Counter),
    Column::new("LastUpdateMetric.RxFrameErrors", ColumnKind::Counter),
    Column::new("LastUpdateMetric.RxLengthErrors", ColumnKind::Counter),
    Column::new("LastUpdateMetric.RxMissedErrors", ColumnKind::Counter),
    Column::new("LastUpdateMetric.RxOverErrors", ColumnKind::Counter),
    Column::new("LastUpdateMetric.RxPackets", ColumnKind::Counter),
    Column::new("LastUpdateMetric.Start", ColumnKind::Number),
    Column::new("LastUpdateMetric.TxAbortedErrors", ColumnKind::Counter),
    Column::new("LastUpdateMetric.TxBytes", ColumnKind::Counter),
    Column::new("LastUpdateMetric.TxCarrierErrors", ColumnKind::Counter),
    Column::new("LastUpdateMetric.TxCompressed", ColumnKind::Counter),
    Column::new("LastUpdateMetric.TxDropped", ColumnKind::Counter),
    Column::new("LastUpdateMetric.TxErrors", ColumnKind::Counter),
    Column::new("LastUpdateMetric.TxFifoErrors", ColumnKind::Counter),
    Column::new("LastUpdateMetric.TxHeartbeatErrors", ColumnKind::Counter),
    Column::new("LastUpdateMetric.TxPackets", ColumnKind::Counter),
    Column::new("LastUpdateMetric.TxWindowErrors", ColumnKind::Counter),
];

/// Number of columns before the counters.
const COUNTER_HEAD: usize = 8;

/// Property with the names of the columns whose metadata was not text in some row.
const OTHER_TYPES: &str = "skyd.other_types";

const EVENT_FILE: &str = "event.parquet";
const COUNTER_FILE: &str = "counter.parquet";
const ELEMENT_FILE: &str = "element.parquet";

/// Extreme values of a file, for planning; times in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GraphSpan {
    /// Earliest and latest time of an element in any event.
    pub(super) time: (i64, i64),
    /// Earliest and latest time of the recorder.
    pub(super) recorded: (i64, i64),
    /// Maximum number of an event.
    pub(super) seq: i64,
}

impl GraphSpan {
    /// Empty span, the neutral element of [`GraphSpan::join`].
    pub(super) const EMPTY: Self = Self {
        time: (i64::MAX, i64::MIN),
        recorded: (i64::MAX, i64::MIN),
        seq: 0,
    };

    /// Returns the span of one event.
    pub(super) const fn of(time: i64, recorded: i64, seq: i64) -> Self {
        Self {
            time: (time, time),
            recorded: (recorded, recorded),
            seq,
        }
    }

    /// Returns the span of two parts together.
    pub(super) fn join(self, other: Self) -> Self {
        let both = |a: (i64, i64), b: (i64, i64)| (a.0.min(b.0), a.1.max(b.1));
        Self {
            time: both(self.time, other.time),
            recorded: both(self.recorded, other.recorded),
            seq: self.seq.max(other.seq),
        }
    }

    fn properties(&self, host: &str, name: Name) -> Vec<(&'static str, String)> {
        let (first, last) = match name {
            Name::Segment(first, last) => (first, last),
            Name::Log(last) | Name::Snapshot(last) => (last, last),
        };
        vec![
            ("skyd.table", "graph".to_owned()),
            ("skyd.host", host.to_owned()),
            ("skyd.generations", format!("{first}-{last}")),
            ("skyd.from", self.time.0.to_string()),
            ("skyd.to", self.time.1.to_string()),
            ("skyd.recorded_from", self.recorded.0.to_string()),
            ("skyd.recorded_to", self.recorded.1.to_string()),
            ("skyd.seq", self.seq.to_string()),
        ]
    }

    fn read(file: &ParquetFile) -> io::Result<Self> {
        let number = |key: &str| {
            let number = file.number(key);
            number.ok_or_else(|| invalid(format!("the property {key} is missing or invalid")))
        };
        Ok(Self {
            time: (number("skyd.from")?, number("skyd.to")?),
            recorded: (number("skyd.recorded_from")?, number("skyd.recorded_to")?),
            seq: number("skyd.seq")?,
        })
    }
}

/// Segment or snapshot of the graph that is open for reading.
#[derive(Debug)]
pub(super) struct GraphSegment {
    pub(super) name: Name,
    pub(super) folder: PathBuf,
    pub(super) span: GraphSpan,
    /// Events of a segment, elements of a snapshot.
    pub(super) event: ParquetFile,
    pub(super) counter: Option<ParquetFile>,
}

/// Writes the files of a segment or a snapshot into an empty folder, from rows in the order of ids
/// and numbers. Returns their checksums.
pub(super) fn write(
    disk: &dyn Disk,
    folder: &Path,
    name: Name,
    host: &str,
    span: GraphSpan,
    rows: impl FnOnce(&mut GraphWriter<'_>) -> io::Result<()>,
) -> io::Result<Vec<Sum>> {
    let file = match name {
        Name::Snapshot(_) => ELEMENT_FILE,
        Name::Segment(..) | Name::Log(_) => EVENT_FILE,
    };
    let properties = span.properties(host, name);
    let mut writer = GraphWriter {
        disk,
        folder,
        event: ParquetWriter::create(disk, folder, file, EVENT_COLUMNS, &properties)?,
        counter: None,
        events: Vec::new(),
        counters: Vec::new(),
        other_types: BTreeSet::new(),
    };
    rows(&mut writer)?;
    writer.flush()?;
    let other_types: Vec<&str> = writer.other_types.iter().copied().collect();
    writer
        .event
        .set_property(OTHER_TYPES, other_types.join(","));
    let mut sums = vec![writer.event.finish()?];
    if let Some(counter) = writer.counter {
        sums.push(counter.finish()?);
    }
    Ok(sums)
}

/// Writer of the files of a segment or a snapshot.
pub(super) struct GraphWriter<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
    event: ParquetWriter,
    counter: Option<ParquetWriter>,
    events: Vec<EventRow>,
    counters: Vec<EventRow>,
    /// Columns whose metadata was not text in some row.
    other_types: BTreeSet<&'static str>,
}

impl GraphWriter<'_> {
    /// Appends a row.
    pub(super) fn push(&mut self, row: EventRow) -> io::Result<()> {
        let rows = if row.is_counter {
            &mut self.counters
        } else {
            &mut self.events
        };
        rows.push(row);
        if rows.len() == PAGE_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let batch = event_batch(&self.events, &mut self.other_types);
        self.event.write(&batch)?;
        self.events.clear();
        if !self.counters.is_empty() {
            let file = match &mut self.counter {
                Some(file) => file,
                None => {
                    let name = COUNTER_FILE;
                    self.counter.insert(ParquetWriter::create(
                        self.disk,
                        self.folder,
                        name,
                        COUNTER_COLUMNS,
                        &[],
                    )?)
                }
            };
            file.write(&counter_batch(&self.counters))?;
            self.counters.clear();
        }
        Ok(())
    }
}

/// Metadata keys that are stored in separate columns.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SearchedKeys {
    #[serde(rename = "Type", deserialize_with = "present")]
    kind: Option<Value>,
    #[serde(rename = "Name", deserialize_with = "present")]
    name: Option<Value>,
    #[serde(rename = "TID", deserialize_with = "present")]
    tid: Option<Value>,
    #[serde(rename = "Alias", deserialize_with = "present")]
    alias: Option<Value>,
    #[serde(rename = "AltNames", deserialize_with = "present")]
    alt_names: Option<Value>,
    #[serde(rename = "RelationType", deserialize_with = "present")]
    relation: Option<Value>,
}

impl SearchedKeys {
    /// Reads the keys of a body, without the rest of it.
    fn of(row: &EventRow) -> Self {
        let body = row.body.as_deref().unwrap_or("{}");
        serde_json::from_str(body).unwrap_or_default()
    }
}

/// Reads a value that is present, even if it is `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn event_batch(rows: &[EventRow], other_types: &mut BTreeSet<&'static str>) -> RecordBatch {
    fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
        Arc::new(values.collect::<StringArray>())
    }
    let numbers = |value: fn(&EventRow) -> i64| -> ArrayRef {
        Arc::new(rows.iter().map(value).collect::<Int64Array>())
    };
    let some = |text: &'_ Text| (!text.is_empty()).then(|| text.to_string());
    let searched: Vec<SearchedKeys> = rows.iter().map(SearchedKeys::of).collect();
    let mut of_metadata = |key: &'static str, value: fn(&SearchedKeys) -> &Option<Value>| {
        let values = searched.iter().map(|keys| match value(keys).as_ref()? {
            Value::Text(text) => Some(text.as_str()),
            _ => {
                other_types.insert(key);
                None
            }
        });
        texts(values)
    };
    let kind = of_metadata("Type", |keys| &keys.kind);
    let name = of_metadata("Name", |keys| &keys.name);
    let tid = of_metadata("TID", |keys| &keys.tid);
    let alias = of_metadata("Alias", |keys| &keys.alias);
    let relation = of_metadata("RelationType", |keys| &keys.relation);
    // As JSON: the only column of a list.
    let alt_names = searched.iter().map(|keys| keys.alt_names.as_ref());
    let alt_names = alt_names.map(|names| serde_json::to_string(names?).ok());
    let alt_names: ArrayRef = Arc::new(alt_names.collect::<StringArray>());
    let hosts: Vec<_> = rows.iter().map(|row| some(&row.host)).collect();
    let origins: Vec<_> = rows.iter().map(|row| some(&row.origin)).collect();
    let parents = rows
        .iter()
        .map(|row| row.ends.as_ref().map(|(parent, _)| parent.as_str()));
    let children = rows
        .iter()
        .map(|row| row.ends.as_ref().map(|(_, child)| child.as_str()));
    let arrays: Vec<ArrayRef> = vec![
        texts(rows.iter().map(|row| Some(row.id.as_str()))),
        numbers(|row| row.seq),
        numbers(|row| if row.born == 0 { row.seq } else { row.born }),
        numbers(|row| row.time),
        numbers(|row| row.recorded),
        texts(rows.iter().map(|row| Some(row.event.name()))),
        texts(hosts.iter().map(Option::as_deref)),
        texts(origins.iter().map(Option::as_deref)),
        kind,
        name,
        tid,
        alias,
        alt_names,
        relation,
        texts(parents),
        texts(children),
        numbers(|row| row.created_at),
        numbers(|row| row.revision),
        texts(rows.iter().map(|row| row.body.as_deref())),
    ];
    RecordBatch::try_new(schema(EVENT_COLUMNS), arrays)
        .expect("the arrays have the types and the length of the columns")
}

fn counter_batch(rows: &[EventRow]) -> RecordBatch {
    let mut ids = StringBuilder::new();
    let (mut hosts, mut origins) = (StringBuilder::new(), StringBuilder::new());
    let mut head: [Int64Builder; 5] = Default::default();
    let mut counters: Vec<Int64Builder> = (COUNTER_HEAD..COUNTER_COLUMNS.len())
        .map(|_| Int64Builder::new())
        .collect();
    for row in rows {
        ids.append_value(row.id.as_str());
        hosts.append_value(row.host.as_str());
        origins.append_value(row.origin.as_str());
        let numbers = [
            row.seq,
            row.time,
            row.recorded,
            row.created_at,
            row.revision,
        ];
        for (builder, number) in head.iter_mut().zip(numbers) {
            builder.append_value(number);
        }
        let body = row.body.as_deref().map(parse_body).unwrap_or_default();
        let values = COUNTER_KEYS.iter().flat_map(|key| {
            let object = match body.get(key) {
                Some(Value::Map(object)) => Some(object),
                _ => None,
            };
            COUNTERS.iter().map(move |name| match object?.get(name) {
                Some(Value::Int(number)) => Some(*number),
                _ => None,
            })
        });
        for (builder, value) in counters.iter_mut().zip(values) {
            builder.append_option(value);
        }
    }
    let [mut seq, mut time, mut recorded, mut created, mut revision] = head;
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(ids.finish()),
        Arc::new(seq.finish()),
        Arc::new(time.finish()),
        Arc::new(recorded.finish()),
        Arc::new(hosts.finish()),
        Arc::new(origins.finish()),
        Arc::new(created.finish()),
        Arc::new(revision.finish()),
    ];
    arrays.extend(
        counters
            .iter_mut()
            .map(|builder| Arc::new(builder.finish()) as ArrayRef),
    );
    RecordBatch::try_new(schema(COUNTER_COLUMNS), arrays)
        .expect("the arrays have the types and the length of the columns")
}

impl GraphSegment {
    /// Opens a committed segment or snapshot and reads the footers of its files.
    ///
    /// # Errors
    /// Returns an error if a file is missing, has another length than when it was written, or has
    /// an invalid footer.
    pub(super) fn open(disk: &dyn Disk, folder: &Path, name: Name) -> io::Result<Self> {
        let sums = segment_folder::read_sums(disk, folder)?;
        let first = match name {
            Name::Snapshot(_) => ELEMENT_FILE,
            Name::Segment(..) | Name::Log(_) => EVENT_FILE,
        };
        let has_counters = sums.iter().any(|sum| sum.name == COUNTER_FILE);
        let event = segment_folder::open_file(disk, folder, &sums, first)?;
        let counter = has_counters
            .then(|| segment_folder::open_file(disk, folder, &sums, COUNTER_FILE))
            .transpose()?;
        Ok(Self {
            name,
            folder: folder.to_owned(),
            span: GraphSpan::read(&event)?,
            event,
            counter,
        })
    }

    /// Returns whether a column contains the metadata value in all rows: no row has a value of
    /// another type.
    pub(super) fn is_whole_column(&self, column: &str) -> bool {
        let others = self.event.property(OTHER_TYPES);
        others.is_some_and(|others| others.split(',').all(|other| other != column))
    }

    /// Returns the size in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.event.bytes() + self.counter.as_ref().map_or(0, ParquetFile::bytes)
    }

    /// Returns the files with their names.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &ParquetFile)> {
        let first = match self.name {
            Name::Snapshot(_) => ELEMENT_FILE,
            Name::Segment(..) | Name::Log(_) => EVENT_FILE,
        };
        let counter = self.counter.as_ref().map(|file| (COUNTER_FILE, file));
        [(first, &self.event)].into_iter().chain(counter)
    }

    /// Returns the number of rows.
    pub(super) fn rows(&self) -> usize {
        self.event.rows() + self.counter.as_ref().map_or(0, ParquetFile::rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_their_columns() {
        let names = COUNTER_KEYS
            .iter()
            .flat_map(|key| COUNTERS.iter().map(move |name| format!("{key}.{name}")));
        let columns = COUNTER_COLUMNS[COUNTER_HEAD..]
            .iter()
            .map(|column| column.name);
        assert_eq!(names.collect::<Vec<_>>(), columns.collect::<Vec<_>>());
    }
}
