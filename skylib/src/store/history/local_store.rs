//! `LocalStore`: the stores of one folder together, with their files and counters.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::counters::{DropReason, TableCounters};
use super::flow_store::LocalFlowStore;
use super::folder::HistoryFolder;
use super::graph_history::LocalHistory;
use super::worker::maintain_in_background;
use crate::time::{Clock, Timestamp};

/// The stores of a folder: flows, the past of the graph, or both.
#[derive(Debug)]
pub struct LocalStore {
    folder: Arc<HistoryFolder>,
    flows: Option<Arc<LocalFlowStore>>,
    graph: Option<Arc<LocalHistory>>,
}

/// Sealed file of a [`LocalStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredFile {
    /// Path in the folder of the history.
    pub path: String,
    /// Number of rows.
    pub rows: usize,
    /// Length in bytes.
    pub bytes: u64,
    /// Times at which the oldest and the newest record in the file were recorded, by the recorder's
    /// clock.
    pub recorded: (Timestamp, Timestamp),
}

/// State of a [`LocalStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalStoreStatus {
    /// State of each table: `flow`, `graph`.
    pub tables: Vec<TableStatus>,
    /// Size of raw packets, in bytes, which is part of the table `flow`.
    pub packet_bytes: u64,
    /// Size of all files, in bytes, with replaced and damaged ones.
    pub bytes: u64,
    /// Names of the damaged files and folders, which were moved to the folder `damaged`.
    pub damaged: Vec<String>,
}

/// State of a table of a [`LocalStore`]. Counters begin at the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableStatus {
    /// Name of the table.
    pub name: &'static str,
    /// Number of sealed segments.
    pub segments: usize,
    /// Number of rows in sealed files.
    pub rows: usize,
    /// Size of sealed files, in bytes.
    pub bytes: u64,
    /// Size of the log, in bytes.
    pub log_bytes: u64,
    /// Number of rows in memory.
    pub memory_rows: usize,
    /// Size of the rows in memory, in bytes, approximately.
    pub memory_bytes: usize,
    /// Time since which the table is complete; `None` while it is empty.
    pub oldest: Option<Timestamp>,
    /// Rows that were dropped, by reason.
    pub dropped: Vec<(DropReason, u64)>,
    /// Number of tables in memory that were sealed.
    pub seals: u64,
    /// Number of merges of segments.
    pub merges: u64,
    /// Number of seals and merges that failed.
    pub failures: u64,
    /// Bytes of incomplete or damaged frames in logs, which were lost.
    pub lost_log_bytes: u64,
    /// Time before which everything recorded survives a power failure.
    pub synced: Option<Timestamp>,
}

impl TableStatus {
    /// Sets the counters.
    pub(super) fn with_counters(self, counters: &TableCounters) -> Self {
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let dropped = DropReason::ALL.into_iter().zip(counters.dropped());
        Self {
            dropped: dropped.collect(),
            seals: get(&counters.seals),
            merges: get(&counters.merges),
            failures: get(&counters.failures),
            lost_log_bytes: get(&counters.lost_log_bytes),
            synced: counters.synced(),
            ..self
        }
    }
}

impl LocalStore {
    /// Returns the stores of a folder. `flows` and `graph` must have been opened in it.
    #[must_use]
    pub const fn new(
        folder: Arc<HistoryFolder>,
        flows: Option<Arc<LocalFlowStore>>,
        graph: Option<Arc<LocalHistory>>,
    ) -> Self {
        Self {
            folder,
            flows,
            graph,
        }
    }

    /// Starts the threads that maintain the stores. They end when the stores are dropped.
    ///
    /// # Errors
    /// Returns an error if a thread cannot be started.
    pub fn maintain_in_background(&self, clock: &Arc<dyn Clock>) -> io::Result<()> {
        let (flows, graph) = (self.flows.as_ref(), self.graph.as_ref());
        maintain_in_background(&self.folder, flows, graph, clock)
    }

    /// Returns the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Moves all records from memory and logs to sealed files.
    pub fn seal(&self) {
        if let Some(flows) = &self.flows {
            flows.seal();
        }
        if let Some(graph) = &self.graph {
            graph.seal();
        }
    }

    /// Returns all sealed files: flows, events of the graph, then snapshots, each oldest first.
    /// Together, the files other than snapshots contain every sealed record exactly once. A file
    /// that is merged or expires later is in the folder `replaced` for ten minutes.
    #[must_use]
    pub fn files(&self) -> Vec<StoredFile> {
        let flows = self.flows.iter().flat_map(|flows| flows.stored_files());
        let graph = self.graph.iter().flat_map(|graph| graph.stored_files());
        flows.chain(graph).collect()
    }

    /// Returns the sizes and the counters of the stores.
    #[must_use]
    pub fn status(&self) -> LocalStoreStatus {
        let flows = self.flows.iter().map(|flows| flows.table_status());
        let graph = self.graph.iter().map(|graph| graph.table_status());
        let usage = self.folder.usage();
        LocalStoreStatus {
            tables: flows.chain(graph).collect(),
            packet_bytes: usage.packet,
            bytes: usage.total(),
            damaged: self.folder.damaged(),
        }
    }
}
