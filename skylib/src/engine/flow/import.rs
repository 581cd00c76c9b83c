//! `Importer`: counts capture files that clients upload into flows, and stores them.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use parking_lot::Mutex;

use super::hub::FlowHub;
use crate::capture::{CaptureError, PcapFile, Replay};
use crate::error_chain::Chain;
use crate::flow::{Flow, FlowSink, FlowTableOptions, FlowTableStats};
use crate::pcap_file::PcapFileError;
use crate::time::Clock;

/// Summary of an imported capture file, see [`Engine::import`](crate::engine::Engine::import).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportSummary {
    /// Number of packets read.
    pub packets: u64,
    /// Number of flow records stored.
    pub flows: u64,
    /// Description of the incomplete record at the end of the file, with its offset; `None` if the
    /// file is complete.
    pub truncated: Option<String>,
}

/// Options of [`Engine::import_with`](crate::engine::Engine::import_with).
#[derive(Clone, Copy, Default)]
#[non_exhaustive]
pub struct ImportOptions<'a> {
    interrupt: Option<&'a dyn Fn() -> bool>,
}

impl<'a> ImportOptions<'a> {
    /// Sets a function that is called regularly and ends the import by returning `true`.
    #[must_use]
    pub fn with_interrupt(mut self, interrupt: &'a dyn Fn() -> bool) -> Self {
        self.interrupt = Some(interrupt);
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

/// Counts capture files, each with a separate flow table.
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
        file: impl Read + Send + 'static,
        options: ImportOptions<'_>,
    ) -> Result<ImportSummary, CaptureError> {
        let mut source = PcapFile::from_reader(name, file)?;
        let mut sink = StoreSink {
            flows: &self.flows,
            clock: &*self.clock,
            count: 0,
        };
        let is_interrupted = || options.interrupt.is_some_and(|interrupt| interrupt());
        let replay = Replay::new(self.table.clone());
        let (stats, error) = match replay.run_while(&mut source, &mut sink, || !is_interrupted()) {
            Ok(stats) => (stats, None),
            Err(failure) => {
                let (stats, error) = failure.into_parts();
                (stats, Some(error))
            }
        };
        let mut left = stats;
        // The table no longer exists.
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
        Ok(ImportSummary {
            packets: stats.packets,
            flows: sink.count,
            truncated,
        })
    }
}

/// Stores flows when they leave the table. A slow store slows down the reading of the file.
struct StoreSink<'a> {
    flows: &'a FlowHub,
    clock: &'a dyn Clock,
    count: u64,
}

impl FlowSink for StoreSink<'_> {
    fn flows(&mut self, flows: Vec<Flow>) {
        self.count += flows.len() as u64;
        self.flows.store_imported(flows, self.clock.now());
    }
}

/// Maximum size of a file's flow table in bytes, if the configuration sets no limit.
const TABLE_BYTES: usize = 128 << 20;
