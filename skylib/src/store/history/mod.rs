//! History on the local disk: flows and the graph of a day or a month, without any other service.
//!
//! The folder contains logs of the newest records and Parquet files of the rest, which DuckDB,
//! Polars, pandas, and ClickHouse read while the program runs; `docs/history.md` describes the files.
//!
//! ```text
//! <folder>/
//!   LOCK                      lock of the process that writes
//!   new/                      unfinished segments, removed at every start
//!   replaced/                 merged or expired segments, removed after ten minutes
//!   damaged/                  damaged files, set aside
//!   flow/   log-<generation>  newest updates
//!           seg-<generation>-<generation>/   flow.parquet metric.parquet [packet.parquet] sums
//!   graph/  log-<generation>
//!           seg-<generation>-<generation>/   event.parquet [counter.parquet] sums
//!           snap-<generation>/               element.parquet sums
//! ```
//!
//! | Concern | Files |
//! |---|---|
//! | file operations, locks, quarantine | `disk` `read_only_disk` `folder` `segment_folder` `summed_file` `log` |
//! | formats (pure) | `frame` `names` `sums` `flow_columns` |
//! | Parquet | `parquet_file` `sorted_merge` `flow_segment` `flow_batches` `flow_merge` |
//! | flows | `recent_flows` `flow_scan` `flow_store` |
//! | graph | `event_row` `unsealed_event` `graph_fold` `past_graph` (pure) `graph_segment` `graph_rows` `graph_history` |
//! | reading without the lock | `reader` |
//! | threads, counters, report | `worker` `local_store` `counters` `report` |
//! | limits (pure) | `retention` `recorder_clock` `options` `outage` `lost_times` |

mod counters;
mod disk;
mod event_row;
mod flow_batches;
mod flow_columns;
mod flow_merge;
mod flow_scan;
mod flow_segment;
mod flow_store;
mod folder;
mod frame;
mod graph_fold;
mod graph_history;
mod graph_rows;
mod graph_segment;
mod local_store;
mod log;
mod lost_times;
mod merge_policy;
mod names;
mod options;
mod outage;
mod parquet_file;
mod past_graph;
mod read_only_disk;
mod reader;
mod recent_flows;
mod recorder_clock;
mod report;
mod retention;
mod segment_folder;
mod sorted_merge;
mod summed_file;
mod sums;
#[cfg(test)]
mod tests;
mod unsealed_event;
mod uuid_set;
mod worker;

pub use self::counters::DropReason;
pub(crate) use self::flow_columns::flow_batch;
pub use self::flow_store::LocalFlowStore;
pub use self::folder::HistoryFolder;
pub use self::graph_history::LocalHistory;
pub use self::local_store::{LocalStore, LocalStoreStatus, StoredFile, TableStatus};
pub use self::options::HistoryOptions;
pub use self::reader::HistoryReader;
pub use self::report::{HistoryReport, LogReport, SegmentReport};
