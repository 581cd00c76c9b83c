//! Parquet files of the history: columns, writer settings, and selective reading.
//!
//! Columns are flat and have the names of query keys, such as `Network.A`. Files are compressed with
//! zstd level 1; counters are stored with split bytes (`BYTE_STREAM_SPLIT`), times and numbers as
//! differences (`DELTA_BINARY_PACKED`), repeated text with a dictionary.

use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parking_lot::Mutex;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, PageIndexPolicy};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::reader::{ChunkReader, Length};
use parquet::schema::types::ColumnPath;

use super::disk::Disk;
use super::summed_file::{SequentialReader, SummedReader, SummedWriter, invalid};
use super::sums::Sum;
use crate::file_use::FileUse;

/// Column of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Name: the key of queries.
    pub(super) name: &'static str,
    /// Type and encoding.
    pub(super) kind: ColumnKind,
    /// Index with which readers skip parts of the file.
    pub(super) index: ColumnIndex,
}

/// Type and encoding of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnKind {
    /// Text that repeats.
    Text,
    /// Text that is different in most rows.
    Unique,
    /// Counter or duration, 64 bits.
    Counter,
    /// Time in Unix milliseconds, sequence number, or ordinal, 64 bits.
    Number,
    /// Small number, 32 bits.
    Small,
    /// Row of another file, 32 bits, ascending.
    Ordinal,
    /// Bytes.
    Binary,
}

/// Index with which readers skip parts of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnIndex {
    /// Minimum and maximum of each row group.
    Chunk,
    /// Minimum and maximum of each page.
    Page,
    /// Minimum and maximum of each page, and a Bloom filter of each row group.
    Bloom,
}

impl Column {
    pub(super) const fn new(name: &'static str, kind: ColumnKind) -> Self {
        Self {
            name,
            kind,
            index: ColumnIndex::Chunk,
        }
    }

    pub(super) const fn indexed(self, index: ColumnIndex) -> Self {
        Self { index, ..self }
    }

    fn field(&self) -> Field {
        let data_type = match self.kind {
            ColumnKind::Text | ColumnKind::Unique => DataType::Utf8,
            ColumnKind::Counter | ColumnKind::Number => DataType::Int64,
            ColumnKind::Small | ColumnKind::Ordinal => DataType::Int32,
            ColumnKind::Binary => DataType::Binary,
        };
        Field::new(self.name, data_type, true)
    }
}

/// Returns the Arrow schema of columns.
pub(super) fn schema(columns: &[Column]) -> SchemaRef {
    let fields: Vec<Field> = columns.iter().map(Column::field).collect();
    Arc::new(Schema::new(fields))
}

/// Writer of one Parquet file of a segment.
pub(super) struct ParquetWriter {
    name: &'static str,
    writer: ArrowWriter<SummedWriter>,
}

impl ParquetWriter {
    /// Creates a file in a folder. `properties` are stored in its footer.
    pub(super) fn create(
        disk: &dyn Disk,
        folder: &Path,
        name: &'static str,
        columns: &[Column],
        properties: &[(&str, String)],
    ) -> io::Result<Self> {
        let file = SummedWriter::create(disk, &folder.join(name))?;
        let options = ArrowWriterOptions::new()
            .with_properties(writer_properties(columns, properties))
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(file, schema(columns), options);
        Ok(Self {
            name,
            writer: writer.map_err(into_io)?,
        })
    }

    /// Appends rows.
    pub(super) fn write(&mut self, rows: &RecordBatch) -> io::Result<()> {
        self.writer.write(rows).map_err(into_io)
    }

    /// Adds a property to the footer.
    pub(super) fn set_property(&mut self, key: &str, value: String) {
        self.writer
            .append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }

    /// Writes the page indexes and the footer, and makes the file durable. Returns its sums.
    pub(super) fn finish(self) -> io::Result<Sum> {
        let file = self.writer.into_inner().map_err(into_io)?;
        file.finish(self.name)
    }
}

fn writer_properties(columns: &[Column], properties: &[(&str, String)]) -> WriterProperties {
    let own = [
        ("skyd.schema", SCHEMA.to_string()),
        ("skyd.version", VERSION.to_owned()),
    ];
    let pairs = own.iter().chain(properties);
    let pairs = pairs.map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone()));
    let level = ZstdLevel::try_new(1).unwrap_or_default();
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_key_value_metadata(Some(pairs.collect()));
    for column in columns {
        let path = ColumnPath::new(vec![column.name.to_owned()]);
        builder = match column.kind {
            ColumnKind::Text => builder,
            ColumnKind::Unique | ColumnKind::Binary => {
                builder.set_column_dictionary_enabled(path.clone(), false)
            }
            ColumnKind::Counter => builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path.clone(), Encoding::BYTE_STREAM_SPLIT),
            ColumnKind::Number | ColumnKind::Ordinal => builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED),
            ColumnKind::Small => builder,
        };
        if column.index != ColumnIndex::Chunk {
            builder = builder.set_column_statistics_enabled(path.clone(), EnabledStatistics::Page);
        }
        if column.index == ColumnIndex::Bloom {
            builder = builder
                .set_column_bloom_filter_enabled(path.clone(), true)
                .set_column_bloom_filter_fpp(path.clone(), BLOOM_FALSE_POSITIVES)
                .set_column_bloom_filter_max_ndv(path, ROW_GROUP_ROWS as u64);
        }
    }
    builder.build()
}

/// Parquet file that is open for reading. Threads can share it, and it can still be read after its
/// removal.
#[derive(Clone, Debug)]
pub(super) struct ParquetFile {
    file: Arc<SummedReader>,
    metadata: ArrowReaderMetadata,
}

impl ParquetFile {
    /// Opens a file of a folder and reads its footer.
    ///
    /// Everything that is read from the file, now and later, is compared with the checksums in
    /// `sum`: Parquet itself would return wrong rows for a damaged page that can still be
    /// decompressed.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, differs from `sum`, is not a Parquet file, or
    /// has more rows than this version writes.
    pub(super) fn open(disk: &dyn Disk, folder: &Path, sum: &Sum) -> io::Result<Self> {
        let file = Arc::new(SummedReader::open(disk, folder, sum)?);
        let options = ArrowReaderOptions::new()
            .with_page_index_policy(PageIndexPolicy::Optional)
            .with_skip_arrow_metadata(true);
        let shared = SharedFile::new(&file);
        let metadata = ArrowReaderMetadata::load(&shared, options);
        let metadata = metadata.map_err(|error| shared.error(error))?;
        let groups = metadata.metadata().row_groups();
        let is_too_large = |rows: i64| !(0..=MAX_ROWS).contains(&rows);
        let rows: i64 = groups
            .iter()
            .map(|group| group.num_rows())
            .fold(0, i64::saturating_add);
        if is_too_large(rows) || groups.iter().any(|group| is_too_large(group.num_rows())) {
            return Err(invalid(format!(
                "{rows} rows exceed the limit of {MAX_ROWS}"
            )));
        }
        let opened = Self { file, metadata };
        match opened
            .property("skyd.schema")
            .and_then(|text| text.parse::<u32>().ok())
        {
            Some(found) if found <= SCHEMA => Ok(opened),
            Some(found) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("format {found} is newer than the supported format {SCHEMA}"),
            )),
            None => Err(invalid("the property skyd.schema is missing".to_owned())),
        }
    }

    /// Returns a property of the footer.
    pub(super) fn property(&self, key: &str) -> Option<&str> {
        let properties = self
            .metadata
            .metadata()
            .file_metadata()
            .key_value_metadata()?;
        let pair = properties.iter().find(|pair| pair.key == key)?;
        pair.value.as_deref()
    }

    /// Returns an integer property of the footer.
    pub(super) fn number(&self, key: &str) -> Option<i64> {
        self.property(key)?.parse().ok()
    }

    /// Returns the number of rows.
    pub(super) fn rows(&self) -> usize {
        let groups = self.metadata.metadata().row_groups();
        let rows: i64 = groups.iter().map(|group| group.num_rows()).sum();
        usize::try_from(rows).unwrap_or_default()
    }

    /// Returns the length in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.file.length()
    }

    /// Reads columns, of all rows or of a selection. Unknown columns are ignored.
    pub(super) fn batches(
        &self,
        wanted: impl Fn(&str) -> bool,
        selection: Option<RowSelection>,
    ) -> io::Result<Batches> {
        let fields = self.metadata.schema().fields().iter().enumerate();
        // By position: the names have dots, which `ProjectionMask::columns` takes for groups.
        let roots = fields
            .filter(|(_, field)| wanted(field.name()))
            .map(|(root, _)| root);
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), roots);
        let file = SharedFile::new(&self.file);
        let mut builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), self.metadata.clone())
                .with_batch_size(PAGE_ROWS)
                .with_projection(mask);
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        let reader = builder.build().map_err(|error| file.error(error))?;
        Ok(Batches { reader, file })
    }

    /// Returns a reader of a row group's index, for each row group with its range of rows.
    pub(super) fn groups(&self) -> impl Iterator<Item = RowGroup<'_>> {
        let mut next = 0;
        let groups = self.metadata.metadata().row_groups().iter().enumerate();
        groups.map(move |(number, group)| {
            let first = next;
            next += usize::try_from(group.num_rows()).unwrap_or_default();
            RowGroup {
                file: self,
                number,
                rows: first..next,
            }
        })
    }

    /// Returns the numbers of rows and pages that a read of `ranges` covers; the ranges are
    /// ascending, and `None` means all rows.
    pub(super) fn file_use(
        &self,
        name: String,
        ranges: Option<&[std::ops::Range<usize>]>,
        reason: impl Into<String>,
    ) -> FileUse {
        let all = 0..self.rows();
        let ranges = ranges.unwrap_or(std::slice::from_ref(&all));
        let mut pages = 0;
        let mut hit = 0;
        for group in self.groups() {
            // Pages of the first column: those of others begin at other rows.
            for page in group.pages(0, |_, _| true) {
                pages += 1;
                let next = ranges.partition_point(|range| range.end <= page.start);
                hit += usize::from(ranges.get(next).is_some_and(|range| range.start < page.end));
            }
        }
        let rows = ranges.iter().map(std::ops::Range::len).sum();
        FileUse::new(name, reason)
            .of(self.rows(), pages)
            .reads(rows, hit)
    }

    /// Returns whether a column may have a value in any row: reading a column has a fixed cost, which
    /// is a large part of a query that needs few rows.
    pub(super) fn has_values(&self, name: &str) -> bool {
        let Some(root) = self.column(name) else {
            return false;
        };
        let mut groups = self.metadata.metadata().row_groups().iter();
        groups.any(|group| {
            let nulls = group.column(root).statistics();
            let nulls = nulls.and_then(|statistics| statistics.null_count_opt());
            nulls.is_none_or(|nulls| nulls != group.num_rows().unsigned_abs())
        })
    }

    fn column(&self, name: &str) -> Option<usize> {
        let mut fields = self.metadata.schema().fields().iter();
        fields.position(|field| field.name() == name)
    }
}

/// Batches of rows of a file.
pub(super) struct Batches {
    reader: ParquetRecordBatchReader,
    file: SharedFile,
}

impl Iterator for Batches {
    type Item = io::Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(batch.map_err(|error| self.file.error(error.into())))
    }
}

/// Indexes of a row group.
pub(super) struct RowGroup<'a> {
    file: &'a ParquetFile,
    number: usize,
    /// Rows of the file that belong to the group.
    pub(super) rows: std::ops::Range<usize>,
}

impl RowGroup<'_> {
    /// Returns the ranges of rows whose pages may contain a string in a column.
    pub(super) fn rows_with_text(&self, column: &str, text: &str) -> Vec<std::ops::Range<usize>> {
        self.rows_with_texts(column, &[text])
    }

    /// Returns the ranges of rows whose pages may contain one of the strings in a column; `texts`
    /// must be in ascending order.
    pub(super) fn rows_with_texts(
        &self,
        column: &str,
        texts: &[&str],
    ) -> Vec<std::ops::Range<usize>> {
        let Some(root) = self.file.column(column) else {
            return Vec::new();
        };
        let texts = self.allowed_by_bloom(root, texts);
        if texts.is_empty() {
            return Vec::new();
        }
        self.pages(root, |index, page| match index {
            ColumnIndexMetaData::BYTE_ARRAY(index) => {
                // Long values are truncated: the maximum is then rounded up, the minimum down.
                let least = index.min_value(page).unwrap_or_default();
                let first = texts.partition_point(|text| text.as_bytes() < least);
                let most = index.max_value(page);
                let is_in = |text: &&str| most.is_none_or(|most| text.as_bytes() <= most);
                texts.get(first).is_some_and(is_in)
            }
            _ => true,
        })
    }

    /// Returns the ranges of rows whose pages may contain a number within a range in a column.
    pub(super) fn rows_with_number(
        &self,
        column: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Vec<std::ops::Range<usize>> {
        let Some(root) = self.file.column(column) else {
            return Vec::new();
        };
        self.pages(root, |index, page| match index {
            ColumnIndexMetaData::INT64(index) => {
                let least = index.min_value(page);
                let most = index.max_value(page);
                least.is_none_or(|least| least <= range.end())
                    && most.is_none_or(|most| most >= range.start())
            }
            ColumnIndexMetaData::INT32(index) => {
                let least = index.min_value(page).copied().map(i64::from);
                let most = index.max_value(page).copied().map(i64::from);
                least.is_none_or(|least| least <= *range.end())
                    && most.is_none_or(|most| most >= *range.start())
            }
            _ => true,
        })
    }

    /// Returns the ranges of rows whose pages pass a test of their statistics; all rows without a
    /// page index.
    fn pages(
        &self,
        root: usize,
        test: impl Fn(&ColumnIndexMetaData, usize) -> bool,
    ) -> Vec<std::ops::Range<usize>> {
        let metadata = self.file.metadata.metadata();
        let index = metadata.column_index();
        let index = index.and_then(|groups| groups.get(self.number)?.get(root));
        let offsets = metadata.offset_index();
        let offsets = offsets.and_then(|groups| groups.get(self.number)?.get(root));
        let (Some(index), Some(offsets)) = (index, offsets) else {
            return vec![self.rows.clone()];
        };
        let pages = offsets.page_locations();
        if index.num_pages() != pages.len() as u64 {
            return vec![self.rows.clone()];
        }
        let start = |page: usize| {
            let first = pages.get(page).map(|page| page.first_row_index);
            let first = first.and_then(|row| usize::try_from(row).ok());
            first.map_or(self.rows.end, |row| {
                (self.rows.start + row).min(self.rows.end)
            })
        };
        let hits = (0..pages.len()).filter(|page| !index.is_null_page(*page) && test(index, *page));
        hits.map(|page| start(page)..start(page + 1)).collect()
    }

    /// Returns the strings that the Bloom filter of a column does not exclude.
    fn allowed_by_bloom<'t>(&self, root: usize, texts: &[&'t str]) -> Vec<&'t str> {
        let all = || texts.to_vec();
        if texts.len() > MAX_BLOOM_CHECKS {
            return all();
        }
        let file = SharedFile::new(&self.file.file);
        let metadata = self.file.metadata.clone();
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
        match builder.get_row_group_column_bloom_filter(self.number, root) {
            Ok(Some(filter)) => {
                let allowed = texts.iter().filter(|text| filter.check(**text));
                allowed.copied().collect()
            }
            Ok(None) | Err(_) => all(),
        }
    }
}

/// Returns a selection of ascending ranges of rows; ranges may touch or overlap.
pub(super) fn selection(
    ranges: impl IntoIterator<Item = std::ops::Range<usize>>,
    rows: usize,
) -> RowSelection {
    let mut selectors: Vec<RowSelector> = Vec::new();
    let mut next = 0;
    for range in ranges {
        let (start, end) = (range.start.max(next), range.end.min(rows));
        if start >= end {
            continue;
        }
        if start > next {
            selectors.push(RowSelector::skip(start - next));
        }
        selectors.push(RowSelector::select(end - start));
        next = end;
    }
    if next < rows {
        selectors.push(RowSelector::skip(rows - next));
    }
    selectors.into()
}

/// File as the readers of Parquet use it.
#[derive(Clone, Debug)]
struct SharedFile {
    file: Arc<SummedReader>,
    /// Error of the last read; the readers of Parquet return only its message.
    failed: Arc<Mutex<Option<io::Error>>>,
}

impl SharedFile {
    fn new(file: &Arc<SummedReader>) -> Self {
        Self {
            file: Arc::clone(file),
            failed: Arc::default(),
        }
    }

    /// Returns the error of the read that made a reader fail, or the error of the reader.
    fn error(&self, error: ParquetError) -> io::Error {
        self.failed.lock().take().unwrap_or_else(|| into_io(error))
    }
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.file.length()
    }
}

impl ChunkReader for SharedFile {
    type T = SequentialReader;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(SequentialReader::new(Arc::clone(&self.file), start))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.file.read(start, length).map_err(|error| {
            let text = ParquetError::General(error.to_string());
            *self.failed.lock() = Some(error);
            text
        })
    }
}

/// Returns the error of the operating system inside an error of Parquet, or invalid data.
fn into_io(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(source) => io::Error::new(io::ErrorKind::InvalidData, source),
        },
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

/// Returns whether a read error means that a file is damaged, not that the disk failed.
pub(super) fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
}

/// Format of the files; higher formats are neither read nor removed.
const SCHEMA: u32 = 1;
/// Version of the program, for people who look at a file.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Maximum number of rows of a row group.
const ROW_GROUP_ROWS: usize = 128 * 1024;
/// Maximum number of rows of a page, and number of rows of a batch of a reader.
pub(super) const PAGE_ROWS: usize = 8192;
/// Number of strings above which a Bloom filter excludes too little to be worth reading.
const MAX_BLOOM_CHECKS: usize = 1024;
/// Share of false positives of a Bloom filter.
const BLOOM_FALSE_POSITIVES: f64 = 0.01;
/// Maximum number of rows of a file: ordinals of flows have 32 bits.
const MAX_ROWS: i64 = i32::MAX as i64;
