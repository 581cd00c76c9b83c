//! Flows as they leave the table, printed.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use skylib::flow::{CsvColumns, CsvWriter, Flow, FlowSink};

use super::Format;

/// Prints each flow it gets; after an error of the output, none.
pub(super) struct FlowPrinter<'a> {
    form: Form<BufWriter<&'a mut (dyn Write + Send)>>,
    first: bool,
    error: Option<io::Error>,
    /// Tells whoever feeds this that it is of no use any more.
    failed: &'a AtomicBool,
}

enum Form<W: Write> {
    Json(W),
    Ndjson(W),
    Csv(CsvWriter<W>),
    /// The column names could not be written.
    Nothing,
}

impl<'a> FlowPrinter<'a> {
    pub(super) fn new(
        out: &'a mut (dyn Write + Send),
        format: Format,
        columns: CsvColumns,
        failed: &'a AtomicBool,
    ) -> Self {
        let out = BufWriter::with_capacity(BUFFER, out);
        let (form, error) = match format {
            Format::Json => (Form::Json(out), None),
            Format::Ndjson => (Form::Ndjson(out), None),
            Format::Csv => match CsvWriter::new(out, columns) {
                Ok(csv) => (Form::Csv(csv), None),
                Err(error) => (Form::Nothing, Some(error)),
            },
        };
        failed.store(error.is_some(), Ordering::Relaxed);
        Self {
            form,
            first: true,
            error,
            failed,
        }
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if let Some(error) = self.error {
            return Err(error);
        }
        match &mut self.form {
            Form::Json(out) => {
                out.write_all(if self.first { b"[]\n" } else { b"\n]\n" })?;
                out.flush()
            }
            Form::Ndjson(out) => out.flush(),
            Form::Csv(csv) => csv.flush(),
            Form::Nothing => Ok(()),
        }
    }

    fn print(&mut self, flow: &Flow) -> io::Result<()> {
        let first = std::mem::replace(&mut self.first, false);
        match &mut self.form {
            Form::Json(out) => {
                out.write_all(if first { b"[\n" } else { b",\n" })?;
                Ok(serde_json::to_writer(out, flow)?)
            }
            Form::Ndjson(out) => {
                serde_json::to_writer(&mut *out, flow)?;
                out.write_all(b"\n")
            }
            Form::Csv(csv) => csv.write(flow),
            Form::Nothing => Ok(()),
        }
    }
}

impl FlowSink for FlowPrinter<'_> {
    fn flows(&mut self, flows: Vec<Flow>) {
        for flow in flows {
            if self.error.is_some() {
                return;
            }
            self.error = self.print(&flow).err();
            self.failed.store(self.error.is_some(), Ordering::Relaxed);
        }
    }
}

const BUFFER: usize = 256 << 10;
