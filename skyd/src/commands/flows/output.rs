//! Printer of flows in the formats of `skyd flows`.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use skylib::flow::{CsvColumns, CsvWriter, Flow, FlowSink};

use super::args::Format;

/// Sink that prints each flow. After a write error, the sink discards further flows.
pub(super) struct FlowPrinter<'a> {
    writer: FormatWriter<BufWriter<&'a mut (dyn Write + Send)>>,
    first: bool,
    error: Option<io::Error>,
    /// Flag that is set at the first write error, so that the reader of the files stops.
    failed: &'a AtomicBool,
}

/// Writer of one format.
enum FormatWriter<W: Write> {
    Json(W),
    Ndjson(W),
    Csv(CsvWriter<W>),
    /// No output: the column headers could not be written, or the format cannot be streamed.
    Nothing,
}

impl<'a> FlowPrinter<'a> {
    /// Creates a printer.
    pub(super) fn new(
        out: &'a mut (dyn Write + Send),
        format: Format,
        columns: CsvColumns,
        failed: &'a AtomicBool,
    ) -> Self {
        let out = BufWriter::with_capacity(BUFFER, out);
        let (writer, error) = match format {
            Format::Json => (FormatWriter::Json(out), None),
            Format::Ndjson => (FormatWriter::Ndjson(out), None),
            // A table needs all flows before its first line; see `table`.
            Format::Table => (FormatWriter::Nothing, None),
            Format::Csv => match CsvWriter::new(out, columns) {
                Ok(csv) => (FormatWriter::Csv(csv), None),
                Err(error) => (FormatWriter::Nothing, Some(error)),
            },
        };
        failed.store(error.is_some(), Ordering::Relaxed);
        Self {
            writer,
            first: true,
            error,
            failed,
        }
    }

    /// Writes the end of the output and flushes it.
    ///
    /// # Errors
    /// Returns the first write error.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if let Some(error) = self.error {
            return Err(error);
        }
        match &mut self.writer {
            FormatWriter::Json(out) => {
                out.write_all(if self.first { b"[]\n" } else { b"\n]\n" })?;
                out.flush()
            }
            FormatWriter::Ndjson(out) => out.flush(),
            FormatWriter::Csv(csv) => csv.flush(),
            FormatWriter::Nothing => Ok(()),
        }
    }

    /// Writes one flow.
    fn print(&mut self, flow: &Flow) -> io::Result<()> {
        let first = std::mem::replace(&mut self.first, false);
        match &mut self.writer {
            FormatWriter::Json(out) => {
                out.write_all(if first { b"[\n" } else { b",\n" })?;
                Ok(serde_json::to_writer(out, flow)?)
            }
            FormatWriter::Ndjson(out) => {
                serde_json::to_writer(&mut *out, flow)?;
                out.write_all(b"\n")
            }
            FormatWriter::Csv(csv) => csv.write(flow),
            FormatWriter::Nothing => Ok(()),
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

/// Size of the output buffer, in bytes.
const BUFFER: usize = 256 << 10;
