//! Capture files that clients hand in: counted into flows, which are kept like those of captures.

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::hub::FlowHub;
use crate::capture::{CaptureError, PcapFile, Replay};
use crate::error_chain::Chain;
use crate::flow::{Flow, FlowSink, FlowTableOptions};
use crate::pcap_file::PcapFileError;
use crate::time::Clock;

/// What became of a capture file, see [`Engine::import`](super::Engine::import).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Packets in it.
    pub packets: u64,
    /// Flows that were kept.
    pub flows: u64,
    /// Where and why the file ends before it should, in words: within a record.
    pub cut: Option<String>,
}

/// Counts files with tables of its own.
pub(crate) struct Importer {
    table: FlowTableOptions,
    flows: Arc<FlowHub>,
    clock: Arc<dyn Clock>,
}

impl Importer {
    /// Tables are made with these options, where they hold for no node and no capture.
    pub(crate) fn new(
        mut table: FlowTableOptions,
        flows: Arc<FlowHub>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        table.leaving_only = true;
        table.max_bytes.get_or_insert(TABLE_BYTES);
        Self {
            table,
            flows,
            clock,
        }
    }

    /// See [`Engine::import`](super::Engine::import).
    pub(crate) fn import(
        &self,
        name: &str,
        file: impl Read + Send + 'static,
        interrupt: &dyn Fn() -> bool,
    ) -> Result<Imported, CaptureError> {
        let mut source = PcapFile::from_reader(name, file)?;
        let mut sink = Keep {
            flows: &self.flows,
            clock: &*self.clock,
            count: 0,
        };
        let mut go_on = || match interrupt() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let (stats, end) = Replay::new(self.table.clone()).run(&mut source, &mut sink, &mut go_on);
        let cut = match end {
            Ok(()) => None,
            Err(CaptureError::File {
                source: error @ PcapFileError::ShortRecord { .. },
                ..
            }) => Some(Chain(&error).to_string()),
            Err(error) => return Err(error),
        };
        Ok(Imported {
            packets: stats.packets,
            flows: sink.count,
            cut,
        })
    }
}

/// Keeps flows as they leave the table; a store that is slow slows down the reading.
struct Keep<'a> {
    flows: &'a FlowHub,
    clock: &'a dyn Clock,
    count: u64,
}

impl FlowSink for Keep<'_> {
    fn flows(&mut self, flows: Vec<Flow>) {
        self.count += flows.len() as u64;
        self.flows.keep_imported(flows, self.clock.now());
    }
}

/// Bytes that one file's table may take where the configuration sets no bound.
const TABLE_BYTES: usize = 128 << 20;
