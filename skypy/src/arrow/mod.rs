//! Arrow tables of flows, nodes, and edges: Python libraries read them without copying, through the
//! Arrow PyCapsule interface (`__arrow_c_stream__`).
//!
//! A table is a list of columns; `columns.rs` names each column, its type, and its source.
//! `batch_builder.rs` creates arrays from rows.

mod batch_builder;
mod columns;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

pub(crate) use self::batch_builder::BatchBuilder;
pub(crate) use self::columns::{EDGES, FLOWS, NODES};

/// Column: its name, and its value in a row.
pub(crate) struct Column<T> {
    name: &'static str,
    value: Value<T>,
}

/// Type of a column, with the function that returns the value of a row. An empty string and a time
/// of zero become null.
enum Value<T> {
    /// Text with many distinct values.
    Text(fn(&T) -> &str),
    /// Text with few distinct values; becomes a dictionary column.
    Name(fn(&T) -> &str),
    /// Text that is created for each row.
    Owned(fn(&T) -> String),
    Int(fn(&T) -> Option<i64>),
    /// Time in Unix milliseconds.
    Time(fn(&T) -> Option<i64>),
}

/// Returns the schema of columns.
pub(crate) fn schema<T>(columns: &[Column<T>]) -> SchemaRef {
    let field = |column: &Column<T>| {
        let data_type = match column.value {
            Value::Text(_) | Value::Owned(_) => DataType::Utf8,
            Value::Name(_) => {
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
            }
            Value::Int(_) => DataType::Int64,
            Value::Time(_) => DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into())),
        };
        Field::new(column.name, data_type, true)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// Returns batches in the capsule that `__arrow_c_stream__` must return.
pub(crate) fn capsule<'py>(
    py: Python<'py>,
    reader: impl RecordBatchReader + Send + 'static,
) -> PyResult<Bound<'py, PyCapsule>> {
    let stream = FFI_ArrowArrayStream::new(Box::new(Guarded(reader)));
    PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
}

/// Reader whose panics are errors: its caller is C code, through which a panic would end the process.
struct Guarded<R>(R);

impl<R: RecordBatchReader> Iterator for Guarded<R> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = catch_unwind(AssertUnwindSafe(|| self.0.next()));
        next.unwrap_or_else(|_| {
            let text = "internal error: creating an Arrow batch panicked";
            Some(Err(ArrowError::ComputeError(text.to_owned())))
        })
    }
}

impl<R: RecordBatchReader> RecordBatchReader for Guarded<R> {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }
}

/// Returns rows as a capsule. Batches are created when they are read.
pub(crate) fn rows_capsule<'py, T, R>(
    py: Python<'py>,
    columns: &'static [Column<T>],
    rows: R,
) -> PyResult<Bound<'py, PyCapsule>>
where
    T: Send + Sync + 'static,
    R: AsRef<[T]> + Send + 'static,
{
    let mut start = 0;
    let batches = std::iter::from_fn(move || {
        let rest = rows.as_ref().get(start..)?;
        let rows = &rest[..rest.len().min(BATCH_ROWS)];
        start += rows.len();
        (!rows.is_empty()).then(|| {
            let mut builder = BatchBuilder::new(columns);
            builder.append(rows)?;
            builder.finish()
        })
    });
    capsule(py, RecordBatchIterator::new(batches, schema(columns)))
}

/// Maximum number of rows in a batch.
pub(crate) const BATCH_ROWS: usize = 1 << 16;

const UTC: &str = "UTC";
