//! `BatchBuilder`: creates a record batch from rows.

use std::sync::Arc;

use arrow_array::builder::{
    Int64Builder, StringBuilder, StringDictionaryBuilder, TimestampMillisecondBuilder,
};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::ArrowError;

use super::{Column, UTC, Value, schema};

/// Builder of one record batch.
///
/// Rows are appended in blocks that fit in the processor's cache: a row is larger than ten cache lines,
/// and every column reads all rows.
pub(crate) struct BatchBuilder<T: 'static> {
    columns: &'static [Column<T>],
    arrays: Vec<Array<T>>,
    len: usize,
}

impl<T> BatchBuilder<T> {
    /// Returns an empty builder.
    pub(crate) fn new(columns: &'static [Column<T>]) -> Self {
        Self {
            columns,
            arrays: columns.iter().map(Array::new).collect(),
            len: 0,
        }
    }

    /// Returns the number of rows.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Appends rows.
    pub(crate) fn append(&mut self, rows: &[T]) -> Result<(), ArrowError> {
        for block in rows.chunks(BLOCK_ROWS) {
            for array in &mut self.arrays {
                array.append(block)?;
            }
        }
        self.len += rows.len();
        Ok(())
    }

    /// Returns the rows as a batch.
    pub(crate) fn finish(self) -> Result<RecordBatch, ArrowError> {
        let arrays = self.arrays.into_iter().map(Array::finish).collect();
        RecordBatch::try_new(schema(self.columns), arrays)
    }
}

/// Values of one column so far, with the function that returns the value of a row.
enum Array<T> {
    Text(StringBuilder, fn(&T) -> &str),
    Name(StringDictionaryBuilder<Int32Type>, fn(&T) -> &str),
    Owned(StringBuilder, fn(&T) -> String),
    Int(Int64Builder, fn(&T) -> Option<i64>),
    Time(TimestampMillisecondBuilder, fn(&T) -> Option<i64>),
}

impl<T> Array<T> {
    fn new(column: &Column<T>) -> Self {
        match column.value {
            Value::Text(get) => Self::Text(StringBuilder::new(), get),
            Value::Name(get) => Self::Name(StringDictionaryBuilder::new(), get),
            Value::Owned(get) => Self::Owned(StringBuilder::new(), get),
            Value::Int(get) => Self::Int(Int64Builder::new(), get),
            Value::Time(get) => {
                let builder = TimestampMillisecondBuilder::new().with_timezone(UTC);
                Self::Time(builder, get)
            }
        }
    }

    fn append(&mut self, rows: &[T]) -> Result<(), ArrowError> {
        match self {
            Self::Text(builder, get) => {
                for row in rows {
                    builder.append_option(Some(get(row)).filter(|text| !text.is_empty()));
                }
            }
            Self::Name(builder, get) => {
                // Neighboring rows often have the same name: each run is looked up once.
                for run in rows.chunk_by(|row, next| get(row) == get(next)) {
                    match run.first().map_or("", |row| get(row)) {
                        "" => builder.append_nulls(run.len()),
                        name => {
                            builder.append_n(name, run.len())?;
                        }
                    }
                }
            }
            Self::Owned(builder, get) => {
                rows.iter().for_each(|row| builder.append_value(get(row)));
            }
            Self::Int(builder, get) => {
                rows.iter().for_each(|row| builder.append_option(get(row)));
            }
            Self::Time(builder, get) => {
                for row in rows {
                    builder.append_option(get(row).filter(|time| *time != 0));
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(mut builder, _) | Self::Owned(mut builder, _) => Arc::new(builder.finish()),
            Self::Name(mut builder, _) => Arc::new(builder.finish()),
            Self::Int(mut builder, _) => Arc::new(builder.finish()),
            Self::Time(mut builder, _) => Arc::new(builder.finish()),
        }
    }
}

/// Number of rows in a block.
const BLOCK_ROWS: usize = 256;
