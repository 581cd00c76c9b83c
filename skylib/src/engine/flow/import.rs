//! `Importer`: converts uploaded capture files into flows, and stores the flows.

use std::fmt;
use std::io::{Cursor, Read};
use std::sync::Arc;

use parking_lot::Mutex;

use super::hub::FlowHub;
use crate::capture::{CaptureError, PcapFile, Replay};
use crate::error_chain::Chain;
use crate::flow::{Flow, FlowSink, FlowTableOptions, FlowTableStats};
use crate::memory::{MemoryCharge, MemoryExhausted};
use crate::pcap_file::PcapFileError;
use crate::store::FlowStore;
use crate::time::Clock;

/// Summary of an imported capture file, see [`Engine::import`](crate::engine::Engine::import).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportSummary {
    /// Number of packets read.
    pub packets: u64,
    /// Number of flow records stored.
    pub flows: u64,
    /// Times of the first and the last packet of the flows, in Unix milliseconds; `None` if there
    /// are no flows.
    pub span: Option<(i64, i64)>,
    /// Query that returns the flows.
    pub query: String,
    /// Description of the incomplete record at the end of the file, with its offset; `None` if the
    /// file is complete.
    pub truncated: Option<String>,
}

/// Options of [`Engine::import_with`](crate::engine::Engine::import_with).
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct ImportOptions<'a> {
    interrupt: Option<&'a dyn Fn() -> bool>,
    memory: Option<&'a MemoryCharge>,
}

impl<'a> ImportOptions<'a> {
    /// Sets a function that is called regularly and ends the import by returning `true`.
    #[must_use]
    pub fn with_interrupt(mut self, interrupt: &'a dyn Fn() -> bool) -> Self {
        self.interrupt = Some(interrupt);
        self
    }

    /// Sets the charge for the memory of the import, which is reserved before the file is read.
    #[must_use]
    pub fn with_memory(mut self, memory: &'a MemoryCharge) -> Self {
        self.memory = Some(memory);
        self
    }
}

impl fmt::Debug for ImportOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportOptions")
            .field("interrupt", &self.interrupt.is_some())
            .finish()
    }
}

/// Converts capture files into flows, each with a separate flow table.
pub(crate) struct Importer {
    table: FlowTableOptions,
    flows: Arc<FlowHub>,
    clock: Arc<dyn Clock>,
    /// Counters of the tables of all files.
    totals: Mutex<FlowTableStats>,
}

impl Importer {
    /// Returns an importer whose tables have these options.
    pub(crate) fn new(
        mut table: FlowTableOptions,
        flows: Arc<FlowHub>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        table.final_only = true;
        table.max_bytes.get_or_insert(TABLE_BYTES);
        Self {
            table,
            flows,
            clock,
            totals: Mutex::default(),
        }
    }

    /// Returns the counters of the flow tables of all files.
    pub(crate) fn totals(&self) -> FlowTableStats {
        *self.totals.lock()
    }

    /// Imports a file, see [`Engine::import_with`](crate::engine::Engine::import_with).
    pub(crate) fn import(
        &self,
        name: &str,
        mut file: impl Read + Send + 'static,
        options: ImportOptions<'_>,
    ) -> Result<ImportSummary, CaptureError> {
        let mut table = self.table.clone();
        let mut magic = Vec::new();
        if let Some(memory) = options.memory {
            // If the source fails here, the reader of the file gets the same error again.
            drop((&mut file).take(MAGIC_LEN).read_to_end(&mut magic));
            reserve(memory, &mut table, &magic)?;
        }
        let file = Cursor::new(magic).chain(file);
        let mut source = PcapFile::from_reader(name, file)?;
        let mut sink = StoreSink {
            flows: &self.flows,
            clock: &*self.clock,
            count: 0,
            span: None,
        };
        let is_interrupted = || options.interrupt.is_some_and(|interrupt| interrupt());
        let replay = Replay::new(table);
        let (stats, error) = match replay.run_while(&mut source, &mut sink, || !is_interrupted()) {
            Ok(stats) => (stats, None),
            Err(failure) => {
                let (stats, error) = failure.into_parts();
                (stats, Some(error))
            }
        };
        let mut left = stats;
        // The table will be dropped, so it uses no memory.
        (left.flows, left.bytes) = (0, 0);
        *self.totals.lock() += left;
        let truncated = match error {
            None => None,
            Some(CaptureError::File {
                source: error @ PcapFileError::ShortRecord { .. },
                ..
            }) => Some(Chain(&error).to_string()),
            Some(error) => return Err(error),
        };
        let is_stored = self.flows.store().is_some();
        // Makes the flows durable, because the client receives their number and may rely on them.
        if let Some(Err(error)) = self.flows.store().map(FlowStore::sync) {
            tracing::warn!(error = %Chain(&error), "imported flows may be lost after a power failure");
        }
        Ok(ImportSummary {
            packets: stats.packets,
            flows: sink.count,
            span: sink.span,
            query: sink
                .span
                .filter(|_| is_stored)
                .map_or_else(|| "G.Flows()".to_owned(), query_of),
            truncated,
        })
    }
}

/// Limits the flow table of an import to its share of the memory, and charges the memory for the
/// table and the buffers of a file that begins with `magic`.
fn reserve(
    memory: &MemoryCharge,
    table: &mut FlowTableOptions,
    magic: &[u8],
) -> Result<(), MemoryExhausted> {
    let share = memory.budget().limit() / TABLE_SHARE;
    let table_bytes = table.max_bytes.unwrap_or(TABLE_BYTES).min(share);
    table.max_bytes = Some(table_bytes);
    memory.grow_to(table_bytes.saturating_add(BUFFER_BYTES + window_bytes(magic)))
}

/// Sink that stores flows when they leave the table. A slow store slows down the reading of the
/// file.
struct StoreSink<'a> {
    flows: &'a FlowHub,
    clock: &'a dyn Clock,
    count: u64,
    /// Times of the first and the last packet.
    span: Option<(i64, i64)>,
}

impl FlowSink for StoreSink<'_> {
    fn flows(&mut self, flows: Vec<Flow>) {
        self.count += flows.len() as u64;
        for flow in &flows {
            let (start, last) = self.span.unwrap_or((flow.start, flow.last));
            self.span = Some((start.min(flow.start), last.max(flow.last)));
        }
        self.flows.store_imported(flows, self.clock.now());
    }
}

/// Returns the query for the flows of a time span, whose ends are rounded to whole seconds.
fn query_of((start, last): (i64, i64)) -> String {
    let end = last.div_euclid(1000) + 1;
    let seconds = end - start.div_euclid(1000);
    match jiff::Timestamp::from_second(end) {
        Ok(end) => format!("G.At('{end}', {seconds}).Flows()"),
        Err(_) => format!("G.At({last}, {seconds}).Flows()"),
    }
}

/// Returns the memory that decompression may need, in bytes, from the first bytes of a file: a zstd
/// file, which may begin with a skippable frame, may require a window of up to 128 MiB.
fn window_bytes(magic: &[u8]) -> usize {
    match magic {
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => 128 << 20,
        _ => 0,
    }
}

/// Number of bytes that identify the compression of a file.
const MAGIC_LEN: u64 = 4;

/// Memory for reading and decompressing a file without a large window, in bytes.
const BUFFER_BYTES: usize = 16 << 20;

/// Fraction of the memory for clients that the flow table of one file may use: one part in
/// `TABLE_SHARE`.
const TABLE_SHARE: usize = 16;

/// Maximum size of a file's flow table in bytes, if the configuration sets no limit.
const TABLE_BYTES: usize = 128 << 20;
