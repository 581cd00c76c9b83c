//! Rows of the files of the graph: all of them, those of some ids, or only some columns.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, Int64Array, RecordBatch, StringArray};

use super::event_row::{COUNTER_KEYS, COUNTERS, EventKind, EventRow};
use super::flow_segment::{long, text};
use super::graph_segment::GraphSegment;
use super::parquet_file::{ParquetFile, selection};
use super::sorted_merge::{Rows, rows_of};
use super::summed_file::invalid;
use crate::file_use::FileUse;
use crate::filter::{Fields, Filter, Predicate};
use crate::graph::{ElementKey, Metadata};
use crate::value::{Text, Value};

/// Rows of a segment in the order of ids and numbers: an input of a merge.
pub(super) type GraphRows = Rows<(Text, i64), EventRow>;

/// Rows of the files of a segment, as ascending ranges.
#[derive(Debug, Default)]
pub(super) struct ChosenRows {
    event: Vec<Range<usize>>,
    counter: Vec<Range<usize>>,
}

impl ChosenRows {
    pub(super) const fn is_empty(&self) -> bool {
        self.event.is_empty() && self.counter.is_empty()
    }
}

/// Part of the columns to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Everything: the body has the metadata of all columns.
    Whole,
    /// Ids, kinds, and times: for segments after the time of a reader, of which only the next change
    /// of an element matters.
    Heads,
}

impl GraphSegment {
    /// Reads all rows, events and counters each in the order of ids and numbers.
    pub(super) fn inputs(&self) -> io::Result<Vec<GraphRows>> {
        self.read(None, Detail::Whole)
    }

    /// Finds the rows of ids, which must be in ascending order.
    pub(super) fn rows_of_ids(&self, ids: &[&str]) -> io::Result<ChosenRows> {
        let of_counters = self.counter.as_ref().map(|file| rows_of_ids(file, ids));
        Ok(ChosenRows {
            event: rows_of_ids(&self.event, ids)?,
            counter: of_counters.transpose()?.unwrap_or_default(),
        })
    }

    /// Reads chosen rows, or all.
    pub(super) fn read(
        &self,
        chosen: Option<&ChosenRows>,
        detail: Detail,
    ) -> io::Result<Vec<GraphRows>> {
        let batches = |file: &ParquetFile, ranges: Option<&Vec<Range<usize>>>| {
            let chosen = ranges.map(|ranges| selection(ranges.iter().cloned(), file.rows()));
            let is_wanted = |column: &str| match detail {
                Detail::Whole => !METADATA_COLUMNS.contains(&column),
                Detail::Heads => HEADS.contains(&column),
            };
            file.batches(is_wanted, chosen)
        };
        let (events, counters) = match detail {
            Detail::Whole => (event_rows as Convert, counter_rows as Convert),
            Detail::Heads => (head_rows as Convert, counter_heads as Convert),
        };
        let event = batches(&self.event, chosen.map(|chosen| &chosen.event))?;
        let mut inputs = vec![rows_of(event, events)];
        if let Some(counter) = &self.counter {
            let counter = batches(counter, chosen.map(|chosen| &chosen.counter))?;
            inputs.push(rows_of(counter, counters));
        }
        Ok(inputs)
    }

    /// Returns the part of each file that [`GraphSegment::read`] reads.
    pub(super) fn file_uses(&self, chosen: Option<&ChosenRows>, reason: &str) -> Vec<FileUse> {
        let chosen = chosen.map(|chosen| [&chosen.event[..], &chosen.counter[..]]);
        let files = self.files().enumerate().map(|(position, (name, file))| {
            let path = format!("graph/{}/{name}", self.name);
            file.file_use(path, chosen.map(|chosen| chosen[position]), reason)
        });
        files.collect()
    }

    /// Calls `visit` with the searched columns of each event until `poll`, which is called for each
    /// batch, returns an error.
    pub(super) fn visit_columns(
        &self,
        wanted: &[&str],
        mut visit: impl FnMut(&ColumnRow<'_>),
        mut poll: impl FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        let is_wanted =
            |column: &str| wanted.contains(&column) || ["ID", "Event", "Time"].contains(&column);
        for batch in self.event.batches(is_wanted, None)? {
            poll()?;
            let batch = batch?;
            let columns = Columns::of(&batch)?;
            for index in 0..batch.num_rows() {
                visit(&ColumnRow {
                    columns: &columns,
                    index,
                });
            }
        }
        Ok(())
    }
}

type Convert = fn(&RecordBatch) -> io::Result<Vec<((Text, i64), EventRow)>>;

/// Columns that a search reads; `None` for those that it does not need.
struct Columns<'b> {
    id: &'b StringArray,
    event: &'b StringArray,
    time: &'b Int64Array,
    /// Columns of [`SEARCHED`], in its order.
    texts: [Option<&'b StringArray>; SEARCHED.len()],
}

impl<'b> Columns<'b> {
    fn of(batch: &'b RecordBatch) -> io::Result<Self> {
        Ok(Self {
            id: text(batch, "ID").ok_or_else(missing)?,
            event: text(batch, "Event").ok_or_else(missing)?,
            time: long(batch, "Time").ok_or_else(missing)?,
            texts: SEARCHED.map(|column| text(batch, column)),
        })
    }
}

/// Row of an event whose columns are tested without its body.
pub(super) struct ColumnRow<'b> {
    columns: &'b Columns<'b>,
    index: usize,
}

impl ColumnRow<'_> {
    pub(super) fn id(&self) -> &str {
        self.columns.id.value(self.index)
    }

    pub(super) fn time(&self) -> i64 {
        self.columns.time.value(self.index)
    }

    pub(super) fn is_edge(&self) -> bool {
        self.columns.event.value(self.index).starts_with("Edge")
    }

    /// Returns the text of a column of [`SEARCHED`]; `None` if it is null or was not read.
    pub(super) fn text(&self, column: &str) -> Option<&str> {
        let position = SEARCHED.iter().position(|name| *name == column)?;
        let array = self.columns.texts[position]?;
        array.is_valid(self.index).then(|| array.value(self.index))
    }
}

impl Fields<ElementKey> for ColumnRow<'_> {
    fn test(&self, key: &ElementKey, predicate: &Predicate) -> bool {
        match (key, column_of(key)) {
            (ElementKey::Id, _) => predicate.matches_text(self.id()),
            // Every element has a host and an origin, which may be empty.
            (ElementKey::Host | ElementKey::Origin, Some(column)) => {
                predicate.matches_text(self.text(column).unwrap_or_default())
            }
            (_, Some("AltNames")) => {
                let names = self.text("AltNames");
                let names = names.and_then(|json| serde_json::from_str::<Value>(json).ok());
                names.is_some_and(|names| predicate.matches(&names))
            }
            (_, Some(column)) => {
                let text = self.text(column);
                text.is_some_and(|text| predicate.matches_text(text))
            }
            (_, None) => false,
        }
    }
}

/// Returns the column that contains a field of an edge or a node; `None` if only the body does.
fn column_of(key: &ElementKey) -> Option<&'static str> {
    match key {
        ElementKey::Id => Some("ID"),
        ElementKey::Host => Some("Host"),
        ElementKey::Origin => Some("Origin"),
        ElementKey::Parent(_) => Some("Parent"),
        ElementKey::Child(_) => Some("Child"),
        ElementKey::Metadata(key) => {
            let mut columns = METADATA_COLUMNS.iter();
            columns
                .find(|column| **column == key.name().as_str())
                .copied()
        }
        _ => None,
    }
}

/// Part of a filter that columns decide, and these columns.
pub(super) struct ColumnFilter {
    pub(super) filter: Filter<ElementKey>,
    pub(super) columns: Vec<&'static str>,
}

impl ColumnFilter {
    /// Returns the conditions of a filter on edges, or on nodes, that columns decide; `None` if there
    /// are none.
    pub(super) fn of(filter: &Filter<ElementKey>, is_edge: bool) -> Option<Self> {
        let mut columns = Vec::new();
        let part = column_part(filter, is_edge, &mut columns);
        (!part.is_everything() && !columns.is_empty()).then_some(Self {
            filter: part,
            columns,
        })
    }

    /// Returns whether a segment has the columns in a form that decides.
    pub(super) fn is_decided_by(&self, segment: &GraphSegment) -> bool {
        let mut of_metadata = self
            .columns
            .iter()
            .filter(|column| METADATA_COLUMNS.contains(column));
        of_metadata.all(|column| segment.is_whole_column(column))
    }
}

fn column_part(
    filter: &Filter<ElementKey>,
    is_edge: bool,
    columns: &mut Vec<&'static str>,
) -> Filter<ElementKey> {
    match filter {
        Filter::All(filters) => {
            let parts = filters.iter();
            let parts = parts.map(|filter| column_part(filter, is_edge, columns));
            Filter::All(parts.filter(|part| !part.is_everything()).collect())
        }
        other => {
            let mut needed = Vec::new();
            if add_columns(other, is_edge, &mut needed) {
                columns.extend(needed);
                other.clone()
            } else {
                Filter::everything()
            }
        }
    }
}

/// Adds the columns of a filter; returns whether they decide it.
fn add_columns(
    filter: &Filter<ElementKey>,
    is_edge: bool,
    columns: &mut Vec<&'static str>,
) -> bool {
    match filter {
        Filter::All(filters) | Filter::Any(filters) => filters
            .iter()
            .all(|filter| add_columns(filter, is_edge, columns)),
        Filter::Not(filter) => add_columns(filter, is_edge, columns),
        // On a node, these are keys of its metadata.
        Filter::Test(ElementKey::Parent(_) | ElementKey::Child(_), _) if !is_edge => false,
        Filter::Test(key, _) => {
            let column = column_of(key);
            columns.extend(column);
            column.is_some()
        }
    }
}

/// Finds the rows of ids, in ascending order, in a file whose rows are in the order of ids.
fn rows_of_ids(file: &ParquetFile, ids: &[&str]) -> io::Result<Vec<Range<usize>>> {
    let mut pages = Vec::new();
    for group in file.groups() {
        pages.extend(group.rows_with_texts("ID", ids));
    }
    let mut found: Vec<Range<usize>> = Vec::new();
    if pages.is_empty() {
        return Ok(found);
    }
    let mut numbers = pages.clone().into_iter().flatten();
    let chosen = selection(pages, file.rows());
    for batch in file.batches(|column| column == "ID", Some(chosen))? {
        let batch = batch?;
        let id = text(&batch, "ID").ok_or_else(missing)?;
        for index in 0..batch.num_rows() {
            let number = numbers.next().unwrap_or_default();
            if ids.binary_search(&id.value(index)).is_err() {
                continue;
            }
            match found.last_mut() {
                Some(last) if last.end == number => last.end += 1,
                _ => found.push(number..number + 1),
            }
        }
    }
    Ok(found)
}

fn missing() -> io::Error {
    invalid("a file of the segment lacks a required column".to_owned())
}

/// Text that is shared with the row before if it is equal, as hosts and origins mostly are.
#[derive(Default)]
struct Repeated(Text);

impl Repeated {
    fn get(&mut self, array: &StringArray, index: usize) -> Text {
        let text = match array.is_null(index) {
            true => "",
            false => array.value(index),
        };
        if self.0.as_str() != text {
            self.0 = text.into();
        }
        self.0.clone()
    }
}

fn optional(array: &StringArray, index: usize) -> Text {
    match array.is_null(index) {
        true => Text::default(),
        false => array.value(index).into(),
    }
}

fn kind(array: &StringArray, index: usize) -> io::Result<EventKind> {
    let kind = EventKind::from_name(array.value(index));
    kind.ok_or_else(|| invalid("an event has an unknown kind".to_owned()))
}

fn event_rows(batch: &RecordBatch) -> io::Result<Vec<((Text, i64), EventRow)>> {
    let texts = |name: &str| text(batch, name).ok_or_else(missing);
    let numbers = |name: &str| long(batch, name).ok_or_else(missing);
    let (id, event, host) = (texts("ID")?, texts("Event")?, texts("Host")?);
    let (origin, body) = (texts("Origin")?, texts("Body")?);
    let (parent, child) = (texts("Parent")?, texts("Child")?);
    let (seq, born, time) = (numbers("Seq")?, numbers("Born")?, numbers("Time")?);
    let (recorded, created) = (numbers("Recorded")?, numbers("CreatedAt")?);
    let revision = numbers("Revision")?;
    let (mut hosts, mut origins) = (Repeated::default(), Repeated::default());
    let row = |index: usize| {
        let event = kind(event, index)?;
        let row = EventRow {
            id: id.value(index).into(),
            seq: seq.value(index),
            born: born.value(index),
            time: time.value(index),
            recorded: recorded.value(index),
            event,
            host: hosts.get(host, index),
            origin: origins.get(origin, index),
            created_at: created.value(index),
            revision: revision.value(index),
            ends: event
                .is_edge()
                .then(|| (optional(parent, index), optional(child, index))),
            body: body.is_valid(index).then(|| body.value(index).into()),
            is_counter: false,
        };
        Ok(((row.id.clone(), row.seq), row))
    };
    (0..batch.num_rows()).map(row).collect()
}

fn head_rows(batch: &RecordBatch) -> io::Result<Vec<((Text, i64), EventRow)>> {
    let texts = |name: &str| text(batch, name).ok_or_else(missing);
    let numbers = |name: &str| long(batch, name).ok_or_else(missing);
    let (id, event) = (texts("ID")?, texts("Event")?);
    let (seq, time, created) = (numbers("Seq")?, numbers("Time")?, numbers("CreatedAt")?);
    let row = |index: usize| {
        let row = EventRow {
            id: id.value(index).into(),
            seq: seq.value(index),
            time: time.value(index),
            event: kind(event, index)?,
            created_at: created.value(index),
            ..EventRow::default()
        };
        Ok(((row.id.clone(), row.seq), row))
    };
    (0..batch.num_rows()).map(row).collect()
}

fn counter_heads(batch: &RecordBatch) -> io::Result<Vec<((Text, i64), EventRow)>> {
    let numbers = |name: &str| long(batch, name).ok_or_else(missing);
    let id = text(batch, "ID").ok_or_else(missing)?;
    let (seq, time, created) = (numbers("Seq")?, numbers("Time")?, numbers("CreatedAt")?);
    let row = |index: usize| {
        let row = EventRow {
            id: id.value(index).into(),
            seq: seq.value(index),
            time: time.value(index),
            event: EventKind::NodeUpdated,
            created_at: created.value(index),
            is_counter: true,
            ..EventRow::default()
        };
        ((row.id.clone(), row.seq), row)
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

fn counter_rows(batch: &RecordBatch) -> io::Result<Vec<((Text, i64), EventRow)>> {
    let texts = |name: &str| text(batch, name).ok_or_else(missing);
    let numbers = |name: &str| long(batch, name).ok_or_else(missing);
    let (id, host, origin) = (texts("ID")?, texts("Host")?, texts("Origin")?);
    let (seq, time, recorded) = (numbers("Seq")?, numbers("Time")?, numbers("Recorded")?);
    let (created, revision) = (numbers("CreatedAt")?, numbers("Revision")?);
    let mut counters = Vec::new();
    for key in COUNTER_KEYS {
        let columns = COUNTERS
            .iter()
            .map(|name| numbers(&format!("{key}.{name}")));
        counters.push((key, columns.collect::<io::Result<Vec<_>>>()?));
    }
    let (mut hosts, mut origins) = (Repeated::default(), Repeated::default());
    let row = |index: usize| {
        let mut body = Metadata::new();
        for (key, columns) in &counters {
            let values = COUNTERS.iter().zip(columns);
            let values = values.filter(|(_, column)| column.is_valid(index));
            let object: Metadata = values
                .map(|(name, column)| (*name, Value::Int(column.value(index))))
                .collect();
            if !object.is_empty() {
                body.set(key, object);
            }
        }
        let row = EventRow {
            id: id.value(index).into(),
            seq: seq.value(index),
            born: 0,
            time: time.value(index),
            recorded: recorded.value(index),
            event: EventKind::NodeUpdated,
            host: hosts.get(host, index),
            origin: origins.get(origin, index),
            created_at: created.value(index),
            revision: revision.value(index),
            ends: None,
            body: serde_json::to_string(&body).ok().map(Arc::from),
            is_counter: true,
        };
        Ok(((row.id.clone(), row.seq), row))
    };
    (0..batch.num_rows()).map(row).collect()
}

/// Columns of [`Detail::Heads`].
const HEADS: [&str; 5] = ["ID", "Seq", "Time", "Event", "CreatedAt"];
/// Columns that contain metadata.
const METADATA_COLUMNS: [&str; 6] = ["Type", "Name", "TID", "Alias", "AltNames", "RelationType"];
/// Columns that a search tests, besides the id.
const SEARCHED: [&str; 10] = [
    "Host",
    "Origin",
    "Type",
    "Name",
    "TID",
    "Alias",
    "AltNames",
    "RelationType",
    "Parent",
    "Child",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn test(key: &str, value: &str) -> Filter {
        Filter::test(key, Predicate::Text(value.into()))
    }

    fn columns(filter: &Filter, is_edge: bool) -> Vec<&'static str> {
        let filter = ElementKey::compile(filter);
        ColumnFilter::of(&filter, is_edge).map_or(Vec::new(), |part| part.columns)
    }

    #[test]
    fn columns_decide_conditions_that_need_no_body() {
        let filter = test("Type", "veth").and(test("State", "UP"));
        assert_eq!(columns(&filter, false), ["Type"]);
        let part = ColumnFilter::of(&ElementKey::compile(&filter), false).unwrap();
        assert!(matches!(&part.filter, Filter::All(parts) if parts.len() == 1));
        let either = Filter::Any(vec![test("Name", "a"), test("@Host", "h")]);
        assert_eq!(columns(&either, false), ["Name", "Host"]);
        let either = Filter::Any(vec![test("Name", "a"), test("State", "UP")]);
        assert!(columns(&either, false).is_empty(), "the body may decide");
        let names = ["Name", "Alias", "AltNames"].map(|key| test(key, "a"));
        let names = Filter::Any(names.to_vec());
        assert_eq!(columns(&names, false), ["Name", "Alias", "AltNames"]);
        assert_eq!(columns(&test("TID", "a").negate(), false), ["TID"]);
        assert_eq!(columns(&test("Parent", "a"), true), ["Parent"]);
        assert!(columns(&test("Parent", "a"), false).is_empty());
        assert!(columns(&test("@Revision", "1"), false).is_empty());
        assert!(columns(&Filter::everything(), false).is_empty());
    }
}
