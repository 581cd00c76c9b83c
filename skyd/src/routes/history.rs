//! `/api/history`: the files of the history on the local disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::StatusCode;
use serde::Serialize;
use skylib::store::history::{LocalStore, LocalStoreStatus, StoredFile, TableStatus};
use skylib::time::Timestamp;
use tokio::task::spawn_blocking;

use crate::handler::Call;
use crate::past_stores::HistoryFiles;
use crate::response::{self, Response};

/// Answers `GET /api/history`: lists the sealed files. Together, the files other than snapshots
/// contain every sealed record exactly once.
pub(crate) async fn list(call: Call) -> Response {
    answer(call, |_| {}).await
}

/// Answers `POST /api/history/seal`: moves all records to sealed files and returns these.
pub(crate) async fn seal(call: Call) -> Response {
    answer(call, LocalStore::seal).await
}

async fn answer(call: Call, before: fn(&LocalStore)) -> Response {
    let store = match &call.app.history_files {
        HistoryFiles::Open(store) => Arc::clone(store),
        HistoryFiles::Disabled => {
            let reason = "the history is not on the local disk; use the backend \"local\" \
                          (analyzer.flow.backend, analyzer.topology.backend)";
            return response::error_text(StatusCode::NOT_FOUND, reason);
        }
        HistoryFiles::Unavailable(reason) => {
            let reason = format!("the history could not be opened at the start: {reason}");
            return response::error_text(StatusCode::SERVICE_UNAVAILABLE, &reason);
        }
    };
    let listed = spawn_blocking(move || {
        before(&store);
        Listing::of(&store)
    });
    match listed.await {
        Ok(listing) => response::json(StatusCode::OK, &listing),
        Err(_) => response::bare(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Body of the response.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listing {
    folder: String,
    files: Vec<File>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    /// Path in the folder. For ten minutes after it was merged or has expired, the file has the same
    /// path below `replaced`.
    path: String,
    rows: usize,
    bytes: u64,
    /// Earliest and latest arrival of a record, in Unix milliseconds.
    from: i64,
    to: i64,
}

impl Listing {
    fn of(store: &Arc<LocalStore>) -> Self {
        Self {
            folder: store.path().display().to_string(),
            files: store.files().into_iter().map(File::of).collect(),
        }
    }
}

impl File {
    fn of(file: StoredFile) -> Self {
        Self {
            path: file.path,
            rows: file.rows,
            bytes: file.bytes,
            from: file.recorded.0.as_ms(),
            to: file.recorded.1.as_ms(),
        }
    }
}

/// Files of the history, in the status.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Disk {
    bytes: u64,
    packet_bytes: u64,
    damaged: Vec<String>,
    flow: Option<Table>,
    graph: Option<Table>,
}

/// Table of the history, in the status. Counters begin at the start of the daemon.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Table {
    segments: usize,
    rows: usize,
    bytes: u64,
    log_bytes: u64,
    memory_rows: usize,
    memory_bytes: usize,
    /// Time since which the table is complete, in Unix milliseconds; `null` while it is empty.
    oldest: Option<i64>,
    /// Rows that were dropped, by reason.
    dropped: BTreeMap<&'static str, u64>,
    seals: u64,
    merges: u64,
    failures: u64,
    lost_log_bytes: u64,
    /// Time before which everything survives a power failure, in Unix milliseconds.
    synced: Option<i64>,
}

impl Disk {
    pub(super) fn of(status: LocalStoreStatus) -> Self {
        let table = |name| status.tables.iter().find(|table| table.name == name);
        Self {
            flow: table("flow").map(Table::of),
            graph: table("graph").map(Table::of),
            bytes: status.bytes,
            packet_bytes: status.packet_bytes,
            damaged: status.damaged,
        }
    }
}

impl Table {
    fn of(table: &TableStatus) -> Self {
        let dropped = table.dropped.iter();
        Self {
            segments: table.segments,
            rows: table.rows,
            bytes: table.bytes,
            log_bytes: table.log_bytes,
            memory_rows: table.memory_rows,
            memory_bytes: table.memory_bytes,
            oldest: table.oldest.map(Timestamp::as_ms),
            dropped: dropped
                .map(|(reason, rows)| (reason.name(), *rows))
                .collect(),
            seals: table.seals,
            merges: table.merges,
            failures: table.failures,
            lost_log_bytes: table.lost_log_bytes,
            synced: table.synced.map(Timestamp::as_ms),
        }
    }
}
